//! The guest's end of a channel whose host sends whatever it likes: the carrier refuses it, or what it passes on is what
//! the guest half takes from any host that plays by the rules.
#![no_main]

mod frames;

use std::os::fd::OwnedFd;

use frames::{Sender, Step};
use libfuzzer_sys::fuzz_target;
use sallyport::block::Block;
use sallyport::carrier::Side;
use sallyport::carrier::incoming::Incoming;
use sallyport::guest::port::{News, Port};

fuzz_target!(|steps: Vec<Step>| {
    let (block, file): (Block, OwnedFd) = Block::create(6, 4096).unwrap();
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let mut port: Port<_, OwnedFd> = Port::new(Block::open(&file).unwrap(), bell);
    let mut carrier = Incoming::of(Side::Guest, block);
    let mut sender = Sender::at(1);
    let mut received = Vec::new();
    let mut news = Vec::new();
    for step in steps.iter().take(200) {
        received.extend(sender.bytes(step));
        match carrier.take(&received) {
            Ok(taken) => drop(received.drain(..taken)),
            Err(_) => break,
        }
        if !matches!(step, Step::Turn) {
            continue;
        }
        // A position that cannot be would end the guest, which in a fuzzer's build unwinds: a crash to be found here.
        port.news(&mut news);
        for one in news.drain(..) {
            let (News::Opened { slot, .. } | News::Changed { slot }) = one;
            port.read(slot, &mut [0; 700]);
            port.write(slot, &[0x5a; 300]);
            if port.has_ended(slot) {
                port.release(slot);
            }
        }
    }
});
