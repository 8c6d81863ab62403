//! Both halves with a block each and carriers between, as a workload and its peer see them; and one carrier against
//! hostile frames.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{PATIENCE, Workload, exchange, pattern, soon, tcp_pair, workload};
use proptest::prelude::*;
use sallyport::block::Block;
use sallyport::carrier::Carrier;
use sallyport::carrier::frame::{self, Frame, Stream};
use sallyport::errno::Errno;
use sallyport::guest::port::Port;
use sallyport::guest::{FileKind, Guest};
use sallyport::host::Host;
use sallyport::layout::{MAGIC, slot as word, state};
use sallyport::shared::duplicate;

const RING: u32 = 4096;

fn beside(host: &Host, stream: UnixStream) -> Carrier {
    let block = duplicate(host.block_fd()).unwrap();
    Carrier::beside_host(block, duplicate(host.doorbell_fd()).unwrap(), stream.into()).unwrap()
}

fn guest_of(carrier: &Carrier) -> Guest {
    let block: OwnedFd = duplicate(carrier.block_fd().unwrap()).unwrap();
    let doorbell = duplicate(carrier.doorbell_fd().unwrap()).unwrap();
    Guest::new(Port::new(Block::open(&block).unwrap(), doorbell)).unwrap()
}

/// How often the host has opened a slot, as this carrier's block says.
fn generation(carrier: &Carrier, slot: u32) -> u32 {
    let block = Block::open(&duplicate(carrier.block_fd().unwrap()).unwrap()).unwrap();
    block.peek(slot, word::HOST_GENERATION).value()
}

/// Carriers are dropped before the halves whose blocks they have.
struct Ends {
    carriers: [Carrier; 2],
    host: Host,
}

/// A Keep behind carriers, with one entry.
fn carried(host: Host, kind: FileKind) -> (Ends, Workload) {
    host.start().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let outer = beside(&host, ours);
    let inner = Carrier::beside_guest(theirs.into()).unwrap();
    if matches!(kind, FileKind::ConnectTcp) {
        assert!(soon(|| generation(&inner, 1) == 1), "the entry is not open");
    }
    let mut guest = guest_of(&inner);
    guest.add_file(kind).unwrap();
    guest.open_for_business();
    let carriers = [outer, inner];
    (Ends { carriers, host }, workload(guest))
}

fn connected(ring: u32) -> (Ends, Workload, TcpStream) {
    let (peer, inner) = tcp_pair();
    let host = Host::new(1, 0, ring).unwrap();
    host.attach_socket(0, inner.into()).unwrap();
    let (ends, workload) = carried(host, FileKind::ConnectTcp);
    (ends, workload, peer)
}

fn listening(connections: u32) -> (Ends, Workload, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::new(1, connections, RING).unwrap();
    host.attach_listener(0, duplicate(listener.as_raw_fd()).unwrap())
        .unwrap();
    let (ends, workload) = carried(host, FileKind::Listen(None));
    (ends, workload, listener)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_sent_comes_back_whatever_the_sizes(
        total in 0usize..300_000, chunk in 1usize..70_000, seed in any::<u32>(), ring in prop::sample::select(vec![4096u32, 65_536])
    ) {
        let (_ends, mut workload, peer) = connected(ring);
        let sent = pattern(total, seed);
        let client = exchange(peer, sent.clone());
        loop {
            let bytes = workload.read(0, chunk).unwrap();
            if bytes.is_empty() {
                break;
            }
            prop_assert_eq!(workload.write(0, &bytes).unwrap(), bytes.len());
        }
        workload.close(0);
        workload.guest.port.tell_host();
        prop_assert!(client.join().unwrap() == sent);
    }
}

#[test]
fn small_writes_that_the_peer_takes_at_once_never_run_out_of_room() {
    let (_ends, mut workload, peer) = connected(RING);
    let sent = pattern(60_000, 3);
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        (&peer).read_to_end(&mut got).unwrap();
        got
    });
    for piece in sent.chunks(700) {
        assert_eq!(workload.write(0, piece).unwrap(), piece.len());
        workload.guest.port.tell_host();
    }
    workload.close(0);
    workload.guest.port.tell_host();
    assert!(reader.join().unwrap() == sent);
}

#[test]
fn a_peer_that_reads_nothing_holds_up_its_writer_and_no_other_stream() {
    let (_ends, mut workload, listener) = listening(2);
    let dial = || {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let silent = dial();
    let stuck = workload.accept(0).unwrap();
    workload.set_nonblocking(stuck);
    let bytes = pattern(60_000, 9);
    let mut last_taken = Instant::now();
    while last_taken.elapsed() < Duration::from_millis(200) {
        if workload.write(stuck, &bytes).is_ok() {
            last_taken = Instant::now();
        }
    }
    let mut lively = dial();
    let fd = workload.accept(0).unwrap();
    lively.write_all(b"hello").unwrap();
    assert_eq!(workload.read(fd, 100).unwrap(), b"hello");
    workload.write(fd, b"world").unwrap();
    workload.guest.port.tell_host();
    let mut got = [0; 5];
    lively.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"world");
    drop(silent);
}

#[test]
fn slots_are_used_again_by_one_connection_after_the_other() {
    let (ends, mut workload, listener) = listening(2);
    for round in 0..200u32 {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = pattern(1 + 37 * round as usize, round);
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let fd = workload.accept(0).unwrap();
        let mut got = Vec::new();
        loop {
            let bytes = workload.read(fd, 5000).unwrap();
            if bytes.is_empty() {
                break;
            }
            got.extend(bytes);
        }
        assert!(got == sent);
        workload.write(fd, &got).unwrap();
        workload.close(fd);
        workload.guest.port.tell_host();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == sent, "round {round}");
    }
    let opened = ends
        .carriers
        .each_ref()
        .map(|carrier| [2, 3].map(|slot| generation(carrier, slot)));
    assert_eq!(opened[0].iter().sum::<u32>(), 200);
    assert_eq!(opened[0], opened[1]);
}

#[test]
fn what_the_host_says_of_an_entry_comes_behind_the_entry() {
    for _ in 0..40 {
        let host = Host::new(1, 0, RING).unwrap();
        host.start().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let _outer = beside(&host, ours);
        let inner = Carrier::beside_guest(theirs.into()).unwrap();
        let mut guest = guest_of(&inner);
        let (_peer, connection) = tcp_pair();
        host.attach_socket(0, connection.into()).unwrap();
        rustix::io::write(duplicate(host.control_fd()).unwrap(), b"it is open").unwrap();
        assert_eq!(guest.control_read(100), b"it is open");
        guest.add_file(FileKind::ConnectTcp).unwrap();
    }
}

#[test]
fn after_half_close_the_other_direction_goes_on_and_a_reset_is_told() {
    let (_ends, mut workload, mut peer) = connected(RING);
    workload.call("sock_shutdown", &[0, 2]).unwrap();
    assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 0);
    peer.write_all(b"still here").unwrap();
    assert_eq!(workload.read(0, 100).unwrap(), b"still here");
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(workload.read(0, 100), Err(Errno::CONNRESET));
}

#[test]
fn what_the_guest_wrote_last_is_there_when_it_has_finished() {
    let (ends, mut workload, peer) = connected(65_536);
    let sent = pattern(60_000, 4);
    assert_eq!(workload.write(0, &sent).unwrap(), sent.len());
    workload.guest.finish(true);
    assert!(ends.carriers[1].finish(PATIENCE));
    assert_eq!(ends.carriers[0].wait(), None);
    assert_eq!(ends.host.finish(PATIENCE), None);
    let mut got = Vec::new();
    (&peer).read_to_end(&mut got).unwrap();
    assert!(got == sent);
}

#[test]
fn an_end_of_the_other_end_is_no_fault() {
    let (ends, workload, _peer) = connected(RING);
    drop(workload);
    let Ends { carriers, host } = ends;
    let [outer, inner] = carriers;
    drop(inner);
    assert_eq!(outer.wait(), None);
    assert_eq!(host.finish(Duration::ZERO), None);
}

#[test]
fn a_guest_takes_no_block_of_another_protocol_or_of_an_impossible_shape() {
    let hello = |magic: u64, version: u32, slots: u32, ring: u32| {
        let mut bytes = Vec::new();
        for word in [1, 20, 0] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(magic.to_le_bytes());
        for word in [version, slots, ring] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    };
    for first in [
        hello(MAGIC ^ 1, frame::VERSION, 4, RING),
        hello(MAGIC, frame::VERSION + 1, 4, RING),
        hello(MAGIC, frame::VERSION, 0, RING),
        hello(MAGIC, frame::VERSION, 1 << 20, RING),
        hello(MAGIC, frame::VERSION, 4, 5000),
        vec![0xff; frame::HELLO_BYTES],
        vec![1],
    ] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&first).unwrap();
        drop(ours);
        assert!(Carrier::beside_guest(theirs.into()).is_err(), "{first:x?}");
    }
}

const OPENED: Stream<'_> = Stream {
    slot: 1,
    generation: 1,
    state: state::OPEN,
    tail: 0,
    head: 0,
    file: 0,
    error: 0,
    bytes: b"",
};

/// The fault of a guest's carrier that gets these frames of its host after the first.
fn guest_that_gets(frames: &[(u32, Frame<'_>)]) -> Option<String> {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut bytes = Vec::new();
    frame::put(&mut bytes, 0, &Frame::Hello { slots: 4, ring: RING });
    for (number, one) in frames {
        frame::put(&mut bytes, *number, one);
    }
    ours.write_all(&bytes).unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    Carrier::beside_guest(theirs.into()).unwrap().wait()
}

#[test]
fn frames_of_a_hostile_host_end_the_guests_carrier_with_a_reason() {
    let long = pattern(3000, 1);
    let cases: [(&str, &[(u32, Frame<'_>)]); 13] = [
        ("frame 2 in the place of 1", &[(2, Frame::Stream(OPENED))]),
        (
            "frame 1 in the place of 2",
            &[(1, Frame::Stream(OPENED)), (1, Frame::Stream(OPENED))],
        ),
        ("not this end's", &[(1, Frame::Hello { slots: 4, ring: RING })]),
        (
            "not this end's",
            &[(
                1,
                Frame::Report {
                    violation: 0,
                    done: 0,
                    failed: 0,
                },
            )],
        ),
        (
            "slot 4, and there are 4",
            &[(1, Frame::Stream(Stream { slot: 4, ..OPENED }))],
        ),
        (
            "generation 0 out of its order",
            &[(
                1,
                Frame::Stream(Stream {
                    generation: 0,
                    ..OPENED
                }),
            )],
        ),
        (
            "generation 2 out of its order",
            &[(
                1,
                Frame::Stream(Stream {
                    generation: 2,
                    ..OPENED
                }),
            )],
        ),
        (
            "generation 2 out of its order",
            &[
                (1, Frame::Stream(OPENED)),
                (
                    2,
                    Frame::Stream(Stream {
                        generation: 2,
                        ..OPENED
                    }),
                ),
            ],
        ),
        ("another position", &[(1, Frame::Stream(Stream { tail: 1, ..OPENED }))]),
        (
            "more bytes than there is room for",
            &[
                (1, Frame::Stream(Stream { bytes: &long, ..OPENED })),
                (
                    2,
                    Frame::Stream(Stream {
                        tail: 3000,
                        bytes: &long,
                        ..OPENED
                    }),
                ),
            ],
        ),
        (
            "an impossible position",
            &[(1, Frame::Stream(Stream { head: 1, ..OPENED }))],
        ),
        (
            "an impossible position",
            &[(
                1,
                Frame::Stream(Stream {
                    head: u32::MAX,
                    ..OPENED
                }),
            )],
        ),
        (
            "bytes behind the end",
            &[
                (
                    1,
                    Frame::Stream(Stream {
                        state: state::OPEN | state::FIN,
                        ..OPENED
                    }),
                ),
                (2, Frame::Stream(Stream { bytes: b"x", ..OPENED })),
            ],
        ),
    ];
    for (reason, frames) in cases {
        let fault = guest_that_gets(frames);
        assert!(
            fault.as_ref().is_some_and(|why| why.contains(reason)),
            "{reason}: {fault:?}"
        );
    }
    assert_eq!(guest_that_gets(&[(1, Frame::Stream(OPENED)), (2, Frame::End)]), None);
}

#[test]
fn a_hostile_guest_ends_its_hosts_carrier_with_a_reason_and_the_host_half_goes_on() {
    let good = Stream { state: 0, ..OPENED };
    let long = pattern(5000, 1);
    for (reason, bad) in [
        ("generation 9 out of its order", Stream { generation: 9, ..good }),
        ("another position", Stream { tail: 7, ..good }),
        ("more bytes than there is room for", Stream { bytes: &long, ..good }),
        ("an impossible position", Stream { head: 1, ..good }),
    ] {
        let (_peer, inner) = tcp_pair();
        let host = Host::new(1, 2, RING).unwrap();
        host.attach_socket(0, inner.into()).unwrap();
        host.start().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let carrier = beside(&host, ours);
        let mut bytes = Vec::new();
        frame::put(&mut bytes, 0, &Frame::Stream(bad));
        theirs.write_all(&bytes).unwrap();
        let fault = carrier.wait();
        assert!(
            fault.as_ref().is_some_and(|why| why.contains(reason)),
            "{reason}: {fault:?}"
        );
        assert!(
            soon(|| theirs.read(&mut [0; 4096]).is_ok_and(|read| read == 0)),
            "its stream is open"
        );
        assert_eq!(host.finish(Duration::from_secs(5)), None);
    }
}

/// A frame of the other end, mostly near to one that could be.
fn near_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let word = || prop_oneof![4 => 0u32..3, 1 => any::<u32>()];
    let frame = (
        (word(), word(), word(), word(), word()),
        prop::collection::vec(any::<u8>(), 0..600),
        any::<bool>(),
    )
        .prop_map(|((slot, generation, state, tail, head), bytes, cut)| {
            let mut out = Vec::new();
            let stream = Stream {
                slot,
                generation,
                state,
                tail,
                head,
                bytes: &bytes,
                ..OPENED
            };
            frame::put(&mut out, 0, &Frame::Stream(stream));
            if cut && slot > 2 {
                out.truncate(bytes.len());
            }
            out
        });
    prop::collection::vec(frame, 1..12)
}

fn numbered(mut frames: Vec<Vec<u8>>, first: u32) -> Vec<u8> {
    for (number, one) in (first..).zip(&mut frames) {
        if let Some(place) = one.get_mut(8..12) {
            place.copy_from_slice(&number.to_le_bytes());
        }
    }
    frames.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_guest_sends_the_host_half_keeps_its_block(frames in near_frames()) {
        let (mut peer, inner) = tcp_pair();
        peer.set_nonblocking(true).unwrap();
        let host = Host::new(1, 2, RING).unwrap();
        host.attach_socket(0, inner.into()).unwrap();
        host.start().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let carrier = beside(&host, ours);
        let _ = peer.write(&pattern(900, 1));
        let _ = theirs.write_all(&numbered(frames, 0));
        theirs.shutdown(Shutdown::Write).unwrap();
        carrier.wait();
        drop(carrier);
        let begun = Instant::now();
        prop_assert_eq!(host.finish(Duration::from_millis(20)), None, "what the carrier passed on broke the half");
        prop_assert!(begun.elapsed() < PATIENCE);
    }

    #[test]
    fn whatever_a_host_sends_the_guest_half_goes_on(frames in near_frames()) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut bytes = Vec::new();
        frame::put(&mut bytes, 0, &Frame::Hello { slots: 4, ring: RING });
        bytes.extend(numbered(frames, 1));
        ours.write_all(&bytes).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let carrier = Carrier::beside_guest(theirs.into()).unwrap();
        carrier.wait();
        let mut guest = guest_of(&carrier);
        guest.add_file(FileKind::Listen(None)).unwrap();
        guest.open_for_business();
        let mut workload = workload(guest);
        workload.set_nonblocking(0);
        workload.poll(&[1000], &[(0, 1)]);
        if let Ok(fd) = workload.accept(0) {
            let _ = workload.receive(fd, 5000, 1);
            let _ = workload.write(fd, &pattern(700, 5));
        }
    }
}

#[test]
fn an_order_to_finish_that_comes_with_news_is_not_missed() {
    let mut hello = Vec::new();
    frame::put(&mut hello, 0, &Frame::Hello { slots: 4, ring: RING });
    for _ in 0..2000 {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&hello).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let carrier = Carrier::beside_guest(theirs.into()).unwrap();
        assert!(carrier.finish(PATIENCE));
    }
}

/// A Keep whose carrier is in its own process, with a stream each way that is no socket.
fn carried_within(host: Host, kind: FileKind) -> (Ends, Workload) {
    host.start().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let outer = beside(&host, ours);
    let (from_host, to_keep) = rustix::pipe::pipe().unwrap();
    let (from_keep, to_host) = rustix::pipe::pipe().unwrap();
    let socket = std::fs::File::from(OwnedFd::from(theirs));
    pass_on(socket.try_clone().unwrap(), to_keep.into());
    pass_on(from_keep.into(), socket);
    let inner = Carrier::within(from_host, to_host).unwrap();
    let (block, bell) = inner.inside();
    if matches!(kind, FileKind::ConnectTcp) {
        let is_open = || block.peek(1, word::HOST_GENERATION).value() == 1;
        assert!(soon(is_open), "the entry is not open");
    }
    let mut guest = Guest::new(Port::new(block, bell)).unwrap();
    guest.add_file(kind).unwrap();
    guest.open_for_business();
    let carriers = [outer, inner];
    (Ends { carriers, host }, workload(guest))
}

fn pass_on(mut from: std::fs::File, mut to: std::fs::File) {
    std::thread::spawn(move || {
        let mut bytes = [0; 5000];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            to.write_all(&bytes[..read]).unwrap();
        }
    });
}

#[test]
fn a_keep_that_has_its_carrier_inside_gets_all_bytes_and_every_wake_up() {
    let (peer, inner) = tcp_pair();
    let host = Host::new(1, 0, RING).unwrap();
    host.attach_socket(0, inner.into()).unwrap();
    let (ends, mut workload) = carried_within(host, FileKind::ConnectTcp);
    assert_eq!(ends.carriers[1].block_fd().or(ends.carriers[1].doorbell_fd()), None);
    let sent = pattern(200_000, 5);
    let client = exchange(peer, sent.clone());
    loop {
        let bytes = workload.read(0, 700).unwrap();
        if bytes.is_empty() {
            break;
        }
        assert_eq!(workload.write(0, &bytes).unwrap(), bytes.len());
    }
    workload.close(0);
    workload.guest.port.tell_host();
    assert!(client.join().unwrap() == sent);
    assert!(ends.carriers[1].finish(PATIENCE), "the last words were not taken");
}
