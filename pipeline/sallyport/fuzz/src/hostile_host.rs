//! A guest half on a block whose host writes whatever it likes: it goes on or gives up, and nothing else happens.
#![no_main]

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sallyport::block::{Block, Half};
use sallyport::guest::port::Port;
use sallyport::guest::{FileKind, Guest};
use sallyport::layout::{self, slot as word};
use sallyport::memory::Memory as _;
use sallyport::wasi::{Args, FUNCTIONS, Memory, perform};

const SLOTS: u32 = 6;
const RING: u32 = 4096;
const MEMORY: usize = 1 << 16;
const BELLS: [usize; 3] = [layout::GUEST_BELL, layout::GUEST_ASLEEP, layout::HOST_ASLEEP];

#[derive(Arbitrary, Debug)]
enum Step {
    Word {
        slot: u8,
        word: u8,
        value: u32,
    },
    Position {
        slot: u8,
        word: u8,
        step: i16,
    },
    Marks {
        word: u16,
        bits: u64,
    },
    Bell {
        which: u8,
        value: u32,
    },
    Open {
        slot: u8,
        file: u8,
    },
    /// The workload's next call, of those that do not wait.
    Call {
        function: u8,
        args: [u16; 9],
    },
}

const FUNCTIONS_THAT_WAIT: [&str; 2] = ["poll_oneoff", "sched_yield"];

fn host(block: &Block, step: &Step) {
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
            block.mark(Half::Guest, slot);
        }
        Step::Marks { word, bits } => {
            let word = usize::from(word) % (layout::BITMAP / 8 + layout::BITMAP_WORDS);
            block.memory().store64(layout::DIRTY_TO_GUEST + 8 * word, bits);
        }
        Step::Bell { which, value } => block.memory().store32(BELLS[usize::from(which) % BELLS.len()], value),
        Step::Open { slot, file } => {
            let slot = u32::from(slot) % SLOTS;
            let generation = block.peek(slot, word::HOST_GENERATION).value();
            block.publish(slot, word::FILE, file.into());
            block.publish(slot, word::HOST_STATE, layout::state::OPEN);
            block.publish(slot, word::HOST_GENERATION, generation.wrapping_add(1));
            block.mark(Half::Guest, slot);
        }
        Step::Call { .. } => {}
    }
}

fn life(steps: &[Step]) {
    let (block, file): (Block, OwnedFd) = Block::create(SLOTS, RING).unwrap();
    for slot in 0..2 {
        block.publish(slot, word::HOST_STATE, layout::state::OPEN);
        block.publish(slot, word::HOST_GENERATION, 1);
        block.mark(Half::Guest, slot);
    }
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let mut guest = Guest::new(Port::new(Block::open(&file).unwrap(), bell)).unwrap();
    guest.add_file(FileKind::ConnectTcp).unwrap();
    guest.add_file(FileKind::Listen(None)).unwrap();
    guest.open_for_business();
    let mut memory = vec![0; MEMORY];
    let calls: Vec<_> = FUNCTIONS
        .iter()
        .filter(|call| !FUNCTIONS_THAT_WAIT.contains(&call.name))
        .collect();
    for fd in [0u64, 1] {
        let set_flags = FUNCTIONS
            .iter()
            .find(|call| call.name == "fd_fdstat_set_flags")
            .unwrap();
        let _ = perform(set_flags, &mut guest, &mut Memory::new(&mut memory), &Args(&[fd, 4]));
    }
    for step in steps {
        host(&block, step);
        if let Step::Call { function, args } = step {
            let call = calls[usize::from(*function) % calls.len()];
            // Flags stay as they are: a blocking call would wait for this very host.
            if call.name != "fd_fdstat_set_flags" {
                let args = args.map(u64::from);
                let args = Args(&args[..call.params.len()]);
                let _ = perform(call, &mut guest, &mut Memory::new(&mut memory), &args);
            }
        }
        guest.pump();
    }
}

fuzz_target!(|steps: Vec<Step>| {
    // Giving up is how the guest meets an attack, and in a fuzzer's build it unwinds.
    let _ = catch_unwind(AssertUnwindSafe(|| life(&steps)));
});
