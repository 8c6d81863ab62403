//! The guest half's side of the block: streams by slot, and waiting for news.
//!
//! Everything the host publishes is copied once and checked; what cannot be is an attack, and the Keep ends rather
//! than go on with it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::block::{Block, Half};
use crate::errno::Errno;
use crate::layout::{report, slot as word, state};
use crate::memory::Memory;
use crate::patience::Patience;
use crate::ring::{Impossible, Positions};
use crate::shared::Mapping;

/// One slot as the guest knows it.
#[derive(Default, Clone)]
struct Stream {
    generation: u32,
    open: bool,
    incoming: Positions,
    outgoing: Positions,
    state: u32,
    ended: bool,
    error: u32,
}

/// See the module.
pub struct Port<M = Mapping, D = Bell> {
    block: Block<M>,
    doorbell: D,
    streams: Vec<Stream>,
    marks: Vec<u32>,
    told_host: bool,
    patience: Patience,
}

/// Something that happened to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A stream of entry `file` was opened.
    Opened {
        /// The slot.
        slot: u32,
        /// Index in the manifest's `files`.
        file: u32,
    },
    /// Bytes, room, an end or an error came.
    Changed {
        /// The slot.
        slot: u32,
    },
}

/// What wakes the host half.
pub trait Doorbell {
    /// Ring it.
    fn ring(&self);
}

impl Doorbell for OwnedFd {
    fn ring(&self) {
        let _ = rustix::io::write(self, &1u64.to_ne_bytes());
    }
}

/// What wakes a host half, or the carrier in its place. A clone is the same one.
#[derive(Clone)]
pub enum Bell {
    /// By a descriptor, which another process may have too.
    Event(Arc<OwnedFd>),
    /// By a word of a block in this process.
    Word(Block),
}

impl Doorbell for Bell {
    fn ring(&self) {
        match self {
            Self::Event(descriptor) => descriptor.ring(),
            Self::Word(block) => block.wake_host(),
        }
    }
}

impl From<OwnedFd> for Bell {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Event(Arc::new(descriptor))
    }
}

impl Bell {
    /// Host: wait until it rings, once sleep was announced.
    pub fn wait(&self) {
        match self {
            Self::Event(descriptor) => {
                let _ = rustix::io::read(descriptor, &mut [0; 8]);
            }
            Self::Word(block) => block.host_sleep(),
        }
    }

    /// Its descriptor, if it is one.
    pub fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Event(descriptor) => Some(descriptor.as_raw_fd()),
            Self::Word(_) => None,
        }
    }
}

impl Port {
    /// The descriptor that rings the host, if it is one that does.
    pub fn doorbell_fd(&self) -> Option<RawFd> {
        self.doorbell.descriptor()
    }
}

impl<M: Memory, D: Doorbell> Port<M, D> {
    /// The guest half of `block`; `doorbell` wakes the host.
    pub fn new(block: Block<M>, doorbell: impl Into<D>) -> Self {
        let streams = vec![Stream::default(); block.slots() as usize];
        Self {
            block,
            doorbell: doorbell.into(),
            streams,
            marks: Vec::new(),
            told_host: false,
            patience: Patience::new(),
        }
    }

    /// Count a client's handshake for the host's metrics.
    pub fn count_handshake(&self, done: bool) {
        let word = if done {
            report::HANDSHAKES_DONE
        } else {
            report::HANDSHAKES_FAILED
        };
        let memory = self.block.memory();
        memory.store64(word, memory.load64(word).wrapping_add(1));
    }

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.block.slots()
    }

    /// Bytes of one ring.
    pub fn ring_bytes(&self) -> usize {
        self.block.ring() as usize
    }

    /// Take the host's marks and say what they mean. Never waits.
    pub fn news(&mut self, into: &mut Vec<News>) {
        if !self.block.is_marked(Half::Guest) {
            return;
        }
        let mut marks = std::mem::take(&mut self.marks);
        self.block.take_marks(Half::Guest, &mut marks);
        for slot in marks.drain(..) {
            if let Some(file) = self.adopt(slot) {
                into.push(News::Opened { slot, file });
            }
            into.push(News::Changed { slot });
        }
        self.marks = marks;
    }

    /// If the host has opened the slot anew, start with an empty line of our own. Answers the entry it belongs to.
    fn adopt(&mut self, slot: u32) -> Option<u32> {
        let generation = self.block.peek(slot, word::HOST_GENERATION).value();
        let known = &self.streams[slot as usize];
        if generation == known.generation || known.open {
            return None;
        }
        let file = self.block.peek(slot, word::FILE).value();
        self.streams[slot as usize] = Stream {
            generation,
            open: true,
            ..Stream::default()
        };
        self.block.publish(slot, word::IN_HEAD, 0);
        self.block.publish(slot, word::OUT_TAIL, 0);
        self.block.publish(slot, word::GUEST_STATE, 0);
        self.block.publish(slot, word::GUEST_GENERATION, generation);
        Some(file)
    }

    /// Sleep until the host marks something, at most until `deadline`. It is looked for first, while that is worth it.
    pub fn wait(&mut self, deadline: Option<Instant>) {
        self.tell_host();
        let block = &self.block;
        if M::MAY_LOOK && self.patience.look(|| block.is_marked(Half::Guest)) {
            return;
        }
        let limit = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if limit != Some(Duration::ZERO) {
            self.block.guest_sleep(limit);
            self.patience.slept();
        }
    }

    /// Ring the doorbell if the host sleeps and was marked since. To be called before the guest computes on.
    pub fn tell_host(&mut self) {
        if self.told_host && self.block.host_needs_bell() {
            self.doorbell.ring();
        }
        self.told_host = false;
    }

    fn mark_host(&mut self, slot: u32) {
        self.block.mark(Half::Host, slot);
        self.told_host = true;
    }

    /// Whether the slot has an open stream.
    pub fn is_open(&self, slot: u32) -> bool {
        self.streams.get(slot as usize).is_some_and(|stream| stream.open)
    }

    /// How often the host had opened the slot when its stream began.
    pub fn generation(&self, slot: u32) -> u32 {
        self.streams[slot as usize].generation
    }

    /// Bytes that can be read now.
    pub fn available(&mut self, slot: u32) -> u32 {
        self.look(slot);
        self.streams[slot as usize].incoming.filled()
    }

    /// Bytes that can be written now.
    pub fn room(&mut self, slot: u32) -> u32 {
        self.look(slot);
        self.streams[slot as usize].outgoing.room(self.block.ring())
    }

    /// Whether nothing more will come and all that came was read.
    pub fn is_at_end(&mut self, slot: u32) -> bool {
        self.has_ended(slot) && self.streams[slot as usize].incoming.filled() == 0
    }

    /// Whether nothing more will come than what is in the ring.
    pub fn has_ended(&mut self, slot: u32) -> bool {
        self.look(slot);
        let stream = &self.streams[slot as usize];
        stream.ended || stream.error != 0
    }

    /// The fault that ended the stream, if one did. Bytes that came before it can still be read.
    pub fn fault(&mut self, slot: u32) -> Option<Errno> {
        self.look(slot);
        match self.streams[slot as usize].error {
            0 => None,
            error => Some(
                u16::try_from(error)
                    .ok()
                    .filter(|code| *code <= 76)
                    .map_or(Errno::IO, Errno),
            ),
        }
    }

    /// Copy the host's line, then check it. The state is read before the tail: what was put before the end is seen.
    #[inline]
    fn look(&mut self, slot: u32) {
        let stream = &mut self.streams[slot as usize];
        if !stream.open {
            return;
        }
        let state = self.block.peek(slot, word::HOST_STATE);
        let tail = self.block.peek(slot, word::IN_TAIL);
        let head = self.block.peek(slot, word::OUT_HEAD);
        stream.ended |= state.has(state::FIN);
        stream.error = self.block.peek(slot, word::ERROR).value();
        let seen = stream
            .incoming
            .see_tail(tail, self.block.ring())
            .and(stream.outgoing.see_head(head));
        if let Err(Impossible) = seen {
            attacked(slot);
        }
    }

    /// Take up to `into.len()` bytes; 0 if there are none.
    pub fn read(&mut self, slot: u32, into: &mut [u8]) -> usize {
        let taken = self.peek_bytes(slot, into);
        if taken > 0 {
            self.streams[slot as usize].incoming.take(taken as u32);
            self.publish_taken(slot);
        }
        taken
    }

    /// As [`Port::read`], but the bytes stay.
    pub fn peek_bytes(&mut self, slot: u32, into: &mut [u8]) -> usize {
        self.look(slot);
        let ranges = self.streams[slot as usize]
            .incoming
            .filled_ranges(self.block.in_ring(slot), self.block.ring());
        let mut copied = 0;
        for (offset, len) in ranges {
            let len = len.min(into.len() - copied);
            self.block.memory().copy_out(offset, &mut into[copied..copied + len]);
            copied += len;
        }
        copied
    }

    /// Tell the host of room where it waits for some, once at least half of the ring is free.
    fn publish_taken(&mut self, slot: u32) {
        let incoming = self.streams[slot as usize].incoming;
        self.block.publish(slot, word::IN_HEAD, incoming.head());
        let waits = self.block.peek(slot, word::HOST_STATE).has(state::WANTS_ROOM);
        if waits && incoming.filled() <= self.block.ring() / 2 {
            self.mark_host(slot);
        }
    }

    /// Put up to `from.len()` bytes; 0 if there is no room.
    pub fn write(&mut self, slot: u32, from: &[u8]) -> usize {
        self.look(slot);
        let stream = &mut self.streams[slot as usize];
        if !stream.open || stream.state & state::FIN != 0 {
            return 0;
        }
        let ranges = stream
            .outgoing
            .free_ranges(self.block.out_ring(slot), self.block.ring());
        let mut copied = 0;
        for (offset, len) in ranges {
            let len = len.min(from.len() - copied);
            self.block.memory().copy_in(offset, &from[copied..copied + len]);
            copied += len;
        }
        if copied > 0 {
            stream.outgoing.put(copied as u32, self.block.ring());
            let tail = stream.outgoing.tail();
            self.block.publish(slot, word::OUT_TAIL, tail);
            self.mark_host(slot);
        }
        copied
    }

    /// Ask the host to mark the slot when it has taken something. Look at the room once more before waiting: what
    /// was taken before the host saw the question is not told.
    pub fn ask_for_room(&mut self, slot: u32) {
        self.set_state(slot, |state| state | state::WANTS_ROOM);
    }

    /// Stop asking for room.
    pub fn has_room(&mut self, slot: u32) {
        if self.streams[slot as usize].state & state::WANTS_ROOM != 0 {
            self.set_state(slot, |state| state & !state::WANTS_ROOM);
        }
    }

    /// Nothing more will be written: the peer sees an end of file when all is delivered.
    pub fn finish(&mut self, slot: u32) {
        if self.is_open(slot) {
            self.set_state(slot, |state| state | state::FIN);
            self.mark_host(slot);
        }
    }

    /// Done with the stream; what was written is still delivered.
    pub fn release(&mut self, slot: u32) {
        if self.is_open(slot) {
            self.set_state(slot, |state| state | state::FIN | state::RELEASED);
            self.streams[slot as usize].open = false;
            self.mark_host(slot);
        }
    }

    fn set_state(&mut self, slot: u32, change: impl Fn(u32) -> u32) {
        let stream = &mut self.streams[slot as usize];
        if stream.open {
            stream.state = change(stream.state);
            self.block.publish(slot, word::GUEST_STATE, stream.state);
        }
    }
}

/// The host broke the protocol. Nothing it says can be believed any more, so nothing is asked: the Keep ends.
///
/// In a fuzzer's build it unwinds instead, to be told from a fault of ours.
fn attacked(slot: u32) -> ! {
    if cfg!(fuzzing) {
        std::panic::resume_unwind(Box::new("attacked"));
    }
    eprintln!("sallyport: slot {slot}: the host published an impossible position; the Keep ends");
    std::process::abort();
}
