//! `Carrier`, as Python sees it.

use std::os::fd::RawFd;

use pyo3::prelude::*;

use super::guest::Guest;
use super::{seconds, system};
use crate::guest::port::Port;
use crate::report::Report;
use crate::{carrier, shared};

/// Any thread may call any method: what waits, waits without a lock.
#[pyclass(frozen)]
pub(super) struct Carrier(carrier::Carrier);

#[pymethods]
impl Carrier {
    #[staticmethod]
    fn beside_host(block_fd: RawFd, doorbell_fd: RawFd, stream_fd: RawFd) -> PyResult<Self> {
        let block = shared::duplicate(block_fd).map_err(system)?;
        let doorbell = shared::duplicate(doorbell_fd).map_err(system)?;
        let stream = shared::duplicate(stream_fd).map_err(system)?;
        Ok(Self(carrier::Carrier::beside_host(block, doorbell, stream)?))
    }

    #[staticmethod]
    fn beside_guest(py: Python<'_>, stream_fd: RawFd) -> PyResult<Self> {
        let stream = shared::duplicate(stream_fd).map_err(system)?;
        Ok(Self(py.detach(|| carrier::Carrier::beside_guest(stream))?))
    }

    #[staticmethod]
    fn within(py: Python<'_>, incoming_fd: RawFd, outgoing_fd: RawFd) -> PyResult<Self> {
        let incoming = shared::duplicate(incoming_fd).map_err(system)?;
        let outgoing = shared::duplicate(outgoing_fd).map_err(system)?;
        Ok(Self(py.detach(|| carrier::Carrier::within(incoming, outgoing))?))
    }

    fn guest(&self) -> PyResult<Guest> {
        let (block, bell) = self.0.inside();
        Guest::of(Report::over(&block), Port::new(block, bell))
    }

    #[getter]
    fn block_fd(&self) -> Option<RawFd> {
        self.0.block_fd()
    }

    #[getter]
    fn doorbell_fd(&self) -> Option<RawFd> {
        self.0.doorbell_fd()
    }

    #[getter]
    fn fault(&self) -> Option<String> {
        self.0.fault()
    }

    fn wait(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.0.wait())
    }

    fn finish(&self, py: Python<'_>, limit: f64) -> PyResult<bool> {
        let limit = seconds(limit)?;
        Ok(py.detach(|| self.0.finish(limit)))
    }
}
