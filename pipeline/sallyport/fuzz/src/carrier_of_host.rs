//! The host's end of a channel whose guest sends whatever it likes: the carrier refuses it, or what it passes on is what
//! the host half takes from any guest that plays by the rules.
#![no_main]

mod frames;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use frames::{Sender, Step};
use libfuzzer_sys::fuzz_target;
use sallyport::block::Block;
use sallyport::carrier::Side;
use sallyport::carrier::incoming::Incoming;
use sallyport::host::Host;
use sallyport::shared::duplicate;

fuzz_target!(|steps: Vec<Step>| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let inner = listener.accept().unwrap().0;
    peer.set_nonblocking(true).unwrap();
    let host = Host::new(1, 2, 4096).unwrap();
    host.attach_socket(0, inner.into()).unwrap();
    host.start().unwrap();
    let file: OwnedFd = duplicate(host.block_fd()).unwrap();
    let mut carrier = Incoming::of(Side::Host, Block::open(&file).unwrap());
    let mut sender = Sender::at(0);
    let mut received = Vec::new();
    for step in steps.iter().take(200) {
        received.extend(sender.bytes(step));
        match carrier.take(&received) {
            Ok(taken) => drop(received.drain(..taken)),
            Err(_) => break,
        }
        let _ = rustix::io::write(duplicate(host.doorbell_fd()).unwrap(), &1u64.to_ne_bytes());
        let _ = peer.write(&[0x5a; 100]);
        let _ = peer.read(&mut [0; 4096]);
    }
    let end = host.finish(Duration::from_millis(1));
    assert!(end.is_none(), "what the carrier passed on broke the host half: {end:?}");
});
