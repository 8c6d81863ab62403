//! A ROT13 server: sends every letter back 13 places on, and all else as it came.
//!
//! In a Keep the listener is open before `main` runs: `Enarx.toml` lists it, and the environment says where it is.
//! TLS is already taken off: this program only ever sees the plain bytes.

mod poll;

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::wasi::io::{FromRawFd, RawFd};

use poll::{poll, Want};

const MOST_CLIENTS: usize = 256;

/// One client. What lies in `bytes[start..end]` is turned and not yet sent.
struct Client {
    stream: TcpStream,
    bytes: [u8; 16 * 1024],
    start: usize,
    end: usize,
}

impl Client {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?; // one that says nothing must not keep the others waiting
        Ok(Self { stream, bytes: [0; 16 * 1024], start: 0, end: 0 })
    }

    fn want(&self) -> Want {
        if self.start == self.end {
            Want::Read
        } else {
            Want::Write
        }
    }

    /// Reads if all was sent, then sends. False when the client is gone.
    fn serve(&mut self) -> bool {
        match self.step() {
            Ok(goes_on) => goes_on,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn step(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, self.stream.read(&mut self.bytes)?);
            self.bytes[..self.end].iter_mut().for_each(|byte| *byte = rot13(*byte));
        }
        self.start += self.stream.write(&self.bytes[self.start..self.end])?;
        Ok(self.end > 0)
    }
}

fn rot13(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => b'a' + (byte - b'a' + 13) % 26,
        b'A'..=b'Z' => b'A' + (byte - b'A' + 13) % 26,
        other => other,
    }
}

/// `FD_NAMES` holds the names of `[[files]]`, joined by ':'; the place of a name is its file descriptor.
fn listener(wanted: &str) -> io::Result<TcpListener> {
    let names = env::var("FD_NAMES").unwrap_or_default();
    let fd = names.split(':').position(|name| name == wanted).ok_or_else(|| {
        let message = format!("no file named {wanted:?} is listed in [[files]] of Enarx.toml");
        io::Error::new(ErrorKind::NotFound, message)
    })?;
    // SAFETY: the Keep opened this descriptor for us, and nothing else in this program uses it.
    let listener = unsafe { TcpListener::from_raw_fd(fd as RawFd) };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn main() -> io::Result<()> {
    let listener = listener("rot13")?;
    println!("rot13: listening");
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let accepts = clients.len() < MOST_CLIENTS; // when full, wait until one has ended
        let ready = poll(&listener, accepts, clients.iter().map(|client| (&client.stream, client.want())))?;
        let mut ready_clients = ready.clients.into_iter();
        clients.retain_mut(|client| !ready_clients.next().unwrap_or(false) || client.serve());
        if ready.listener {
            if let Ok((stream, _)) = listener.accept() {
                clients.extend(Client::new(stream));
            }
        }
    }
}
