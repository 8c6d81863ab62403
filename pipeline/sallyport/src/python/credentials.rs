//! `Credentials`, as Python sees them.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::guest;

/// The guest's key and certificate. Not the guest: it may be used while the workload runs.
#[pyclass(frozen)]
pub(super) struct Credentials(pub(super) guest::credentials::Credentials);

#[pymethods]
impl Credentials {
    fn generate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let public = self.0.generate().map_err(PyRuntimeError::new_err)?;
        Ok(PyBytes::new(py, &public))
    }

    fn certificate_request<'py>(
        &self,
        py: Python<'py>,
        extensions: Vec<(Vec<u64>, Vec<u8>)>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let request = self
            .0
            .certificate_request(&extensions)
            .map_err(PyRuntimeError::new_err)?;
        Ok(PyBytes::new(py, &request))
    }

    fn install(&self, chain: Vec<Vec<u8>>, root: &[u8]) -> PyResult<()> {
        self.0.install(chain, root).map_err(PyRuntimeError::new_err)
    }

    fn is_by_issuer(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.is_by_issuer(message, signature)
    }

    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.root().map(|root| PyBytes::new(py, &root))
    }
}
