//! `Host`, as Python sees it.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{seconds, system};
use crate::{host, shared};

/// Any thread may call any method: what waits, waits without a lock.
#[pyclass(frozen)]
pub(super) struct Host(host::Host);

#[pymethods]
impl Host {
    #[new]
    #[pyo3(signature = (*, files, connections, ring_bytes, outbound = 0))]
    fn new(files: u32, connections: u32, ring_bytes: u32, outbound: u32) -> PyResult<Self> {
        Ok(Self(host::Host::with_outbound(
            files,
            connections,
            outbound,
            ring_bytes,
        )?))
    }

    #[getter]
    fn block_fd(&self) -> RawFd {
        self.0.block_fd()
    }

    #[getter]
    fn doorbell_fd(&self) -> RawFd {
        self.0.doorbell_fd()
    }

    #[getter]
    fn control_fd(&self) -> RawFd {
        self.0.control_fd()
    }

    fn attach_socket(&self, file: u32, fd: RawFd) -> PyResult<()> {
        Ok(self.0.attach_socket(file, shared::duplicate(fd).map_err(system)?)?)
    }

    fn attach_source(&self, file: u32, fd: RawFd) -> PyResult<()> {
        Ok(self.0.attach_source(file, shared::duplicate(fd).map_err(system)?)?)
    }

    fn attach_sink(&self, file: u32, fd: RawFd) -> PyResult<()> {
        Ok(self.0.attach_sink(file, shared::duplicate(fd).map_err(system)?)?)
    }

    fn attach_listener(&self, file: u32, fd: RawFd) -> PyResult<()> {
        Ok(self.0.attach_listener(file, shared::duplicate(fd).map_err(system)?)?)
    }

    fn start(&self) -> PyResult<()> {
        Ok(self.0.start()?)
    }

    fn answer_connection(&self, grant: u32, fd: RawFd) -> PyResult<()> {
        self.0.answer(grant, Ok(shared::duplicate(fd).map_err(system)?));
        Ok(())
    }

    fn refuse_connection(&self, grant: u32, errno: i32) {
        self.0.answer(grant, Err(rustix::io::Errno::from_raw_os_error(errno)));
    }

    #[getter]
    fn waiting(&self) -> u64 {
        self.0.counters().waiting.load(Relaxed)
    }

    fn stop_accepting(&self) {
        self.0.stop_accepting();
    }

    fn finish(&self, py: Python<'_>, limit: f64) -> PyResult<Option<String>> {
        let limit = seconds(limit)?;
        Ok(py.detach(|| self.0.finish(limit)))
    }

    #[getter]
    fn broken(&self) -> Option<String> {
        self.0.broken()
    }

    #[getter]
    fn violation(&self) -> Option<String> {
        self.0.report().violation()
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.0.counters();
        let dict = PyDict::new(py);
        dict.set_item("accepted", counters.accepted.load(Relaxed))?;
        dict.set_item("open", counters.open.load(Relaxed))?;
        dict.set_item("bytes_in", counters.bytes_in.load(Relaxed))?;
        dict.set_item("bytes_out", counters.bytes_out.load(Relaxed))?;
        dict.set_item("full", u64::from(counters.full.load(Relaxed)))?;
        let (done, failed) = self.0.report().handshakes();
        dict.set_item("handshakes_done", done)?;
        dict.set_item("handshakes_failed", failed)?;
        Ok(dict)
    }
}
