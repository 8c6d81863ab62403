//! Connections that a workload makes while it runs, against honest hosts and lying ones.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::authority::{Authority, answer_as};
use common::{PATIENCE, Workload, guest_of, soon, tcp_pair, workload};
use rustix::io::Errno as HostErrno;
use sallyport::errno::Errno;
use sallyport::guest::{ConnectTls, Trust};
use sallyport::host::Host;
use sallyport::shared::duplicate;

const PACKAGE: &str = "spiffe://td.test/package/sha256/aa";
/// The only descriptor: the directory of granted names.
const NETWORK: u32 = 0;
const PATH: usize = 100_000;
const OPENED: usize = 64;

/// A Keep with grants, and a host that answers each request by `connect`, which gets the number of the grant.
fn keep(
    outbound: u32,
    grants: Vec<(&str, Option<ConnectTls>)>,
    connect: impl Fn(u32) -> Result<TcpStream, HostErrno> + Send + 'static,
) -> (Arc<Host>, Workload, Arc<AtomicUsize>) {
    let host = Arc::new(Host::with_outbound(0, 0, outbound, 4096).unwrap());
    host.start().unwrap();
    let mut guest = guest_of(&host);
    assert_eq!(guest.open_network(outbound as usize), Ok(NETWORK));
    for (name, tls) in grants {
        guest.grant(name.to_owned(), tls).unwrap();
    }
    guest.open_for_business();
    let asked = Arc::new(AtomicUsize::new(0));
    let (half, count) = (host.clone(), asked.clone());
    let mut control = UnixStream::from(duplicate(host.control_fd()).unwrap());
    std::thread::spawn(move || {
        let mut length = [0; 4];
        while control.read_exact(&mut length).is_ok() {
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            control.read_exact(&mut message).unwrap();
            let message = String::from_utf8(message).unwrap();
            let grant = message.strip_prefix(r#"{"type":"connect","grant":"#).unwrap();
            let grant = grant.strip_suffix('}').unwrap().parse().unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            half.answer(grant, connect(grant).map(Into::into));
        }
    });
    (host, workload(guest), asked)
}

fn open_with(workload: &mut Workload, name: &str, oflags: u64, fdflags: u64) -> Result<u32, Errno> {
    workload.memory[PATH..PATH + name.len()].copy_from_slice(name.as_bytes());
    let (path, len) = (PATH as u64, name.len() as u64);
    let all = u64::MAX;
    workload.call(
        "path_open",
        &[NETWORK.into(), 0, path, len, oflags, all, all, fdflags, OPENED as u64],
    )?;
    Ok(workload.word(OPENED as u32))
}

fn open(workload: &mut Workload, name: &str) -> Result<u32, Errno> {
    open_with(workload, name, 0, 0)
}

fn to(listener: &TcpListener) -> Result<TcpStream, HostErrno> {
    Ok(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
}

fn by_tls(authority: &Authority, server_name: &str, peers: &[&str]) -> Option<ConnectTls> {
    Some(ConnectTls {
        server_name: server_name.into(),
        trust: Trust {
            roots: vec![authority.root.der().to_vec()],
            peers: peers.iter().map(|&peer| peer.to_owned()).collect(),
            ..Trust::default()
        },
        alpn: Vec::new(),
        timeout: PATIENCE,
    })
}

#[test]
fn a_granted_name_is_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let served = listener.try_clone().unwrap();
    let (_host, mut workload, _) = keep(2, vec![("a.test:7", None)], move |_| to(&served));
    for name in ["a.test:7", "A.Test:7"] {
        let fd = open(&mut workload, name).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        workload.write(fd, b"question").unwrap();
        let mut got = [0; 8];
        peer.read_exact(&mut got).unwrap();
        peer.write_all(b"answer").unwrap();
        assert_eq!(
            (&got, workload.receive(fd, 6, 2).unwrap()),
            (b"question", b"answer".to_vec())
        );
        workload.call("sock_shutdown", &[fd.into(), 2]).unwrap();
        assert_eq!(peer.read(&mut got).unwrap(), 0);
        workload.close(fd);
    }
}

#[test]
fn what_is_not_granted_is_refused_and_the_host_is_not_asked() {
    let (_host, mut workload, asked) = keep(2, vec![("a.test:7", None)], |_| Err(HostErrno::IO));
    for name in [
        "b.test:7",
        "a.test:70",
        "a.test",
        "a.test:7/",
        "x.a.test:7",
        " a.test:7",
        "a.test:7\0",
        "tcp://a.test:7",
        "..",
        "../etc/passwd",
        "a.test:7\n[network]\u{1b}[31m",
    ] {
        assert_eq!(open(&mut workload, name), Err(Errno::ACCES), "{name:?}");
    }
    assert_eq!(open(&mut workload, "."), Err(Errno::NOTSUP));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // It is asked for what is granted.
    assert_eq!(open(&mut workload, "a.test:7"), Err(Errno::IO));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn flags_mean_what_they_mean_for_a_device() {
    let (peer, other) = tcp_pair();
    let (_host, mut workload, asked) = keep(2, vec![("a.test:7", None)], move |_| Ok(other.try_clone().unwrap()));
    let (create, directory, exclusive, truncate, nonblock) = (1, 2, 4, 8, 4);
    assert_eq!(
        open_with(&mut workload, "a.test:7", create | exclusive, 0),
        Err(Errno::EXIST)
    );
    assert_eq!(open_with(&mut workload, "a.test:7", directory, 0), Err(Errno::NOTDIR));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let fd = open_with(&mut workload, "a.test:7", create | truncate, nonblock).unwrap();
    assert_eq!(workload.read(fd, 1), Err(Errno::AGAIN));
    drop(peer);
}

#[test]
fn a_host_that_cannot_connect_says_why() {
    for (fault, errno) in [
        (HostErrno::CONNREFUSED, Errno::CONNREFUSED),
        (HostErrno::TIMEDOUT, Errno::TIMEDOUT),
        (HostErrno::HOSTUNREACH, Errno::HOSTUNREACH),
        (HostErrno::XDEV, Errno::IO),
    ] {
        let (_host, mut workload, _) = keep(1, vec![("a.test:7", None)], move |_| Err(fault));
        for _ in 0..3 {
            assert_eq!(open(&mut workload, "a.test:7"), Err(errno));
        }
    }
}

#[test]
fn a_host_that_connects_elsewhere_is_found_out_by_tls() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (who, name, package, peers, served) in [
        (&authority, "a.test", PACKAGE, &[][..], true),
        (&authority, "a.test", PACKAGE, &[PACKAGE], true),
        (&authority, "b.test", PACKAGE, &[], false),
        (
            &authority,
            "a.test",
            "spiffe://td.test/package/sha256/ab",
            &[PACKAGE],
            false,
        ),
        (&stranger, "a.test", PACKAGE, &[], false),
    ] {
        let (listener, thread) = answer_as(who, name, package, &[]);
        let (_host, mut workload, _) = keep(1, vec![("a.test:7", by_tls(&authority, "a.test", peers))], move |_| {
            to(&listener)
        });
        match open(&mut workload, "a.test:7") {
            Ok(fd) => {
                assert!(served, "{name} {package}");
                assert_eq!(workload.receive(fd, 5, 2).unwrap(), b"hello");
                workload.close(fd);
            }
            Err(fault) => assert_eq!((fault, served), (Errno::PROTO, false), "{name} {package}"),
        }
        thread.join().unwrap();
    }
}

#[test]
fn a_grant_is_answered_with_a_connection_of_that_grant() {
    let authority = Authority::new();
    let (listener, thread) = answer_as(&authority, "b.test", PACKAGE, &[]);
    let grants = vec![
        ("a.test:7", by_tls(&authority, "a.test", &[])),
        ("b.test:7", by_tls(&authority, "b.test", &[])),
    ];
    // Whatever was asked for, it is the server of the second grant that answers.
    let (_host, mut workload, _) = keep(2, grants, move |_| to(&listener));
    assert_eq!(open(&mut workload, "a.test:7"), Err(Errno::PROTO));
    thread.join().unwrap();
}

#[test]
fn connections_are_limited_and_closed_ones_make_room() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let served = listener.try_clone().unwrap();
    let (_host, mut workload, asked) = keep(2, vec![("a.test:7", None)], move |_| to(&served));
    for _ in 0..20 {
        let one = open(&mut workload, "a.test:7").unwrap();
        let other = open(&mut workload, "a.test:7").unwrap();
        let before = asked.load(Ordering::SeqCst);
        assert_eq!(open(&mut workload, "a.test:7"), Err(Errno::NFILE));
        assert_eq!(asked.load(Ordering::SeqCst), before);
        workload.close(one);
        workload.close(other);
        drop((listener.accept().unwrap(), listener.accept().unwrap()));
    }
}

/// Whether the guest has let a connection go, when it has looked for its host's news once more.
fn is_closed(workload: &mut Workload, peer: &mut TcpStream) -> bool {
    workload.poll(&[20_000_000], &[]);
    peer.set_nonblocking(true).unwrap();
    peer.read(&mut [0; 1]).is_ok_and(|read| read == 0)
}

#[test]
fn a_connection_that_nobody_asked_for_is_given_back() {
    let (mut peer, other) = tcp_pair();
    let (host, mut workload, _) = keep(1, vec![("a.test:7", None)], |_| Err(HostErrno::CONNREFUSED));
    host.answer(0, Ok(other.into()));
    assert!(soon(|| is_closed(&mut workload, &mut peer)));
    let (mut peer, other) = tcp_pair();
    host.answer(4_000_000_000, Ok(other.into()));
    assert!(soon(|| is_closed(&mut workload, &mut peer)));
    assert_eq!(open(&mut workload, "a.test:7"), Err(Errno::CONNREFUSED));
}

#[test]
fn answers_that_find_no_slot_wait_for_one() {
    let (host, mut workload, _) = keep(1, vec![("a.test:7", None)], |_| Err(HostErrno::IO));
    let waiting = || host.counters().waiting.load(Ordering::SeqCst);
    let pairs: Vec<_> = (0..3).map(|_| tcp_pair()).collect();
    let mut peers = Vec::new();
    for (peer, other) in pairs {
        host.answer(0, Ok(other.into()));
        peers.push(peer);
    }
    assert!(soon(|| waiting() == 2));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(waiting(), 2);
    assert!(soon(|| {
        workload.poll(&[30_000_000], &[]);
        waiting() == 0
    }));
}

#[test]
fn the_directory_is_a_preopened_one_and_its_names_are_sockets() {
    let (_host, mut workload, _) = keep(1, vec![("a.test:7", None)], |_| Err(HostErrno::IO));
    workload.call("fd_prestat_get", &[NETWORK.into(), 64]).unwrap();
    assert_eq!((workload.word(64), workload.word(68)), (0, 8));
    workload.call("fd_prestat_dir_name", &[NETWORK.into(), 128, 8]).unwrap();
    assert_eq!(&workload.memory[128..136], b"/net/con");
    workload.call("fd_fdstat_get", &[NETWORK.into(), 64]).unwrap();
    assert_eq!(workload.memory[64], 3);
    assert_eq!(workload.read(NETWORK, 1), Err(Errno::ISDIR));
    for (name, answer) in [("a.test:7", Ok(())), ("b.test:7", Err(Errno::ACCES))] {
        workload.memory[PATH..PATH + 8].copy_from_slice(name.as_bytes());
        let args = [NETWORK.into(), 0, PATH as u64, 8, 256];
        assert_eq!(workload.call("path_filestat_get", &args), answer, "{name}");
    }
    assert_eq!(workload.memory[256 + 16], 6);
    workload.close(NETWORK);
    assert_eq!(open(&mut workload, "a.test:7"), Err(Errno::BADF));
}
