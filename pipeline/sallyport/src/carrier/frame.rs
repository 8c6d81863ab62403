//! Frames as they travel: a head of three words, then a body by its kind. All words are 32 or 64 bits, little-endian.
//!
//! `README.md` beside this crate has the table.

use std::fmt;

use crate::layout;

/// Version of the frames.
pub const VERSION: u32 = 1;
/// Bytes of a frame's head: its kind, the bytes of its body, and how many frames were sent before it.
pub const HEAD: usize = 12;
/// Bytes of the first frame.
pub const HELLO_BYTES: usize = HEAD + HELLO;
/// Most bytes of a stream in one frame: a frame is whole in what a carrier reads at once.
pub const PIECE: usize = 32 * 1024;

const HELLO: usize = 20;
const STREAM: usize = 28;
const REPORT: usize = 20;

/// Kinds of frames.
mod kind {
    pub const HELLO: u32 = 1;
    pub const STREAM: u32 = 2;
    pub const REPORT: u32 = 3;
    pub const END: u32 = 4;
}

/// Why what came cannot be of a carrier of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub(crate) String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the other end of the channel broke the protocol: {}", self.0)
    }
}

/// A fault, with its reason.
pub(crate) fn fault<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(why.into()))
}

/// What became of one slot: a half's line, and the bytes that it put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream<'a> {
    /// The slot.
    pub slot: u32,
    /// How often the host had opened it.
    pub generation: u32,
    /// Bits of [`layout::state`].
    pub state: u32,
    /// Bytes that were put before these.
    pub tail: u32,
    /// Bytes ever taken of the other direction.
    pub head: u32,
    /// Entry of the manifest's `files`; of the host's frames.
    pub file: u32,
    /// WASI error that ended the stream, or 0; of the host's frames.
    pub error: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The host's first: the shape of the block.
    Hello {
        /// Number of slots.
        slots: u32,
        /// Bytes of one ring.
        ring: u32,
    },
    /// Something happened to a slot.
    Stream(Stream<'a>),
    /// The guest's words of the block's header, see [`layout::report`].
    Report {
        /// The system call that the jail refused.
        violation: u32,
        /// Handshakes that were finished.
        done: u64,
        /// Handshakes that failed.
        failed: u64,
    },
    /// Nothing more will be sent.
    End,
}

/// Append a frame.
pub fn put(into: &mut Vec<u8>, number: u32, frame: &Frame<'_>) {
    let (kind, len) = match frame {
        Frame::Hello { .. } => (kind::HELLO, HELLO),
        Frame::Stream(stream) => (kind::STREAM, STREAM + stream.bytes.len()),
        Frame::Report { .. } => (kind::REPORT, REPORT),
        Frame::End => (kind::END, 0),
    };
    put_words(into, &[kind, len as u32, number]);
    match *frame {
        Frame::Hello { slots, ring } => {
            into.extend(layout::MAGIC.to_le_bytes());
            put_words(into, &[VERSION, slots, ring]);
        }
        Frame::Stream(stream) => {
            put_words(
                into,
                &[
                    stream.slot,
                    stream.generation,
                    stream.state,
                    stream.tail,
                    stream.head,
                    stream.file,
                    stream.error,
                ],
            );
            into.extend(stream.bytes);
        }
        Frame::Report {
            violation,
            done,
            failed,
        } => {
            put_words(into, &[violation]);
            into.extend(done.to_le_bytes());
            into.extend(failed.to_le_bytes());
        }
        Frame::End => {}
    }
}

fn put_words(into: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| into.extend(word.to_le_bytes()));
}

/// The frame at the start of what was received, which nobody else can write: its number, itself, and its bytes in all.
/// None if it is not whole yet.
pub fn take(from: &[u8]) -> Result<Option<(u32, Frame<'_>, usize)>, Fault> {
    let Some((head, rest)) = from.split_at_checked(HEAD) else {
        return Ok(None);
    };
    let mut head = Words(head);
    let (kind, len, number) = (head.next32(), head.next32() as usize, head.next32());
    check_length(kind, len)?;
    let Some(body) = rest.get(..len) else {
        return Ok(None);
    };
    Ok(Some((number, read_body(kind, Words(body))?, HEAD + len)))
}

fn check_length(kind: u32, len: usize) -> Result<(), Fault> {
    let fits = match kind {
        kind::HELLO => len == HELLO,
        kind::STREAM => (STREAM..=STREAM + PIECE).contains(&len),
        kind::REPORT => len == REPORT,
        kind::END => len == 0,
        _ => return fault(format!("a frame of kind {kind}")),
    };
    if fits {
        Ok(())
    } else {
        fault(format!("a frame of kind {kind} with {len} bytes"))
    }
}

fn read_body(kind: u32, mut body: Words<'_>) -> Result<Frame<'_>, Fault> {
    match kind {
        kind::HELLO => {
            let (magic, version) = (body.next64(), body.next32());
            let (slots, ring) = (body.next32(), body.next32());
            if magic != layout::MAGIC || version != VERSION || !layout::shape_is_valid(slots, ring) {
                return fault("a first frame that is not ours");
            }
            Ok(Frame::Hello { slots, ring })
        }
        kind::STREAM => Ok(Frame::Stream(Stream {
            slot: body.next32(),
            generation: body.next32(),
            state: body.next32(),
            tail: body.next32(),
            head: body.next32(),
            file: body.next32(),
            error: body.next32(),
            bytes: body.0,
        })),
        kind::REPORT => Ok(Frame::Report {
            violation: body.next32(),
            done: body.next64(),
            failed: body.next64(),
        }),
        _ => Ok(Frame::End),
    }
}

/// Takes words off the front of bytes whose number was checked.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next32(&mut self) -> u32 {
        let (word, rest) = self.0.split_first_chunk().expect("the length was checked");
        self.0 = rest;
        u32::from_le_bytes(*word)
    }

    fn next64(&mut self) -> u64 {
        let (word, rest) = self.0.split_first_chunk().expect("the length was checked");
        self.0 = rest;
        u64::from_le_bytes(*word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(words: [u32; 7], bytes: &[u8]) -> Frame<'_> {
        let [slot, generation, state, tail, head, file, error] = words;
        Frame::Stream(Stream {
            slot,
            generation,
            state,
            tail,
            head,
            file,
            error,
            bytes,
        })
    }

    #[test]
    fn a_frame_that_is_not_whole_is_waited_for() {
        let mut bytes = Vec::new();
        put(&mut bytes, 7, &stream([1, 2, 3, 4, 5, 6, 7], b"abc"));
        for cut in 0..bytes.len() {
            assert_eq!(take(&bytes[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn a_length_that_no_frame_of_its_kind_has_is_refused_before_its_body_is_there() {
        for (kind, len) in [
            (1, 0),
            (1, 21),
            (2, 27),
            (2, STREAM + PIECE + 1),
            (2, u32::MAX as usize),
            (3, 19),
            (4, 1),
            (0, 0),
            (5, 0),
        ] {
            let mut bytes = Vec::new();
            put_words(&mut bytes, &[kind, len as u32, 0]);
            assert!(take(&bytes).is_err(), "{kind} {len}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(number in any::<u32>(), words in any::<[u32; 7]>(), data in prop::collection::vec(any::<u8>(), 0..300)) {
            for frame in [
                Frame::Hello { slots: 1 + words[0] % layout::MAX_SLOTS, ring: 4096 },
                stream(words, &data),
                Frame::Report { violation: words[0], done: u64::from(words[1]) << 20, failed: 5 },
                Frame::End,
            ] {
                let mut bytes = Vec::new();
                put(&mut bytes, number, &frame);
                let whole = bytes.len();
                bytes.extend(&data);
                prop_assert_eq!(take(&bytes), Ok(Some((number, frame, whole))));
            }
        }

        #[test]
        fn whatever_comes_is_a_frame_or_a_fault_or_waited_for(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(Some((_, _, whole))) = take(&bytes) {
                prop_assert!(whole <= bytes.len());
            }
        }
    }
}
