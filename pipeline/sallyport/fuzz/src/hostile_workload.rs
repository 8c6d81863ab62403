//! A workload that calls every function of WASI with whatever it likes: errors and answers, and nothing else happens.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sallyport::block::{Block, Half};
use sallyport::guest::port::Port;
use sallyport::guest::{FileKind, Guest};
use sallyport::layout::{self, slot as word};
use sallyport::wasi::{Args, FUNCTIONS, Memory, perform};

const MEMORY: usize = 1 << 14;

#[derive(Arbitrary, Debug)]
struct Call {
    function: u8,
    /// Small, so that they are descriptors and places in memory; `wide` makes one of them anything.
    args: [u16; 9],
    wide: Option<(u8, u64)>,
    /// Written to the workload's memory before the call.
    at: u16,
    bytes: Vec<u8>,
}

fuzz_target!(|calls: Vec<Call>| {
    let (block, file) = Block::create(4, 4096).unwrap();
    // The one stream has ended, so that no call waits for a host that is not there.
    block.publish(1, word::HOST_STATE, layout::state::OPEN | layout::state::FIN);
    block.publish(1, word::HOST_GENERATION, 1);
    block.mark(Half::Guest, 1);
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let mut guest = Guest::new(Port::new(Block::open(&file).unwrap(), bell)).unwrap();
    guest.add_file(FileKind::ConnectTcp).unwrap();
    guest.add_file(FileKind::Listen(None)).unwrap();
    let _ = guest.limit_filesystem(1 << 16);
    guest.open_for_business();
    let mut memory = vec![0; MEMORY];
    let set_flags = FUNCTIONS
        .iter()
        .find(|function| function.name == "fd_fdstat_set_flags")
        .unwrap();
    for fd in 0..2 {
        let _ = perform(set_flags, &mut guest, &mut Memory::new(&mut memory), &Args(&[fd, 4]));
    }
    for call in calls.iter().take(100) {
        let function = &FUNCTIONS[usize::from(call.function) % FUNCTIONS.len()];
        // Those that wait, or could make another wait, for a host that is not there.
        if ["poll_oneoff", "proc_exit", "fd_fdstat_set_flags"].contains(&function.name) {
            continue;
        }
        let at = usize::from(call.at) % MEMORY;
        let len = call.bytes.len().min(MEMORY - at);
        memory[at..at + len].copy_from_slice(&call.bytes[..len]);
        let mut args = call.args.map(u64::from);
        if let Some((index, value)) = call.wide {
            args[usize::from(index) % args.len()] = value;
        }
        let args = Args(&args[..function.params.len()]);
        let _ = perform(function, &mut guest, &mut Memory::new(&mut memory), &args);
    }
});
