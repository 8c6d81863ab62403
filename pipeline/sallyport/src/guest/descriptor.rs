//! What a file descriptor of the workload is.

use std::collections::BTreeSet;

use super::port::Port;
use super::tls::{self, Session};
use crate::errno::Errno;
use crate::fs::rights::{self, Rights};
use crate::fs::{Filetype, Opened};

/// Most descriptors a workload can have open.
const MAX_DESCRIPTORS: usize = 65_536;

const STDIO: Rights = rights::FD_READ
    | rights::FD_WRITE
    | rights::FD_FDSTAT_SET_FLAGS
    | rights::FD_SYNC
    | rights::FD_DATASYNC
    | rights::FD_FILESTAT_GET
    | rights::POLL_FD_READWRITE;
const LISTENER: Rights = rights::FD_READ
    | rights::FD_FDSTAT_SET_FLAGS
    | rights::FD_FILESTAT_GET
    | rights::POLL_FD_READWRITE
    | rights::SOCK_ACCEPT;
const STREAM: Rights = rights::FD_READ
    | rights::FD_WRITE
    | rights::FD_FDSTAT_SET_FLAGS
    | rights::FD_FILESTAT_GET
    | rights::POLL_FD_READWRITE
    | rights::SOCK_SHUTDOWN;

/// A descriptor.
pub enum Descriptor {
    /// Reads nothing, swallows everything.
    Null,
    /// A byte stream: standard input or output, or a connection.
    Stream(Stream),
    /// A listening entry of the manifest, by its index.
    Listener {
        /// Index in `files`.
        file: u32,
        /// `fdflags` `NONBLOCK`.
        nonblocking: bool,
    },
    /// The directory of names that the manifest grants connections to.
    Network,
    /// A file or directory of the private file system; a preopened directory has the name it is known by.
    Opened(Opened, Option<Vec<u8>>),
}

/// What kind of byte stream a descriptor is, which decides its file type and rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A terminal to whoever asks, else of a kind that the specification has no number for: a pipe, or a file.
    Stdio {
        terminal: bool,
    },
    Socket,
}

/// A byte stream on a slot, in clear or by TLS.
pub struct Stream {
    slot: u32,
    session: Option<Box<Session>>,
    kind: Kind,
    read_shut: bool,
    write_shut: bool,
    /// `fdflags` `NONBLOCK`.
    pub nonblocking: bool,
}

impl Stream {
    fn new(slot: u32, session: Option<Box<Session>>, kind: Kind) -> Self {
        Self {
            slot,
            session,
            kind,
            read_shut: false,
            write_shut: false,
            nonblocking: false,
        }
    }

    /// Standard input or output, whose other end the host says to be a `terminal` or not.
    pub fn stdio(slot: u32, terminal: bool) -> Self {
        Self::new(slot, None, Kind::Stdio { terminal })
    }

    /// A plain connection.
    pub fn plain(slot: u32) -> Self {
        Self::new(slot, None, Kind::Socket)
    }

    /// A connection whose handshake is done.
    pub fn tls(session: Session) -> Self {
        Self::new(session.slot(), Some(Box::new(session)), Kind::Socket)
    }

    /// Its slot.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// `filetype` and rights.
    pub fn stat(&self) -> (Filetype, Rights) {
        match self.kind {
            Kind::Stdio { terminal: true } => (Filetype::CharacterDevice, STDIO),
            Kind::Stdio { terminal: false } => (Filetype::Unknown, STDIO),
            Kind::Socket => (Filetype::SocketStream, STREAM),
        }
    }

    /// Whether `sock_*` apply.
    pub fn is_socket(&self) -> bool {
        self.kind == Kind::Socket
    }

    /// Take bytes: 0 at the end, `AGAIN` if none are there.
    pub fn read(&mut self, port: &mut Port, into: &mut [u8]) -> Result<usize, Errno> {
        if self.read_shut || into.is_empty() {
            return Ok(0);
        }
        if let Some(session) = &mut self.session {
            return session.read(port, into);
        }
        match port.read(self.slot, into) {
            0 => self.end_or_again(port),
            read => Ok(read),
        }
    }

    /// What to answer when no bytes were there. The end is looked for first: bytes may have come in between, and a
    /// fault must not overtake them.
    fn end_or_again(&self, port: &mut Port) -> Result<usize, Errno> {
        if !port.is_at_end(self.slot) {
            return Err(Errno::AGAIN);
        }
        port.fault(self.slot).map_or(Ok(0), Err)
    }

    /// Give bytes; `AGAIN` if there is no room.
    pub fn write(&mut self, port: &mut Port, from: &[u8]) -> Result<usize, Errno> {
        if self.write_shut {
            return Err(Errno::PIPE);
        }
        if let Some(session) = &mut self.session {
            return session.write(port, from);
        }
        if let Some(fault) = port.fault(self.slot) {
            return Err(if fault == Errno::CONNRESET { fault } else { Errno::PIPE });
        }
        match port.write(self.slot, from) {
            0 if !from.is_empty() => Err(Errno::AGAIN),
            written => Ok(written),
        }
    }

    /// Look at bytes that stay: 0 at the end, `AGAIN` if none are there.
    pub fn peek(&mut self, port: &mut Port, into: &mut [u8]) -> Result<usize, Errno> {
        if self.read_shut || into.is_empty() {
            return Ok(0);
        }
        if let Some(session) = &mut self.session {
            return session.peek(port, into);
        }
        match port.peek_bytes(self.slot, into) {
            0 => self.end_or_again(port),
            read => Ok(read),
        }
    }

    /// Most bytes that can be looked at, with rings of `ring` bytes.
    pub fn peek_limit(&self, ring: usize) -> usize {
        self.session.as_ref().map_or(ring, |_| tls::PEEK_LIMIT)
    }

    /// Whether no more bytes will come than those that can be looked at now.
    pub fn has_ended(&mut self, port: &mut Port) -> bool {
        match &mut self.session {
            _ if self.read_shut => true,
            Some(session) => session.has_ended(port),
            None => port.has_ended(self.slot),
        }
    }

    /// Bytes a read would give at once; `None` if it would wait.
    pub fn readable(&mut self, port: &mut Port) -> Option<u64> {
        if self.read_shut {
            return Some(0);
        }
        if let Some(session) = &mut self.session {
            return session.readable(port);
        }
        match port.available(self.slot) {
            0 if port.is_at_end(self.slot) => Some(0),
            0 => None,
            bytes => Some(u64::from(bytes)),
        }
    }

    /// Bytes a write would take at once; `None` if it would wait, and then the host is asked to tell.
    pub fn writable(&mut self, port: &mut Port) -> Option<u64> {
        if self.write_shut || port.fault(self.slot).is_some() {
            return Some(0);
        }
        let mut room = self.room(port);
        if room == 0 {
            port.ask_for_room(self.slot);
            room = self.room(port);
        }
        (room > 0).then_some(room)
    }

    fn room(&mut self, port: &mut Port) -> u64 {
        match &mut self.session {
            None => u64::from(port.room(self.slot)),
            Some(session) => {
                session.flush(port);
                session.plaintext_room(port) as u64
            }
        }
    }

    /// Whether the peer is gone, for poll's hang-up flag.
    pub fn is_hung_up(&mut self, port: &mut Port) -> bool {
        port.is_at_end(self.slot)
    }

    /// Whether TLS holds records that found no room yet.
    pub fn has_unsent(&mut self, port: &mut Port) -> bool {
        let Some(session) = &mut self.session else { return false };
        session.flush(port);
        session.has_unsent() && port.fault(self.slot).is_none()
    }

    /// Nothing more will be read.
    pub fn shut_read(&mut self) {
        self.read_shut = true;
    }

    /// Nothing more will be written: the peer is told when all has been delivered.
    pub fn shut_write(&mut self, port: &mut Port) {
        if self.write_shut {
            return;
        }
        self.write_shut = true;
        if let Some(session) = &mut self.session {
            session.close_write(port);
        }
        port.finish(self.slot);
    }

    /// Done with it; what was written is still delivered.
    pub fn close(mut self, port: &mut Port) {
        self.shut_write(port);
        port.release(self.slot);
    }
}

/// Rights and `filetype` of a listener.
pub fn listener_stat() -> (Filetype, Rights) {
    (Filetype::SocketStream, LISTENER)
}

/// Rights and `filetype` of the directory of granted names, and the rights of what is opened in it.
pub fn network_stat() -> (Filetype, Rights, Rights) {
    (
        Filetype::Directory,
        rights::PATH_OPEN | rights::PATH_FILESTAT_GET | rights::FD_FILESTAT_GET,
        STREAM,
    )
}

/// Rights and `filetype` of the entry `null`.
pub fn null_stat() -> (Filetype, Rights) {
    (Filetype::Unknown, STDIO)
}

/// The workload's descriptors by number; the lowest free number is taken first.
pub struct Table {
    /// Most that can be open.
    pub limit: usize,
    entries: Vec<Option<Descriptor>>,
    /// Numbers below `entries.len()` that are free.
    free: BTreeSet<u32>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            limit: MAX_DESCRIPTORS,
            entries: Vec::new(),
            free: BTreeSet::new(),
        }
    }
}

impl Table {
    /// Add a descriptor. When there are too many it comes back with `MFILE`, to be closed.
    pub fn insert(&mut self, descriptor: Descriptor) -> Result<u32, (Errno, Descriptor)> {
        if let Some(free) = self.free.pop_first() {
            self.entries[free as usize] = Some(descriptor);
            return Ok(free);
        }
        if self.entries.len() >= self.limit {
            return Err((Errno::MFILE, descriptor));
        }
        self.entries.push(Some(descriptor));
        Ok(self.entries.len() as u32 - 1)
    }

    /// The descriptor `fd`, or `BADF`.
    pub fn get(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.entries
            .get_mut(fd as usize)
            .and_then(Option::as_mut)
            .ok_or(Errno::BADF)
    }

    /// The descriptors `one` and `other`, which may be the same, as files of the tree. `BADF`, `NOTDIR`.
    pub fn both(&self, one: u32, other: u32) -> Result<(&Opened, &Opened), Errno> {
        Ok((self.opened(one)?, self.opened(other)?))
    }

    fn opened(&self, fd: u32) -> Result<&Opened, Errno> {
        match self.entries.get(fd as usize).and_then(Option::as_ref) {
            None => Err(Errno::BADF),
            Some(Descriptor::Opened(opened, _)) => Ok(opened),
            Some(_) => Err(Errno::NOTDIR),
        }
    }

    /// Take `fd` out, or `BADF`.
    pub fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        let entry = self.entries.get_mut(fd as usize).and_then(Option::take);
        let removed = entry.ok_or(Errno::BADF)?;
        self.free.insert(fd);
        Ok(removed)
    }

    /// Move `from` to the number `to`, which must be open, and answer what was there.
    pub fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>, Errno> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.remove(from)?;
        Ok(self.entries[to as usize].replace(moved))
    }

    /// Take out everything.
    pub fn take_all(&mut self) -> Vec<Descriptor> {
        self.free.clear();
        std::mem::take(&mut self.entries).into_iter().flatten().collect()
    }
}
