//! One open slot, as the host half sees it: descriptors on one side, a pair of rings on the other.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, makedev, open};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};

use crate::block::{Block, Half};
use crate::layout::{slot as word, state};
use crate::ring::{Impossible, Positions};

/// Most bytes written at once to a descriptor that may block: a pipe that polls as writable takes this many
/// (PIPE_BUF of pipe(7)) without blocking.
const PIPE_BUF: usize = 4096;

/// Bytes that may have gone through a ring whose pages are not worth giving back.
const LEFT_RESIDENT: u32 = 16 * 1024;

/// Bytes read for one slot before the others get their turn.
const TURN: u64 = 256 * 1024;

/// The descriptors behind a slot.
pub struct Ends {
    /// Closed once neither direction needs it.
    fd: Option<OwnedFd>,
    reads: bool,
    writes: bool,
    /// The descriptors belong to others too (a terminal, a pipe of the shell) and could not be opened anew, so their
    /// flags stay as they are and readiness is asked before each call.
    may_block: bool,
    is_socket: bool,
}

impl Ends {
    /// A connected socket, made non-blocking.
    pub fn socket(fd: OwnedFd) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self {
            fd: Some(fd),
            reads: true,
            writes: true,
            may_block: false,
            is_socket: true,
        })
    }

    /// Nothing: what stands for a connection that could not be made.
    pub fn none() -> Self {
        Self {
            fd: None,
            reads: false,
            writes: false,
            may_block: false,
            is_socket: true,
        }
    }

    /// A descriptor to read from.
    pub fn source(fd: OwnedFd) -> Result<Self, Errno> {
        let fd = opened_anew(&fd, OFlags::RDONLY).unwrap_or(fd);
        let may_block = !fcntl_getfl(&fd)?.contains(OFlags::NONBLOCK);
        Ok(Self {
            fd: Some(fd),
            reads: true,
            writes: false,
            may_block,
            is_socket: false,
        })
    }

    /// A descriptor to write to.
    pub fn sink(fd: OwnedFd) -> Result<Self, Errno> {
        let fd = opened_anew(&fd, OFlags::WRONLY).unwrap_or(fd);
        let may_block = !fcntl_getfl(&fd)?.contains(OFlags::NONBLOCK);
        Ok(Self {
            fd: Some(fd),
            reads: false,
            writes: true,
            may_block,
            is_socket: false,
        })
    }

    /// The descriptor, and what to watch it for.
    pub(super) fn to_watch(&self) -> Option<(&OwnedFd, EventFlags)> {
        let readiness = [(self.reads, EventFlags::IN), (self.writes, EventFlags::OUT)];
        let wanted = readiness.into_iter().filter(|(wanted, _)| *wanted);
        self.fd.as_ref().map(|fd| (fd, wanted.map(|(_, flag)| flag).collect()))
    }

    fn input(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| self.reads)
    }

    fn output(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| self.writes)
    }

    fn end_input(&mut self) {
        self.reads = false;
        self.close_if_unused();
    }

    fn end_output(&mut self) {
        self.writes = false;
        self.close_if_unused();
    }

    fn close_if_unused(&mut self) {
        if !self.reads && !self.writes {
            self.fd = None;
        }
    }
}

/// An open slot.
pub struct Stream {
    pub(super) ends: Ends,
    slot: u32,
    generation: u32,
    incoming: Positions,
    outgoing: Positions,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer will send no more, so end of file is to be looked for even after a short read.
    pub(super) hung_up: bool,
    state: u32,
    error: u32,
    guest_state: u32,
    shut: bool,
    /// The ring was full, and the guest was asked to tell when it has taken something.
    asked_for_room: bool,
    /// Its turn is over, but there is more to read.
    pub(super) is_unfinished: bool,
    /// The guest was told of something when it was served last.
    pub(super) told_guest: bool,
    /// When the guest was seen to have released the slot while bytes were left to deliver, or when one was last taken.
    pub(super) released_at: Option<Instant>,
}

/// What became of a slot that was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It goes on.
    Open,
    /// The guest is done with it, but its peer has not taken all bytes yet.
    Lingers,
    /// The guest is done with it and everything is delivered: the slot is free.
    Done,
}

/// Bytes moved while serving, into and out of the Keep.
#[derive(Default, Clone, Copy)]
pub struct Moved {
    pub(super) into_keep: u64,
    pub(super) out_of_keep: u64,
}

impl Stream {
    /// Open `slot` for the guest: generation first is told last, so that the guest sees a whole line. With `fault`, it
    /// has ended by it already.
    pub fn open(block: &Block, slot: u32, generation: u32, file: u32, ends: Ends, fault: Option<Errno>) -> Self {
        let fin = if ends.reads { 0 } else { state::FIN };
        let stream = Self {
            ends,
            slot,
            generation,
            incoming: Positions::default(),
            outgoing: Positions::default(),
            readable: true,
            writable: true,
            hung_up: false,
            state: state::OPEN | fin,
            error: fault.map_or(0, |fault| u32::from(super::faults::to_wasi(fault).0)),
            guest_state: 0,
            shut: false,
            asked_for_room: false,
            is_unfinished: false,
            told_guest: true,
            released_at: None,
        };
        block.publish(slot, word::IN_TAIL, 0);
        block.publish(slot, word::OUT_HEAD, 0);
        block.publish(slot, word::FILE, file);
        block.publish(slot, word::ERROR, stream.error);
        block.publish(slot, word::HOST_STATE, stream.state);
        block.publish(slot, word::HOST_GENERATION, generation);
        block.mark(Half::Guest, slot);
        stream
    }

    /// Move what can be moved, both ways, and tell the guest what has changed.
    pub fn serve(&mut self, block: &Block, moved: &mut Moved) -> Result<Served, Impossible> {
        self.look_at_guest(block)?;
        let room = self.deliver(block, moved)?;
        self.told_guest = self.collect(block, moved)? || room;
        if self.told_guest {
            block.mark(Half::Guest, self.slot);
        }
        Ok(self.outcome())
    }

    /// The Keep is gone: whatever it said last is all it will ever say.
    pub fn keep_has_ended(&mut self) {
        self.guest_state |= state::FIN | state::RELEASED;
        self.state |= state::FIN;
        self.readable = false;
    }

    /// Close: the slot is free for another connection. A peer that did not get everything sees a reset, since an
    /// orderly end would tell it that this was all.
    pub fn close(self, block: &Block) {
        if let Some(output) = self.ends.output()
            && self.ends.is_socket
            && self.outgoing.filled() > 0
        {
            let _ = set_socket_linger(output, Some(Duration::ZERO));
        }
        self.give_pages_back(block);
        block.publish(self.slot, word::HOST_STATE, 0);
        block.mark(Half::Guest, self.slot);
    }

    /// Pages that a ring was filled on stay resident until they are given back. Those that each connection needs, a
    /// handshake and a few messages, are left to the next.
    fn give_pages_back(&self, block: &Block) {
        let rings = [
            (self.incoming.tail(), block.in_ring(self.slot)),
            (self.outgoing.tail(), block.out_ring(self.slot)),
        ];
        for (put, ring) in rings {
            if put > LEFT_RESIDENT {
                block.memory().give_back(ring, block.ring() as usize);
            }
        }
    }

    /// Copy the guest's line, then check it. The state is read first: bytes that were put before FIN are then seen.
    fn look_at_guest(&mut self, block: &Block) -> Result<(), Impossible> {
        if block.peek(self.slot, word::GUEST_GENERATION).value() != self.generation {
            return Ok(());
        }
        self.guest_state |= block.peek(self.slot, word::GUEST_STATE).value() & (state::FIN | state::RELEASED);
        self.outgoing
            .see_tail(block.peek(self.slot, word::OUT_TAIL), block.ring())?;
        self.incoming.see_head(block.peek(self.slot, word::IN_HEAD))
    }

    /// From the out-ring to the descriptor. True if the guest should hear of it.
    fn deliver(&mut self, block: &Block, moved: &mut Moved) -> Result<bool, Impossible> {
        if !self.ends.writes {
            return Ok(self.swallow(block));
        }
        let before = self.outgoing.head();
        while self.outgoing.filled() > 0 && self.can_write() {
            match self.write_once(block) {
                Ok(written) => {
                    self.outgoing.take(written);
                    moved.out_of_keep += u64::from(written);
                }
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(fault) => return Ok(self.output_failed(block, fault)),
            }
        }
        if self.outgoing.head() != before {
            block.publish(self.slot, word::OUT_HEAD, self.outgoing.head());
            self.released_at = self.released_at.map(|_| Instant::now());
        }
        self.shut_after_fin();
        let waits = block.peek(self.slot, word::GUEST_STATE).has(state::WANTS_ROOM);
        Ok(waits && self.outgoing.head() != before)
    }

    fn can_write(&mut self) -> bool {
        let Some(output) = self.ends.output() else { return false };
        if self.ends.may_block && !is_ready(output, PollFlags::OUT) {
            self.writable = false;
        }
        self.writable
    }

    fn write_once(&self, block: &Block) -> Result<u32, Errno> {
        let output = self.ends.output().ok_or(Errno::BADF)?;
        let mut ranges = self.outgoing.filled_ranges(block.out_ring(self.slot), block.ring());
        if self.ends.may_block {
            ranges[0].1 = ranges[0].1.min(PIPE_BUF);
            ranges[1].1 = 0;
        }
        block
            .memory()
            .write_to(output.as_fd(), ranges)
            .map(|written| written as u32)
    }

    /// Nobody reads any more: drop what is left, and let the guest's writes fail.
    fn output_failed(&mut self, block: &Block, fault: Errno) -> bool {
        self.ends.end_output();
        self.discard_outgoing(block);
        self.report(block, fault);
        true
    }

    /// Nothing takes what was written: a source is behind the slot, or its output has failed or was shut.
    fn swallow(&mut self, block: &Block) -> bool {
        let any = self.outgoing.filled() > 0;
        if any {
            self.discard_outgoing(block);
        }
        any
    }

    fn discard_outgoing(&mut self, block: &Block) {
        self.outgoing.take(self.outgoing.filled());
        block.publish(self.slot, word::OUT_HEAD, self.outgoing.head());
    }

    fn report(&mut self, block: &Block, fault: Errno) {
        if self.error == 0 {
            self.error = u32::from(super::faults::to_wasi(fault).0);
            block.publish(self.slot, word::ERROR, self.error);
        }
    }

    /// The guest will write no more and all is delivered: say so to the peer, once.
    fn shut_after_fin(&mut self) {
        if self.guest_state & state::FIN == 0 || self.outgoing.filled() > 0 || self.shut {
            return;
        }
        self.shut = true;
        if let Some(output) = self.ends.output()
            && self.ends.is_socket
        {
            let _ = shutdown(output, Shutdown::Write);
        }
        self.ends.end_output();
    }

    /// From the descriptor to the in-ring. True if the guest should hear of it.
    fn collect(&mut self, block: &Block, moved: &mut Moved) -> Result<bool, Impossible> {
        let mut news = false;
        let end_of_turn = moved.into_keep + TURN;
        self.is_unfinished = false;
        self.stop_asking_for_room(block);
        while self.can_read() {
            if moved.into_keep >= end_of_turn {
                self.is_unfinished = true;
                break;
            }
            if self.incoming.room(block.ring()) == 0 && !self.room_after_asking(block)? {
                break;
            }
            let ranges = self.incoming.free_ranges(block.in_ring(self.slot), block.ring());
            let asked = ranges[0].1 + ranges[1].1;
            let Some(input) = self.ends.input() else { break };
            match block.memory().read_from(input.as_fd(), ranges) {
                Ok(0) => self.input_ended(block),
                Ok(read) => {
                    self.incoming.put(read as u32, block.ring());
                    block.publish(self.slot, word::IN_TAIL, self.incoming.tail());
                    moved.into_keep += read as u64;
                    // A short read means that a socket is empty; a terminal gives a line at a time.
                    self.readable = read == asked || self.hung_up || !self.ends.is_socket;
                }
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    break;
                }
                Err(Errno::INTR) => continue,
                Err(fault) => {
                    self.report(block, fault);
                    self.input_ended(block);
                }
            }
            news = true;
        }
        Ok(news)
    }

    fn can_read(&mut self) -> bool {
        if self.state & state::FIN != 0 || self.guest_state & state::RELEASED != 0 {
            return false;
        }
        let Some(input) = self.ends.input() else { return false };
        if self.ends.may_block && self.readable && !is_ready(input, PollFlags::IN) {
            self.readable = false;
        }
        self.readable
    }

    /// Ask the guest to tell when it has taken something, then look once more, so that neither waits for the other.
    fn room_after_asking(&mut self, block: &Block) -> Result<bool, Impossible> {
        block.publish(self.slot, word::HOST_STATE, self.state | state::WANTS_ROOM);
        if block.peek(self.slot, word::GUEST_GENERATION).value() == self.generation {
            self.incoming.see_head(block.peek(self.slot, word::IN_HEAD))?;
        }
        self.asked_for_room = true;
        self.stop_asking_for_room(block);
        Ok(!self.asked_for_room)
    }

    fn stop_asking_for_room(&mut self, block: &Block) {
        if self.asked_for_room && self.incoming.room(block.ring()) > 0 {
            self.asked_for_room = false;
            block.publish(self.slot, word::HOST_STATE, self.state);
        }
    }

    fn input_ended(&mut self, block: &Block) {
        self.state |= state::FIN;
        self.ends.end_input();
        block.publish(self.slot, word::HOST_STATE, self.state);
    }

    fn outcome(&self) -> Served {
        let delivered = self.outgoing.filled() == 0 || !self.ends.writes;
        match (self.guest_state & state::RELEASED != 0, delivered) {
            (false, _) => Served::Open,
            (true, false) => Served::Lingers,
            (true, true) => Served::Done,
        }
    }
}

/// A pipe or a terminal once more, with flags of our own: it never blocks us, and nobody else notices. A terminal that
/// polls as writable may have room for a byte only, and a blocking write of more would wait for whoever stopped it.
fn opened_anew(fd: &OwnedFd, access: OFlags) -> Option<OwnedFd> {
    let status = fstat(fd).ok()?;
    let kind = FileType::from_raw_mode(status.st_mode);
    // The multiplexer, opened once more, would be another terminal.
    let is_multiplexer = kind == FileType::CharacterDevice && status.st_rdev == makedev(5, 2);
    if is_multiplexer || !matches!(kind, FileType::CharacterDevice | FileType::Fifo) {
        return None;
    }
    let place = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(place, flags, Mode::empty()).ok()
}

/// Whether a descriptor that may block would not, right now.
fn is_ready(fd: &OwnedFd, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, flags)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(ready) if ready > 0)
}
