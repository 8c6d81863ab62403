//! Waiting for many sockets at once: `poll` of the C library that Rust's own standard library brings along for WASI.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::raw::{c_int, c_short, c_ulong};
use std::os::wasi::io::{AsRawFd, RawFd};

/// What a socket waits for.
#[derive(Clone, Copy)]
pub enum Want {
    Read,
    Write,
}

/// Who has something to do.
pub struct Ready {
    pub listener: bool,
    /// In the order in which they were given.
    pub clients: Vec<bool>,
}

/// `struct pollfd`
#[repr(C)]
struct PollFd {
    fd: RawFd,
    events: c_short,
    revents: c_short,
}

const POLLIN: c_short = 1;
const POLLOUT: c_short = 2;

extern "C" {
    #[link_name = "poll"]
    fn c_poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
}

/// Wait until a client can do what it wants, or, where `accepts`, until another one comes.
pub fn poll<'a>(
    listener: &TcpListener,
    accepts: bool,
    clients: impl Iterator<Item = (&'a TcpStream, Want)>,
) -> io::Result<Ready> {
    let entry = |fd, events| PollFd { fd, events, revents: 0 };
    let mut fds: Vec<PollFd> = clients
        .map(|(stream, want)| match want {
            Want::Read => entry(stream.as_raw_fd(), POLLIN),
            Want::Write => entry(stream.as_raw_fd(), POLLOUT),
        })
        .collect();
    if accepts {
        fds.push(entry(listener.as_raw_fd(), POLLIN));
    }
    // SAFETY: `fds` is an array of so many entries of the layout that C knows, and lives until the call returns.
    if unsafe { c_poll(fds.as_mut_ptr(), fds.len() as c_ulong, -1) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut clients: Vec<bool> = fds.iter().map(|fd| fd.revents != 0).collect();
    let listener = accepts && clients.pop() == Some(true);
    Ok(Ready { listener, clients })
}
