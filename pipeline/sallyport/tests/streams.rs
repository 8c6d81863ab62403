//! Byte streams through both halves, as a workload and its peer see them.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{PATIENCE, connected, exchange, listening, pattern, soon};
use proptest::prelude::*;
use sallyport::errno::Errno;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_sent_comes_back_whatever_the_sizes(
        total in 0usize..300_000, chunk in 1usize..70_000, seed in any::<u32>()
    ) {
        let (_host, mut workload, peer) = connected(4096);
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
fn a_loop_over_non_blocking_calls_that_never_waits_gets_all_bytes_both_ways() {
    let (_host, mut workload, peer) = connected(4096);
    let sent = pattern(400_000, 7);
    let client = exchange(peer, sent.clone());
    workload.set_nonblocking(0);
    let until = Instant::now() + PATIENCE;
    let mut echoed = 0;
    let mut pending = Vec::new();
    let mut ended = false;
    while !(ended && pending.is_empty()) {
        assert!(Instant::now() < until, "stuck after {echoed} bytes");
        if pending.is_empty() {
            match workload.read(0, 10_000) {
                Ok(bytes) => (ended, pending) = (bytes.is_empty(), bytes),
                Err(fault) => assert_eq!(fault, Errno::AGAIN),
            }
        } else {
            match workload.write(0, &pending) {
                Ok(written) => {
                    echoed += written;
                    pending.drain(..written);
                }
                Err(fault) => assert_eq!(fault, Errno::AGAIN),
            }
        }
    }
    workload.close(0);
    assert!(client.join().unwrap() == sent);
}

#[test]
fn a_peer_that_reads_nothing_holds_up_a_blocking_write_until_it_reads() {
    let (_host, mut workload, mut peer) = connected(4096);
    let sent = pattern(3_000_000, 3);
    let expected = sent.clone();
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(workload.write(0, &sent).unwrap(), sent.len());
    workload.close(0);
    assert!(reader.join().unwrap() == expected);
}

#[test]
fn after_half_close_the_other_direction_goes_on() {
    let (_host, mut workload, mut peer) = connected(4096);
    workload.call("sock_shutdown", &[0, 2]).unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    peer.write_all(b"still here").unwrap();
    assert_eq!(workload.read(0, 100).unwrap(), b"still here");
    assert_eq!(workload.write(0, b"x"), Err(Errno::PIPE));
}

#[test]
fn a_reset_is_told_to_reader_and_writer() {
    let (_host, mut workload, peer) = connected(4096);
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(workload.read(0, 100), Err(Errno::CONNRESET));
    assert!(workload.write(0, b"x").is_err());
}

#[test]
fn recv_peeks_and_waits_for_all() {
    let (_host, mut workload, mut peer) = connected(4096);
    peer.write_all(b"abc").unwrap();
    assert_eq!(workload.receive(0, 100, 1).unwrap(), b"abc");
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        peer.write_all(b"def").unwrap();
        peer
    });
    assert_eq!(workload.receive(0, 6, 2).unwrap(), b"abcdef");
    workload.call("sock_shutdown", &[0, 1]).unwrap();
    assert_eq!(
        workload.receive(0, 6, 1).unwrap(),
        b"",
        "after a shutdown there is nothing to peek at"
    );
    drop(sender.join().unwrap());
}

#[test]
fn poll_answers_each_subscription_that_is_due() {
    let (_host, mut workload, mut peer) = connected(4096);
    assert_eq!(workload.poll(&[], &[(0, 2)])[0].0, 0);
    let due = workload.poll(&[3_600_000_000_000, 1_000_000], &[(0, 1)]);
    assert_eq!(due.iter().map(|event| event.0).collect::<Vec<_>>(), [1]);
    peer.write_all(b"12345").unwrap();
    let due = workload.poll(&[], &[(0, 1), (0, 1), (99, 1)]);
    assert!(due.iter().any(|event| (event.0, event.1) == (2, Errno::BADF.0)));
    let due = workload.poll(&[], &[(0, 1), (0, 1)]);
    assert_eq!(
        due.iter().map(|event| (event.0, event.3)).collect::<Vec<_>>(),
        [(0, 5), (1, 5)]
    );
}

#[test]
fn slots_are_used_again_over_thousands_of_connections() {
    let (host, mut workload, listener) = listening(4, 4096);
    let address = listener.local_addr().unwrap();
    let clients = std::thread::spawn(move || {
        for number in 0..3000u32 {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.write_all(&number.to_le_bytes()).unwrap();
            let mut answer = [0; 4];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(u32::from_le_bytes(answer), number);
        }
    });
    for _ in 0..3000 {
        let fd = workload.accept(0).unwrap();
        let bytes = workload.receive(fd, 4, 2).unwrap();
        workload.write(fd, &bytes).unwrap();
        workload.close(fd);
    }
    clients.join().unwrap();
    assert!(soon(
        || host.counters().open.load(std::sync::atomic::Ordering::Relaxed) == 0
    ));
}

#[test]
fn more_connections_than_slots_wait_their_turn() {
    let (_host, mut workload, listener) = listening(2, 4096);
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..10u8)
        .map(|number| {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.write_all(&[number]).unwrap();
            peer
        })
        .collect();
    for _ in 0..10 {
        let fd = workload.accept(0).unwrap();
        let byte = workload.read(fd, 1).unwrap();
        workload.write(fd, &byte).unwrap();
        workload.close(fd);
    }
    for (number, mut peer) in clients.into_iter().enumerate() {
        let mut answer = [0];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0] as usize, number);
    }
}

#[test]
fn a_listener_that_is_open_elsewhere_too_is_stopped() {
    let (host, _workload, listener) = listening(2, 4096);
    host.stop_accepting();
    std::thread::sleep(Duration::from_millis(50));
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    peer.shutdown(Shutdown::Both).unwrap();
    assert_eq!(host.finish(Duration::from_secs(1)), None);
}

#[test]
fn the_lowest_free_descriptor_is_given_whatever_was_moved_or_closed() {
    let (_host, mut workload, listener) = listening(4, 4096);
    let address = listener.local_addr().unwrap();
    let _peers: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!([(); 3].map(|()| workload.accept(0).unwrap()), [1, 2, 3]);
    workload.call("fd_renumber", &[1, 3]).unwrap();
    workload.call("fd_renumber", &[3, 3]).unwrap();
    assert_eq!(workload.call("fd_renumber", &[1, 3]), Err(Errno::BADF));
    assert_eq!(workload.call("fd_renumber", &[3, 1]), Err(Errno::BADF));
    assert_eq!(workload.accept(0).unwrap(), 1);
}
