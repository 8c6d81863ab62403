//! The way into a carrier: frames of the other end, checked, then published on this end's block.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::Common;
use super::frame::{self, Fault, Frame, Stream, fault};
use super::side::{Side, is_released};
use crate::block::Block;
use crate::claim::Claim;
use crate::layout::{report, slot as word, state};
use crate::memory::Memory;
use crate::ring::Positions;

/// A slot's stream, as far as it was received.
#[derive(Default, Clone, Copy)]
struct Received {
    generation: u32,
    state: u32,
    error: u32,
    /// The ring that the other end's half fills.
    filled: Positions,
    /// The ring that it empties.
    emptied: Positions,
}

/// See the module.
pub struct Incoming {
    side: Side,
    block: Block,
    common: Arc<Common>,
    received: Vec<Received>,
    number: u32,
    ended: bool,
}

impl Incoming {
    pub(super) fn new(side: Side, block: Block, common: Arc<Common>) -> Self {
        Self {
            received: vec![Received::default(); block.slots() as usize],
            side,
            block,
            common,
            // The host's first frame was taken before there was a block.
            number: u32::from(side == Side::Guest),
            ended: false,
        }
    }

    /// Of a block alone, for a fuzzer.
    #[cfg(fuzzing)]
    pub fn of(side: Side, block: Block) -> Self {
        let common = Common::of(block.slots());
        Self::new(side, block, common)
    }

    /// Whether the other end has said that it will send no more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Take the whole frames at the start of `bytes`; answers how many bytes they were.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        while !self.ended
            && let Some((number, frame, len)) = frame::take(&bytes[taken..])?
        {
            if number != self.number {
                return fault(format!("frame {number} in the place of {}", self.number));
            }
            self.number = self.number.wrapping_add(1);
            self.publish(&frame)?;
            taken += len;
        }
        Ok(taken)
    }

    fn publish(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        match *frame {
            Frame::Stream(ref stream) => self.publish_stream(stream),
            Frame::Report {
                violation,
                done,
                failed,
            } if self.side == Side::Host => {
                let memory = self.block.memory();
                memory.store32(report::VIOLATION, violation);
                memory.store64(report::HANDSHAKES_DONE, done);
                memory.store64(report::HANDSHAKES_FAILED, failed);
                Ok(())
            }
            Frame::End => {
                self.ended = true;
                Ok(())
            }
            Frame::Hello { .. } | Frame::Report { .. } => fault("a frame that is not this end's to get"),
        }
    }

    fn publish_stream(&mut self, stream: &Stream<'_>) -> Result<(), Fault> {
        let slot = stream.slot;
        if slot >= self.block.slots() {
            return fault(format!("slot {slot}, and there are {}", self.block.slots()));
        }
        self.see_generation(stream)?;
        self.see_positions(stream)?;
        self.see_state(stream)?;
        self.publish_line(stream);
        self.block.mark(self.side.half(), slot);
        Ok(())
    }

    /// The guest speaks of the stream that its host has opened, and the host opens one only after the other.
    fn see_generation(&mut self, stream: &Stream<'_>) -> Result<(), Fault> {
        let (slot, generation) = (stream.slot, stream.generation);
        let known = self.received[slot as usize].generation;
        let is_due = match self.side {
            Side::Host => {
                generation == self.block.peek(slot, word::HOST_GENERATION).value()
                    && generation != 0
                    && !is_released(&self.block, slot, generation)
            }
            Side::Guest => {
                generation == known && known != 0
                    || generation == known.wrapping_add(1) && (known == 0 || is_released(&self.block, slot, known))
            }
        };
        if !is_due {
            return fault(format!("slot {slot}: generation {generation} out of its order"));
        }
        if generation != known {
            self.received[slot as usize] = Received {
                generation,
                ..Received::default()
            };
            if self.side == Side::Guest {
                self.common.told_heads[slot as usize].store(0, SeqCst);
            }
        }
        Ok(())
    }

    /// The same checks as of positions in a shared block.
    fn see_positions(&mut self, stream: &Stream<'_>) -> Result<(), Fault> {
        let (slot, ring) = (stream.slot, self.block.ring());
        let (own_tail, own_head) = self.own_positions(slot, stream.generation);
        let received = &mut self.received[slot as usize];
        if stream.tail != received.filled.tail() {
            return fault(format!(
                "slot {slot}: bytes from another position than the last ones ended at"
            ));
        }
        let own_is_possible = received
            .filled
            .see_head(own_head)
            .and_then(|()| received.emptied.see_tail(own_tail, ring));
        if own_is_possible.is_err() {
            return fault(format!("slot {slot}: this end's half published an impossible position"));
        }
        if stream.bytes.len() > received.filled.room(ring) as usize {
            return fault(format!("slot {slot}: more bytes than there is room for"));
        }
        if received.emptied.see_head(Claim::read(stream.head)).is_err() {
            return fault(format!("slot {slot}: an impossible position"));
        }
        Ok(())
    }

    /// Where the half on this end is: both are 0 until it has taken the stream up.
    fn own_positions(&self, slot: u32, generation: u32) -> (Claim, Claim) {
        let own = self.side.own();
        if self.block.peek(slot, own.generation).value() != generation {
            return (Claim::read(0), Claim::read(0));
        }
        (self.block.peek(slot, own.tail), self.block.peek(slot, own.head))
    }

    fn see_state(&mut self, stream: &Stream<'_>) -> Result<(), Fault> {
        let known = &mut self.received[stream.slot as usize];
        if known.state & state::FIN != 0 && !stream.bytes.is_empty() {
            return fault(format!("slot {}: bytes behind the end", stream.slot));
        }
        known.state |= stream.state & self.side.others().bits;
        if self.side == Side::Guest && known.error == 0 {
            known.error = stream.error;
        }
        Ok(())
    }

    /// Bytes, then what is waited for, then positions, then the end; a new generation last, so that it is seen whole.
    fn publish_line(&mut self, stream: &Stream<'_>) {
        let (slot, others) = (stream.slot, self.side.others());
        self.copy_bytes(stream);
        let received = &mut self.received[slot as usize];
        received.filled.put(stream.bytes.len() as u32, self.block.ring());
        let received = *received;
        let wants_room = self.wants_room(slot, &received);
        let block = &self.block;
        if received.state & state::FIN == 0 || !stream.bytes.is_empty() {
            block.publish(
                slot,
                others.state,
                received.state & !state::FIN & !state::RELEASED | wants_room,
            );
        }
        block.publish(slot, others.tail, received.filled.tail());
        block.publish(slot, others.head, received.emptied.head());
        if self.side == Side::Guest {
            block.publish(slot, word::FILE, stream.file);
            block.publish(slot, word::ERROR, received.error);
        }
        block.publish(slot, others.state, received.state | wants_room);
        block.publish(slot, others.generation, received.generation);
    }

    /// The half on this end tells what it takes while this bit is set: once more than half of the ring is full as far as
    /// the other end knows.
    fn wants_room(&self, slot: u32, received: &Received) -> u32 {
        let told = self.common.told_heads[slot as usize].load(SeqCst);
        let full = received.filled.tail().wrapping_sub(told);
        if full > self.block.ring() / 2 {
            state::WANTS_ROOM
        } else {
            0
        }
    }

    fn copy_bytes(&self, stream: &Stream<'_>) {
        let ring = self.side.emptied_ring(&self.block, stream.slot);
        let filled = &self.received[stream.slot as usize].filled;
        let mut rest = stream.bytes;
        for (offset, room) in filled.free_ranges(ring, self.block.ring()) {
            let (part, later) = rest.split_at(room.min(rest.len()));
            self.block.memory().copy_in(offset, part);
            rest = later;
        }
    }
}
