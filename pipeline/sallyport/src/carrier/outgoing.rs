//! The way out of a carrier: what the half on this end publishes, as frames.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::frame::{self, Frame, PIECE};
use super::side::{Side, is_released};
use super::{BATCH, Common};
use crate::block::Block;
use crate::claim::Claim;
use crate::layout::{CONTROL, report, slot as word, state};
use crate::memory::Memory;
use crate::ring::Positions;

/// Bytes that may have gone through a ring whose pages are not worth giving back.
const LEFT_RESIDENT: u32 = 16 * 1024;

/// A slot's stream, as far as it was sent.
#[derive(Default, Clone, Copy)]
struct Sent {
    generation: u32,
    /// The ring that the half fills; its head is where the next frame begins.
    filled: Positions,
    state: u32,
    error: u32,
    head: u32,
    /// The guest is done with it: nothing more is sent until the slot is opened anew.
    over: bool,
}

/// What the half's line says now, copied.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    generation: u32,
    state: u32,
    tail: u32,
    head: u32,
    file: u32,
    error: u32,
}

/// See the module.
pub struct Outgoing {
    side: Side,
    block: Block,
    common: Arc<Common>,
    sent: Vec<Sent>,
    marks: Vec<u32>,
    number: u32,
    batch: Vec<u8>,
    piece: Vec<u8>,
    reported: (u32, u64, u64),
}

impl Outgoing {
    pub(super) fn new(side: Side, block: Block, common: Arc<Common>) -> Self {
        let mut new = Self {
            sent: vec![Sent::default(); block.slots() as usize],
            side,
            common,
            marks: Vec::new(),
            number: 0,
            batch: Vec::with_capacity(BATCH),
            piece: Vec::with_capacity(PIECE),
            reported: (0, 0, 0),
            block,
        };
        if side == Side::Host {
            let (slots, ring) = (new.block.slots(), new.block.ring());
            new.put(&Frame::Hello { slots, ring });
        }
        new
    }

    /// Send all that is new, as much as there is at once. The outer error says how the half on this end broke its block.
    ///
    /// The control stream was looked at first and goes last: what it speaks of, the other end has by then.
    pub(super) fn send_news(&mut self, to: &mut impl Write) -> Result<io::Result<()>, String> {
        let control = self.look(CONTROL);
        let mut marks = std::mem::take(&mut self.marks);
        self.block.take_marks(self.side.other_half(), &mut marks);
        let is_control_marked = marks.contains(&CONTROL);
        for slot in marks.drain(..).filter(|slot| *slot != CONTROL) {
            let seen = self.look(slot);
            self.note(slot, seen)?;
            if self.batch.len() >= BATCH
                && let Err(fault) = self.flush(to)
            {
                return Ok(Err(fault));
            }
        }
        self.marks = marks;
        if is_control_marked {
            self.note(CONTROL, control)?;
            if self.look(CONTROL) != control {
                self.block.mark(self.side.other_half(), CONTROL);
            }
        }
        self.note_report();
        Ok(self.flush(to))
    }

    /// Say that nothing more will come.
    pub(super) fn send_end(&mut self, to: &mut impl Write) -> io::Result<()> {
        self.put(&Frame::End);
        self.flush(to)
    }

    fn flush(&mut self, to: &mut impl Write) -> io::Result<()> {
        let written = to.write_all(&self.batch);
        self.batch.clear();
        written
    }

    fn put(&mut self, frame: &Frame<'_>) {
        frame::put(&mut self.batch, self.number, frame);
        self.number = self.number.wrapping_add(1);
    }

    /// Put what is new of a slot into the batch. An error says how the half on this end broke its block.
    fn note(&mut self, slot: u32, seen: Seen) -> Result<(), String> {
        let known = &mut self.sent[slot as usize];
        let is_new = seen.generation != known.generation;
        if !is_new && known.over {
            return Ok(());
        }
        // Looked at after the line: the host opens a slot anew only when it has seen it released.
        if self.side == Side::Host && is_released(&self.block, slot, seen.generation) {
            known.over = true;
            return Ok(());
        }
        if is_new {
            *known = Sent {
                generation: seen.generation,
                ..Sent::default()
            };
            if self.side == Side::Host {
                self.common.told_heads[slot as usize].store(0, SeqCst);
            }
        }
        let is_possible = known.filled.see_tail(Claim::read(seen.tail), self.block.ring());
        is_possible.map_err(|_| format!("slot {slot}: this end's half published an impossible position"))?;
        self.put_pieces(slot, &seen, is_new);
        if self.side == Side::Guest && seen.state & state::RELEASED != 0 {
            self.give_pages_back(slot);
            self.sent[slot as usize].over = true;
        }
        Ok(())
    }

    /// Copy the line. The state is read before the tail: what was put before the end is seen.
    fn look(&self, slot: u32) -> Seen {
        let own = self.side.own();
        let read = |at| self.block.peek(slot, at).value();
        let is_host = self.side == Side::Host;
        Seen {
            generation: read(own.generation),
            state: read(own.state) & own.bits,
            tail: read(own.tail),
            head: read(own.head),
            file: if is_host { read(word::FILE) } else { 0 },
            error: if is_host { read(word::ERROR) } else { 0 },
        }
    }

    /// At least one frame if anything is new, and as many as the bytes take. The end goes with the last one.
    fn put_pieces(&mut self, slot: u32, seen: &Seen, is_new: bool) {
        let mut is_due = is_new || self.has_news(slot, seen);
        loop {
            let known = self.sent[slot as usize];
            let filled = known.filled.filled() as usize;
            if filled == 0 && !is_due {
                return;
            }
            is_due = false;
            let len = filled.min(PIECE);
            let is_last = len == filled;
            let mut piece = std::mem::take(&mut self.piece);
            self.copy_piece(slot, &known.filled, len, &mut piece);
            let (state, error) = if is_last {
                (seen.state, seen.error)
            } else {
                (seen.state & !(state::FIN | state::RELEASED), known.error)
            };
            self.put(&Frame::Stream(frame::Stream {
                slot,
                generation: known.generation,
                state,
                tail: known.filled.head(),
                head: seen.head,
                file: seen.file,
                error,
                bytes: &piece,
            }));
            self.piece = piece;
            let known = &mut self.sent[slot as usize];
            known.filled.take(len as u32);
            (known.state, known.error, known.head) = (state, error, seen.head);
            self.common.told_heads[slot as usize].store(seen.head, SeqCst);
        }
    }

    /// Whether there is something to say beside bytes. That some were taken is, once they are a quarter of the ring: who
    /// fills it waits for no less.
    fn has_news(&self, slot: u32, seen: &Seen) -> bool {
        let known = &self.sent[slot as usize];
        let taken = seen.head.wrapping_sub(known.head);
        seen.state != known.state || seen.error != known.error || taken >= self.block.ring() / 4
    }

    fn copy_piece(&self, slot: u32, filled: &Positions, len: usize, into: &mut Vec<u8>) {
        into.resize(len, 0);
        let mut copied = 0;
        for (offset, part) in filled.filled_ranges(self.side.filled_ring(&self.block, slot), self.block.ring()) {
            let part = part.min(len - copied);
            self.block.memory().copy_out(offset, &mut into[copied..copied + part]);
            copied += part;
        }
    }

    /// Pages of a ring stay resident until they are given back; a Keep's memory is small.
    fn give_pages_back(&self, slot: u32) {
        let sent = &self.sent[slot as usize];
        for (put, ring) in [
            (sent.filled.tail(), self.block.out_ring(slot)),
            (sent.head, self.block.in_ring(slot)),
        ] {
            if put > LEFT_RESIDENT {
                self.block.memory().give_back(ring, self.block.ring() as usize);
            }
        }
    }

    /// What the guest says of itself.
    fn note_report(&mut self) {
        if self.side == Side::Host {
            return;
        }
        let memory = self.block.memory();
        let now = (
            Claim::read(memory.load32(report::VIOLATION)).value(),
            memory.load64(report::HANDSHAKES_DONE),
            memory.load64(report::HANDSHAKES_FAILED),
        );
        if now != self.reported {
            self.reported = now;
            let (violation, done, failed) = now;
            self.put(&Frame::Report {
                violation,
                done,
                failed,
            });
        }
    }
}
