//! A host half whose guest writes whatever it likes: it goes on or gives up with a reason, and ends when it is told.
#![no_main]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sallyport::block::{Block, Half};
use sallyport::host::Host;
use sallyport::layout::{self, slot as word};
use sallyport::memory::Memory as _;
use sallyport::shared::duplicate;

const RING: u32 = 4096;
const SLOTS: u32 = 4;
const BELLS: [usize; 3] = [layout::GUEST_BELL, layout::GUEST_ASLEEP, layout::HOST_ASLEEP];

#[derive(Arbitrary, Debug)]
enum Step {
    Word { slot: u8, word: u8, value: u32 },
    Position { slot: u8, word: u8, step: i16 },
    Adopt { slot: u8 },
    Marks { word: u16, bits: u64 },
    Bell { which: u8, value: u32 },
    FromPeer { bytes: u16 },
    Ring,
}

fn guest(host: &Host, block: &Block, peer: &mut TcpStream, step: &Step) {
    let place = |slot: u8, word: u8| (u32::from(slot) % SLOTS, 4 * (usize::from(word) % (word::BYTES / 4)));
    match *step {
        Step::Word { slot, word, value } => {
            let (slot, at) = place(slot, word);
            block.publish(slot, at, value);
        }
        Step::Position { slot, word, step } => {
            let (slot, at) = place(slot, word);
            let now = block.peek(slot, at).value();
            block.publish(slot, at, now.wrapping_add_signed(step.into()));
            block.mark(Half::Host, slot);
        }
        Step::Adopt { slot } => {
            let slot = u32::from(slot) % SLOTS;
            let generation = block.peek(slot, word::HOST_GENERATION).value();
            block.publish(slot, word::GUEST_GENERATION, generation);
        }
        Step::Marks { word, bits } => {
            let word = usize::from(word) % (layout::BITMAP / 8 + layout::BITMAP_WORDS);
            block.memory().store64(layout::DIRTY_TO_HOST + 8 * word, bits);
        }
        Step::Bell { which, value } => block.memory().store32(BELLS[usize::from(which) % BELLS.len()], value),
        Step::FromPeer { bytes } => {
            let _ = peer.write(&vec![0x5a; bytes.into()]);
        }
        Step::Ring => {
            let _ = rustix::io::write(duplicate(host.doorbell_fd()).unwrap(), &1u64.to_ne_bytes());
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let inner = listener.accept().unwrap().0;
    peer.set_nonblocking(true).unwrap();
    let host = Host::new(1, 2, RING).unwrap();
    host.attach_socket(0, inner.into()).unwrap();
    host.start().unwrap();
    let file: OwnedFd = duplicate(host.block_fd()).unwrap();
    let block = Block::open(&file).unwrap();
    for step in steps.iter().take(200) {
        guest(&host, &block, &mut peer, step);
        let _ = peer.read(&mut [0; 4096]);
    }
    let begun = Instant::now();
    let end = host.finish(Duration::from_millis(1));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "it did not end when it was told"
    );
    assert!(end.is_none_or(|why| why.ends_with("an impossible position")));
});
