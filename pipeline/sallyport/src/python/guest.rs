//! `Guest`, as Python sees it.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::credentials::Credentials;
use super::{seconds, system};
use crate::block::Block;
use crate::deadline::Deadline;
use crate::fs::Access;
use crate::guest::port::Port;
use crate::guest::{ClientAuth, ConnectTls, FileKind, ListenTls, Trust};
use crate::report::Report;
use crate::{deadline, engine, guest, jail, shared};

/// Owned by a raw pointer, because the linker's callbacks use it while Python waits for the workload; it lives
/// until the process ends.
#[pyclass(unsendable)]
pub(super) struct Guest {
    half: &'static mut guest::Guest,
    report: &'static Report,
}

#[pymethods]
impl Guest {
    #[new]
    fn new(block_fd: RawFd, doorbell_fd: RawFd) -> PyResult<Self> {
        let block_file = shared::adopt(block_fd).map_err(system)?;
        let doorbell = shared::adopt(doorbell_fd).map_err(system)?;
        let block = Block::open(&block_file)?;
        Self::of(Report::of(&block_file).map_err(system)?, Port::new(block, doorbell))
    }

    fn control_read<'py>(&mut self, py: Python<'py>, most: usize) -> Bound<'py, PyBytes> {
        let bytes = self.half.control_read(most);
        PyBytes::new(py, &bytes)
    }

    fn control_write(&mut self, bytes: &[u8]) -> PyResult<()> {
        self.half
            .control_write(bytes)
            .map_err(|fault| PyRuntimeError::new_err(format!("control stream: {fault}")))
    }

    #[getter]
    fn credentials(&self) -> Credentials {
        Credentials(self.half.credentials().clone())
    }

    fn serve_control(&mut self, answer: Py<PyAny>) {
        self.half.serve_control(Box::new(move |message| {
            Python::attach(|py| {
                let answered = answer.call1(py, (PyBytes::new(py, message),));
                answered.and_then(|bytes| bytes.extract(py)).unwrap_or_else(|fault| {
                    // Its text alone: for a traceback Python would open files, which the jail forbids.
                    eprintln!("sallyport: a message of the host was not answered: {fault}");
                    Vec::new()
                })
            })
        }));
    }

    fn limit_filesystem(&mut self, bytes: u64) -> PyResult<()> {
        self.half
            .limit_filesystem(bytes)
            .map_err(|fault| PyRuntimeError::new_err(format!("file system: {fault}")))
    }

    fn limit_descriptors(&mut self, most: usize) {
        self.half.table.limit = most;
    }

    #[pyo3(signature = (engine, library, *, time, cpu_time))]
    fn limit_time(&self, engine: usize, library: &str, time: Option<f64>, cpu_time: Option<f64>) -> PyResult<()> {
        for (deadline, limit) in [(Deadline::Time, time), (Deadline::CpuTime, cpu_time)] {
            let Some(limit) = limit else { continue };
            // SAFETY: the face passes the address of the engine that the workload runs in, which the Keep holds until
            // it ends, and the path of the library it is of.
            #[allow(unsafe_code)]
            let interrupt = unsafe { engine::Interrupt::of(engine as *mut _, library) };
            deadline::arm(deadline, seconds(limit)?, interrupt.map_err(PyRuntimeError::new_err)?)?;
        }
        Ok(())
    }

    #[getter]
    fn expired(&self) -> Option<&'static str> {
        deadline::which_expired().map(|deadline| match deadline {
            Deadline::Time => "time",
            Deadline::CpuTime => "cpu_time",
        })
    }

    fn set_program(&mut self, args: Vec<Vec<u8>>, env: Vec<Vec<u8>>) {
        self.half.args = args;
        self.half.env = env;
    }

    fn add_null(&mut self) -> PyResult<u32> {
        self.add(FileKind::Null)
    }

    #[pyo3(signature = (*, terminal))]
    fn add_stdio(&mut self, terminal: bool) -> PyResult<u32> {
        self.add(FileKind::Stdio { terminal })
    }

    fn add_listener(&mut self) -> PyResult<u32> {
        self.add(FileKind::Listen(None))
    }

    #[pyo3(signature = (*, client_auth, system_roots, roots, peers, alpn, timeout))]
    fn add_tls_listener(
        &mut self,
        client_auth: &str,
        system_roots: bool,
        roots: Vec<Vec<u8>>,
        peers: Vec<String>,
        alpn: Vec<Vec<u8>>,
        timeout: f64,
    ) -> PyResult<u32> {
        self.add(FileKind::Listen(Some(ListenTls {
            client_auth: parse_client_auth(client_auth)?,
            trust: trust(system_roots, roots, peers),
            alpn,
            timeout: seconds(timeout)?,
        })))
    }

    fn add_connection(&mut self) -> PyResult<u32> {
        self.add(FileKind::ConnectTcp)
    }

    #[pyo3(signature = (server_name, *, system_roots, roots, peers, alpn, timeout))]
    fn add_tls_connection(
        &mut self,
        server_name: String,
        system_roots: bool,
        roots: Vec<Vec<u8>>,
        peers: Vec<String>,
        alpn: Vec<Vec<u8>>,
        timeout: f64,
    ) -> PyResult<u32> {
        let trust = trust(system_roots, roots, peers);
        self.add(FileKind::ConnectTls(connect_tls(server_name, trust, alpn, timeout)?))
    }

    fn reserve_files(&mut self, files: u32) {
        self.half.reserve_files(files);
    }

    #[pyo3(signature = (file, server_name, *, system_roots, roots, timeout))]
    fn dial(
        &mut self,
        file: u32,
        server_name: String,
        system_roots: bool,
        roots: Vec<Vec<u8>>,
        timeout: f64,
    ) -> PyResult<()> {
        let trust = trust(system_roots, roots, Vec::new());
        let how = connect_tls(server_name, trust, Vec::new(), timeout)?;
        self.half.dial(file, how).map_err(PyRuntimeError::new_err)
    }

    fn dialled_read<'py>(&mut self, py: Python<'py>, most: usize, timeout: f64) -> PyResult<Bound<'py, PyBytes>> {
        let read = self.half.dialled_read(most, Instant::now() + seconds(timeout)?);
        read.map(|bytes| PyBytes::new(py, &bytes)).map_err(connection_error)
    }

    fn dialled_write(&mut self, bytes: &[u8], timeout: f64) -> PyResult<()> {
        let written = self.half.dialled_write(bytes, Instant::now() + seconds(timeout)?);
        written.map_err(connection_error)
    }

    fn hang_up(&mut self) {
        self.half.hang_up();
    }

    fn secrets_key<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let public = self.half.secrets().generate().map_err(PyRuntimeError::new_err)?;
        Ok(PyBytes::new(py, &public))
    }

    fn open_secret(&mut self, name: &str, info: &[u8], sealed: &[u8]) -> PyResult<()> {
        let opened = self.half.secrets().open(name, info, sealed);
        opened.map_err(PyRuntimeError::new_err)
    }

    fn put_secret(&mut self, name: &str, path: &[u8]) -> PyResult<()> {
        self.half.put_secret(name, path).map_err(PyRuntimeError::new_err)
    }

    fn export_secret(&mut self, name: &str, variable: &str) -> PyResult<()> {
        self.half.export_secret(name, variable).map_err(PyRuntimeError::new_err)
    }

    fn forget_secrets(&mut self) {
        self.half.secrets().forget();
    }

    fn open_network(&mut self, limit: usize) -> PyResult<u32> {
        self.half
            .open_network(limit)
            .map_err(|fault| PyRuntimeError::new_err(format!("network: {fault}")))
    }

    fn grant_connection(&mut self, name: String) -> PyResult<()> {
        self.half.grant(name, None).map_err(PyRuntimeError::new_err)
    }

    #[pyo3(signature = (name, server_name, *, system_roots, roots, peers, alpn, timeout))]
    #[expect(clippy::too_many_arguments, reason = "they are named by the caller")]
    fn grant_tls_connection(
        &mut self,
        name: String,
        server_name: String,
        system_roots: bool,
        roots: Vec<Vec<u8>>,
        peers: Vec<String>,
        alpn: Vec<Vec<u8>>,
        timeout: f64,
    ) -> PyResult<()> {
        let how = connect_tls(server_name, trust(system_roots, roots, peers), alpn, timeout)?;
        self.half.grant(name, Some(how)).map_err(PyRuntimeError::new_err)
    }

    #[pyo3(signature = (path, content, *, writable))]
    fn insert_file(&mut self, path: &[u8], content: &[u8], writable: bool) -> PyResult<()> {
        let access = access(writable);
        let inserted = self.half.tree.insert_file(path, Arc::from(content), access, 0);
        inserted.map_err(|fault| mount_error(path, fault))
    }

    #[pyo3(signature = (path, *, writable))]
    fn insert_directory(&mut self, path: &[u8], writable: bool) -> PyResult<()> {
        let inserted = self.half.tree.insert_directory(path, access(writable), 0);
        inserted.map_err(|fault| mount_error(path, fault))
    }

    fn add_preopen(&mut self, path: &[u8]) -> PyResult<u32> {
        self.half.add_preopen(path).map_err(|fault| mount_error(path, fault))
    }

    fn link(&mut self, linker: usize, library: &str) -> PyResult<()> {
        self.half.open_for_business();
        let guest: *mut guest::Guest = self.half;
        // SAFETY: the face passes the address of a live linker and the path of the library it is of. The guest was
        // leaked, so it stays; the class is not sendable and its methods are not called while the workload runs.
        #[allow(unsafe_code)]
        let defined = unsafe { engine::define_all(linker as *mut _, library, guest) };
        defined.map_err(PyRuntimeError::new_err)
    }

    #[getter]
    fn exit_code(&self) -> Option<u32> {
        self.half.exit
    }

    #[pyo3(signature = (code_fd))]
    fn confine(&self, code_fd: Option<RawFd>) -> PyResult<Vec<String>> {
        jail::confine(self.report, self.doorbell()?, code_fd)
            .map_err(|fault| PyRuntimeError::new_err(fault.to_string()))
    }

    fn lock(&self) -> PyResult<Vec<String>> {
        jail::lock(self.doorbell()?).map_err(|fault| PyRuntimeError::new_err(fault.to_string()))
    }

    #[pyo3(signature = (*, orderly))]
    fn finish(&mut self, orderly: bool) {
        self.half.finish(orderly);
    }
}

impl Guest {
    pub(super) fn of(report: Report, port: Port) -> PyResult<Self> {
        let guest = guest::Guest::new(port).map_err(|fault| PyRuntimeError::new_err(fault.to_string()))?;
        Ok(Self {
            half: Box::leak(Box::new(guest)),
            report: Box::leak(Box::new(report)),
        })
    }

    fn doorbell(&self) -> PyResult<RawFd> {
        let doorbell = self.half.port.doorbell_fd();
        doorbell.ok_or_else(|| PyRuntimeError::new_err("there is no kernel below this Keep that could jail it"))
    }

    fn add(&mut self, kind: FileKind) -> PyResult<u32> {
        self.half.add_file(kind).map_err(PyRuntimeError::new_err)
    }
}

fn trust(system_roots: bool, roots: Vec<Vec<u8>>, peers: Vec<String>) -> Trust {
    Trust {
        system_roots,
        roots,
        peers,
    }
}

fn connect_tls(server_name: String, trust: Trust, alpn: Vec<Vec<u8>>, timeout: f64) -> PyResult<ConnectTls> {
    Ok(ConnectTls {
        server_name,
        trust,
        alpn,
        timeout: seconds(timeout)?,
    })
}

fn parse_client_auth(text: &str) -> PyResult<ClientAuth> {
    match text {
        "none" => Ok(ClientAuth::None),
        "request" => Ok(ClientAuth::Request),
        "require" => Ok(ClientAuth::Require),
        _ => Err(PyValueError::new_err(format!(
            "{text:?}: not a way to ask for certificates"
        ))),
    }
}

fn access(writable: bool) -> Access {
    if writable {
        Access::CopyOnWrite
    } else {
        Access::ReadOnly
    }
}

fn connection_error(fault: crate::errno::Errno) -> PyErr {
    PyRuntimeError::new_err(fault.to_string())
}

fn mount_error(path: &[u8], fault: crate::errno::Errno) -> PyErr {
    PyRuntimeError::new_err(format!("{}: {fault}", String::from_utf8_lossy(path)))
}
