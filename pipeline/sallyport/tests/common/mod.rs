//! Both halves in one process: the host half on its thread, the guest half on the test's, over a real block.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod authority;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use sallyport::block::Block;
use sallyport::errno::Errno;
use sallyport::fs::{Access, Limits, Tree, rights};
use sallyport::guest::port::Port;
use sallyport::guest::{FileKind, Guest};
use sallyport::host::Host;
use sallyport::shared::duplicate;
use sallyport::wasi::{Args, FUNCTIONS, Function, Memory, Stop, perform, unstable_functions};

/// Longest that anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where the driver keeps its iovec, its results and its data in the workload's memory.
const IOVEC: u32 = 0;
const RESULT: u32 = 64;
const FLAGS: u32 = 72;
const EVENTS: u32 = 256;
const SUBSCRIPTIONS: u32 = 16 << 10;
const DATA: u32 = 64 << 10;
/// Where a test puts a path, which `with_file` sets to `f`, and where it lets results be written.
pub const NAME: u32 = 1 << 20;
pub const OUT: u32 = 2 << 20;
/// What `with_file` fills the memory at `OUT` with.
pub const UNTOUCHED: u8 = 0xa5;

/// A workload without wasm: it calls WASI functions by name.
pub struct Workload {
    pub guest: Guest,
    pub memory: Vec<u8>,
}

impl Workload {
    pub fn call(&mut self, name: &str, args: &[u64]) -> Result<(), Errno> {
        let function = FUNCTIONS.iter().find(|function| function.name == name).unwrap();
        self.call_function(function, args)
    }

    /// As `call`, in `wasi_unstable`.
    pub fn call_unstable(&mut self, name: &str, args: &[u64]) -> Result<(), Errno> {
        let function = unstable_functions().find(|function| function.name == name).unwrap();
        self.call_function(function, args)
    }

    fn call_function(&mut self, function: &Function, args: &[u64]) -> Result<(), Errno> {
        let name = function.name;
        assert_eq!(function.params.len(), args.len(), "{name}");
        match perform(
            function,
            &mut self.guest,
            &mut Memory::new(&mut self.memory),
            &Args(args),
        ) {
            Ok(()) => Ok(()),
            Err(Stop::Errno(errno)) => Err(errno),
            Err(Stop::Exit | Stop::Deadline) => panic!("{name} does not return"),
        }
    }

    pub fn word(&self, at: u32) -> u32 {
        let at = at as usize;
        u32::from_le_bytes(self.memory[at..at + 4].try_into().unwrap())
    }

    pub fn long(&self, at: u32) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    /// Open the file of `with_file` to read and seek.
    pub fn open_file(&mut self) -> u64 {
        let rights = rights::FD_READ | rights::FD_SEEK | rights::FD_FILESTAT_GET;
        let args = [1, 0, NAME.into(), 1, 0, rights, 0, 0, OUT.into()];
        self.call("path_open", &args).unwrap();
        self.word(OUT).into()
    }

    fn iovec(&mut self, len: usize) {
        assert!(DATA as usize + len <= self.memory.len());
        self.memory[IOVEC as usize..][..4].copy_from_slice(&DATA.to_le_bytes());
        self.memory[IOVEC as usize + 4..][..4].copy_from_slice(&(len as u32).to_le_bytes());
    }

    pub fn read(&mut self, fd: u32, most: usize) -> Result<Vec<u8>, Errno> {
        self.iovec(most);
        self.call("fd_read", &[fd.into(), IOVEC.into(), 1, RESULT.into()])?;
        Ok(self.memory[DATA as usize..][..self.word(RESULT) as usize].to_vec())
    }

    pub fn receive(&mut self, fd: u32, most: usize, flags: u64) -> Result<Vec<u8>, Errno> {
        self.iovec(most);
        self.call(
            "sock_recv",
            &[fd.into(), IOVEC.into(), 1, flags, RESULT.into(), FLAGS.into()],
        )?;
        Ok(self.memory[DATA as usize..][..self.word(RESULT) as usize].to_vec())
    }

    pub fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<usize, Errno> {
        self.iovec(bytes.len());
        self.memory[DATA as usize..][..bytes.len()].copy_from_slice(bytes);
        self.call("fd_write", &[fd.into(), IOVEC.into(), 1, RESULT.into()])?;
        Ok(self.word(RESULT) as usize)
    }

    pub fn accept(&mut self, fd: u32) -> Result<u32, Errno> {
        self.call("sock_accept", &[fd.into(), 0, RESULT.into()])?;
        Ok(self.word(RESULT))
    }

    pub fn close(&mut self, fd: u32) {
        self.call("fd_close", &[fd.into()]).unwrap();
    }

    pub fn set_nonblocking(&mut self, fd: u32) {
        self.call("fd_fdstat_set_flags", &[fd.into(), 4]).unwrap();
    }

    /// Poll clocks (relative nanoseconds) and descriptors (`(fd, 1 to read, 2 to write)`); answers userdata, error,
    /// type, bytes and flags of each event. Userdata is the index, clocks first.
    pub fn poll(&mut self, clocks: &[u64], fds: &[(u32, u8)]) -> Vec<(u64, u16, u8, u64, u16)> {
        let mut records = Vec::new();
        for nanoseconds in clocks {
            let mut record = [0u8; 48];
            record[16] = 1;
            record[24..32].copy_from_slice(&nanoseconds.to_le_bytes());
            records.push(record);
        }
        for (fd, kind) in fds {
            let mut record = [0u8; 48];
            record[8] = *kind;
            record[16..20].copy_from_slice(&fd.to_le_bytes());
            records.push(record);
        }
        for (index, record) in records.iter_mut().enumerate() {
            record[..8].copy_from_slice(&(index as u64).to_le_bytes());
            self.memory[SUBSCRIPTIONS as usize + 48 * index..][..48].copy_from_slice(record);
        }
        let args = [SUBSCRIPTIONS.into(), EVENTS.into(), records.len() as u64, RESULT.into()];
        self.call("poll_oneoff", &args).unwrap();
        (0..self.word(RESULT) as usize)
            .map(|index| {
                let event = &self.memory[EVENTS as usize + 32 * index..][..32];
                let half = |at: usize| u16::from_le_bytes([event[at], event[at + 1]]);
                let long = |at: usize| u64::from_le_bytes(event[at..at + 8].try_into().unwrap());
                (long(0), half(8), event[10], long(16), half(24))
            })
            .collect()
    }
}

/// The guest half on a host half's block.
pub fn guest_of(host: &Host) -> Guest {
    let block: OwnedFd = duplicate(host.block_fd()).unwrap();
    let doorbell = duplicate(host.doorbell_fd()).unwrap();
    Guest::new(Port::new(Block::open(&block).unwrap(), doorbell)).unwrap()
}

pub fn workload(guest: Guest) -> Workload {
    Workload {
        guest,
        memory: vec![0; 4 << 20],
    }
}

/// A workload with one file `f` of ten bytes below the directory 1; entry 0 is `null`.
pub fn with_file() -> (Host, Workload) {
    let host = Host::new(1, 0, 4096).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.add_file(FileKind::Null).unwrap();
    let limits = Limits {
        max_bytes: 1 << 20,
        max_inodes: 16,
        max_file_bytes: 1 << 20,
    };
    guest.tree = Tree::new(limits, 0).unwrap();
    let bytes = (*b"0123456789").into();
    guest.tree.insert_file(b"/d/f", bytes, Access::CopyOnWrite, 5).unwrap();
    guest.add_preopen(b"/d").unwrap();
    guest.open_for_business();
    let mut workload = workload(guest);
    workload.memory[NAME as usize] = b'f';
    workload.memory[OUT as usize..][..128].fill(UNTOUCHED);
    (host, workload)
}

/// A Keep whose entry 0 is a connected plain socket; answers the other end too.
pub fn connected(ring: u32) -> (Host, Workload, TcpStream) {
    let (peer, inner) = tcp_pair();
    let host = Host::new(1, 0, ring).unwrap();
    host.attach_socket(0, inner.into()).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.add_file(FileKind::ConnectTcp).unwrap();
    guest.open_for_business();
    (host, workload(guest), peer)
}

/// A Keep whose entry 0 listens in clear; answers the listener's original, which stays open.
pub fn listening(connections: u32, ring: u32) -> (Host, Workload, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::new(1, connections, ring).unwrap();
    host.attach_listener(0, duplicate(listener.as_raw_fd()).unwrap())
        .unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.add_file(FileKind::Listen(None)).unwrap();
    guest.open_for_business();
    (host, workload(guest), listener)
}

pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Send and receive on one peer at the same time.
pub fn exchange(mut peer: TcpStream, sent: Vec<u8>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut writer = peer.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        sender.join().unwrap();
        got
    })
}

/// Whether something comes true in time.
pub fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}
