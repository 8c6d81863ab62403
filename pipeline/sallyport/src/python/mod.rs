//! The face towards Python: four classes, `Host`, `Guest`, `Credentials` and `Carrier`. `enarx_sallyport` documents them.

mod carrier;
mod credentials;
mod guest;
mod host;

use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use self::carrier::Carrier;
use self::credentials::Credentials;
use self::guest::Guest;
use self::host::Host;
use crate::block::BlockError;
use crate::jail;

impl From<BlockError> for PyErr {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::System(errno) => PyOSError::new_err((errno.raw_os_error(), error.to_string())),
            BlockError::Unusable(_) => PyRuntimeError::new_err(error.to_string()),
        }
    }
}

fn system(errno: rustix::io::Errno) -> PyErr {
    BlockError::System(errno).into()
}

fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| PyValueError::new_err(format!("{seconds}: not a duration")))
}

/// Have the kernel end this process when the one that started it ends.
#[pyfunction]
fn end_with_parent() -> PyResult<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(system)
}

/// Begin what takes long of a jail's first step, on a thread that has ended when the step is taken.
#[pyfunction]
fn prepare_jail() {
    jail::prepare();
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Host>()?;
    module.add_class::<Guest>()?;
    module.add_class::<Carrier>()?;
    module.add_class::<Credentials>()?;
    module.add_function(wrap_pyfunction!(end_with_parent, module)?)?;
    module.add_function(wrap_pyfunction!(prepare_jail, module)?)?;
    Ok(())
}
