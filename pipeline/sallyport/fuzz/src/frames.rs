//! What the other end of a channel may send: frames that are nearly right, and anything else.

use arbitrary::Arbitrary;
use sallyport::carrier::frame::{self, Frame, Stream};

#[derive(Arbitrary, Debug)]
pub enum Step {
    /// A frame about one of a few slots; positions are given as a step from those that would be right.
    Stream {
        slot: u8,
        generation: i8,
        state: u8,
        tail: i8,
        head: u16,
        error: u8,
        bytes: u16,
    },
    Report {
        violation: u32,
        done: u64,
    },
    End,
    Raw(Vec<u8>),
    /// The next number is another one.
    Skip(i8),
    /// The half on this end has its turn.
    Turn,
}

/// What was sent so far, as one who plays by the rules would count it.
pub struct Sender {
    number: u32,
    slots: [(u32, u32); 8],
}

impl Sender {
    /// One whose next frame has this number.
    pub fn at(number: u32) -> Self {
        Self {
            number,
            slots: Default::default(),
        }
    }

    pub fn bytes(&mut self, step: &Step) -> Vec<u8> {
        let mut out = Vec::new();
        match step {
            Step::Stream {
                slot,
                generation,
                state,
                tail,
                head,
                error,
                bytes,
            } => {
                let data = vec![0x5a; usize::from(*bytes) % 6000];
                let known = &mut self.slots[usize::from(slot % 8)];
                let next = known.0.wrapping_add_signed((*generation).into());
                if next != known.0 {
                    *known = (next, 0);
                }
                let stream = Stream {
                    slot: u32::from(*slot),
                    generation: known.0,
                    state: u32::from(*state),
                    tail: known.1.wrapping_add_signed((*tail).into()),
                    head: u32::from(*head),
                    file: 0,
                    error: u32::from(*error),
                    bytes: &data,
                };
                known.1 = known.1.wrapping_add(data.len() as u32);
                self.put(&mut out, &Frame::Stream(stream));
            }
            Step::Report { violation, done } => self.put(
                &mut out,
                &Frame::Report {
                    violation: *violation,
                    done: *done,
                    failed: 0,
                },
            ),
            Step::End => self.put(&mut out, &Frame::End),
            Step::Raw(bytes) => out.extend(bytes.iter().take(4096)),
            Step::Skip(by) => self.number = self.number.wrapping_add_signed((*by).into()),
            Step::Turn => {}
        }
        out
    }

    fn put(&mut self, out: &mut Vec<u8>, frame: &Frame<'_>) {
        frame::put(out, self.number, frame);
        self.number = self.number.wrapping_add(1);
    }
}
