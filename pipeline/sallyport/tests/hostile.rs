//! One half against a hostile other half: an end with a reason, never a panic, a hang or an access outside.

mod common;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{PATIENCE, connected, pattern, soon, tcp_pair, workload};
use proptest::prelude::*;
use sallyport::block::{Block, Half};
use sallyport::errno::Errno;
use sallyport::guest::port::Port;
use sallyport::guest::{FileKind, Guest};
use sallyport::host::Host;
use sallyport::layout::{self, slot as word};
use sallyport::memory::Memory;
use sallyport::shared::duplicate;

const RING: u32 = 4096;
const BELLS: [usize; 3] = [layout::GUEST_BELL, layout::GUEST_ASLEEP, layout::HOST_ASLEEP];

fn block_of(host: &Host) -> Block {
    let file: OwnedFd = duplicate(host.block_fd()).unwrap();
    Block::open(&file).unwrap()
}

/// A host half with one plain socket as entry 0 and room for two connections, and the socket's peer.
fn host_alone() -> (Host, std::net::TcpStream) {
    let (peer, inner) = tcp_pair();
    let host = Host::new(1, 2, RING).unwrap();
    host.attach_socket(0, inner.into()).unwrap();
    host.start().unwrap();
    (host, peer)
}

fn speak_for(block: &Block, slot: u32, word: usize, value: u32) {
    block.publish(
        slot,
        word::GUEST_GENERATION,
        block.peek(slot, word::HOST_GENERATION).value(),
    );
    block.publish(slot, word, value);
    block.mark(Half::Host, slot);
}

fn ring(host: &Host) {
    rustix::io::write(duplicate(host.doorbell_fd()).unwrap(), &1u64.to_ne_bytes()).unwrap();
}

#[test]
fn a_guest_that_claims_impossible_positions_breaks_its_host_half_with_a_reason() {
    for (at, value) in [
        (word::OUT_TAIL, RING + 1),
        (word::OUT_TAIL, u32::MAX),
        (word::IN_HEAD, 1),
    ] {
        let (host, _peer) = host_alone();
        speak_for(&block_of(&host), 1, at, value);
        ring(&host);
        assert!(soon(|| host.broken().is_some()), "{at:#x}={value}");
        assert_eq!(
            host.broken().unwrap(),
            "slot 1: the guest published an impossible position"
        );
    }
}

#[test]
fn a_guest_that_spoils_its_doorbell_cannot_stop_orders() {
    let (host, _peer) = host_alone();
    let bell = duplicate(host.doorbell_fd()).unwrap();
    rustix::io::ioctl_fionbio(&bell, false).unwrap();
    rustix::io::write(&bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    assert_eq!(host.finish(10 * PATIENCE), None);
    assert!(begun.elapsed() < PATIENCE);
}

#[derive(Debug, Clone)]
enum Deed {
    Word(u32, usize, u32),
    Position(u32, usize, i32),
    Mark(u64, usize),
    Bell(usize, u32),
    FromPeer(usize),
    Ring,
}

/// Deeds on the words of slots. Positions near the true ones, so that some are believed.
fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let at = (0usize..word::BYTES / 4).prop_map(|index| 4 * index);
    let positions = prop::sample::select(vec![word::IN_TAIL, word::OUT_HEAD, word::IN_HEAD, word::OUT_TAIL]);
    let deed = prop_oneof![
        (0u32..4, at, prop_oneof![0u32..16, any::<u32>()]).prop_map(|(slot, at, value)| Deed::Word(slot, at, value)),
        (0u32..4, positions, -20i32..5000).prop_map(|(slot, at, step)| Deed::Position(slot, at, step)),
        (any::<u64>(), 0usize..260).prop_map(|(bits, word)| Deed::Mark(bits, word)),
        (0usize..3, any::<u32>()).prop_map(|(which, value)| Deed::Bell(which, value)),
        (0usize..9000).prop_map(Deed::FromPeer),
        Just(Deed::Ring),
    ];
    prop::collection::vec(deed, 1..60)
}

fn scribble(block: &Block, summary: usize, deed: &Deed) {
    match *deed {
        Deed::Word(slot, at, value) => block.publish(slot, at, value),
        Deed::Position(slot, at, step) => {
            block.publish(slot, at, block.peek(slot, at).value().wrapping_add_signed(step));
            block.mark(Half::Host, slot);
            block.mark(Half::Guest, slot);
        }
        Deed::Mark(bits, word) => block.memory().store64(summary + 8 * word, bits),
        Deed::Bell(which, value) => block.memory().store32(BELLS[which], value),
        Deed::FromPeer(_) | Deed::Ring => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_guest_does_the_host_half_ends_when_told(deeds in deeds()) {
        let (host, mut peer) = host_alone();
        peer.set_nonblocking(true).unwrap();
        let block = block_of(&host);
        for deed in &deeds {
            scribble(&block, layout::DIRTY_TO_HOST, deed);
            match deed {
                Deed::FromPeer(bytes) => { let _ = peer.write(&pattern(*bytes, 1)); }
                Deed::Ring => ring(&host),
                _ => {}
            }
            let _ = peer.read(&mut [0; 3000]);
        }
        let begun = Instant::now();
        let end = host.finish(Duration::from_millis(20));
        prop_assert!(begun.elapsed() < PATIENCE);
        prop_assert!(end.as_deref().is_none_or(|why| why.ends_with("an impossible position")), "{end:?}");
    }
}

/// What a guest does while its host scribbles. Runs in a process of its own, because it may abort.
fn life_with_a_hostile_host(seed: u64) {
    let (block, file) = Block::create(6, RING).unwrap();
    for slot in 0..2 {
        block.publish(slot, word::HOST_GENERATION, 1);
        block.publish(slot, word::HOST_STATE, layout::state::OPEN);
        block.mark(Half::Guest, slot);
    }
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let mut guest = Guest::new(Port::new(Block::open(&file).unwrap(), bell)).unwrap();
    guest.add_file(FileKind::ConnectTcp).unwrap();
    guest.add_file(FileKind::Listen(None)).unwrap();
    guest.open_for_business();
    let mut workload = workload(guest);
    workload.set_nonblocking(0);
    workload.set_nonblocking(1);
    let mut random = seed;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..300 {
        let slot = next(6) as u32;
        let deed = match next(5) {
            0 => Deed::Word(slot, 4 * next(6) as usize, next(20) as u32),
            1 => Deed::Word(slot, 4 * next(32) as usize, next(u64::from(u32::MAX)) as u32),
            2 => Deed::Position(slot, word::IN_TAIL, next(1500) as i32 - 2),
            3 => Deed::Mark(next(1 << 31) << 32 | next(1 << 31), next(260) as usize),
            _ => Deed::Bell(next(3) as usize, next(9) as u32),
        };
        scribble(&block, layout::DIRTY_TO_GUEST, &deed);
        let _ = workload.read(0, 5000);
        let _ = workload.write(0, &pattern(700, 5));
        let _ = workload.poll(&[1000], &[(0, 1), (0, 2), (1, 1)]);
        if let Ok(fd) = workload.accept(1) {
            let _ = workload.receive(fd, 100, 1);
            workload.close(fd);
        }
    }
}

#[test]
fn whatever_a_host_does_the_guest_goes_on_or_ends_itself() {
    if let Ok(seed) = std::env::var("HOSTILE_HOST") {
        return life_with_a_hostile_host(seed.parse().unwrap());
    }
    let mut aborted = 0;
    for seed in 0..80 {
        let program = std::env::current_exe().unwrap();
        let test = "whatever_a_host_does_the_guest_goes_on_or_ends_itself";
        let child = Command::new(program)
            .args(["--exact", test, "--nocapture"])
            .env("HOSTILE_HOST", seed.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        if child.status.success() {
            continue;
        }
        assert_eq!(child.status.signal(), Some(6), "seed {seed}: {said}");
        assert!(
            said.contains("the host published an impossible position"),
            "seed {seed}: {said}"
        );
        aborted += 1;
    }
    assert!(aborted > 0, "no seed made the host lie well enough");
}

#[test]
fn a_connection_of_an_entry_that_does_not_listen_is_given_back() {
    let (block, file) = Block::create(4, RING).unwrap();
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let mut guest = Guest::new(Port::new(Block::open(&file).unwrap(), bell)).unwrap();
    guest.add_file(FileKind::Listen(None)).unwrap();
    guest.open_for_business();
    block.publish(2, word::FILE, 7);
    block.publish(2, word::HOST_STATE, layout::state::OPEN);
    block.publish(2, word::HOST_GENERATION, 1);
    block.mark(Half::Guest, 2);
    let mut workload = workload(guest);
    workload.set_nonblocking(0);
    assert_eq!(workload.accept(0), Err(Errno::AGAIN));
    assert!(block.peek(2, word::GUEST_STATE).has(layout::state::RELEASED));
}

#[test]
fn a_peer_that_did_not_get_everything_sees_a_reset() {
    let (host, mut workload, mut peer) = connected(RING);
    workload.set_nonblocking(0);
    let bytes = pattern(60_000, 9);
    let mut last_taken = Instant::now();
    while last_taken.elapsed() < Duration::from_millis(300) {
        if workload.write(0, &bytes).is_ok() {
            last_taken = Instant::now();
        }
    }
    assert_eq!(host.finish(Duration::from_millis(50)), None);
    let end = peer.read_to_end(&mut Vec::new());
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
