//! TLS that ends inside the guest half, against a rustls client over real sockets.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::authority::{Authority, PublicKey, answer_as};
use common::{PATIENCE, Workload, guest_of, pattern, soon, workload};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use sallyport::errno::Errno;
use sallyport::guest::{ClientAuth, ConnectTls, FileKind, ListenTls, Trust};
use sallyport::host::Host;
use sallyport::shared::duplicate;

type Client = StreamOwned<ClientConnection, TcpStream>;

struct Server {
    _host: Host,
    workload: Workload,
    listener: TcpListener,
    authority: Authority,
    trust: Arc<ClientConfig>,
}

/// A Keep with a TLS listener as entry 0. Its certificate holds `evidence` bytes of evidence.
fn server(connections: u32, ring: u32, handshake: Duration, evidence: usize) -> Server {
    server_that(connections, ring, evidence, |_| listen(handshake))
}

fn listen(timeout: Duration) -> ListenTls {
    ListenTls {
        client_auth: ClientAuth::None,
        trust: Trust::default(),
        alpn: Vec::new(),
        timeout,
    }
}

/// The same, with TLS options that may depend on the authority.
fn server_that(connections: u32, ring: u32, evidence: usize, how: impl FnOnce(&Authority) -> ListenTls) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::new(1, connections, ring).unwrap();
    host.attach_listener(0, duplicate(listener.as_raw_fd()).unwrap())
        .unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    let authority = Authority::new();
    let key = PublicKey(guest.credentials().generate().unwrap());
    let chain = vec![authority.certify_with_evidence(&key, "keep.test", "spiffe://td.test/keep", evidence)];
    guest.credentials().install(chain, authority.root.der()).unwrap();
    guest.add_file(FileKind::Listen(Some(how(&authority)))).unwrap();
    guest.open_for_business();
    Server {
        _host: host,
        workload: workload(guest),
        listener,
        trust: Arc::new(authority.client(None)),
        authority,
    }
}

impl Server {
    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn client<T: Send + 'static>(&self, talk: impl FnOnce(Client) -> T + Send + 'static) -> JoinHandle<T> {
        let (socket, trust) = (self.socket(), self.trust.clone());
        std::thread::spawn(move || {
            let name = ServerName::try_from("keep.test").unwrap();
            talk(StreamOwned::new(ClientConnection::new(trust, name).unwrap(), socket))
        })
    }
}

fn ask(mut client: Client) -> Vec<u8> {
    client.write_all(b"question").unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    answer.to_vec()
}

#[test]
fn a_certificate_with_evidence_that_is_longer_than_the_ring_gets_through() {
    let mut server = server(2, 4096, PATIENCE, 20_000);
    let begun = Instant::now();
    let client = server.client(ask);
    let fd = server.workload.accept(0).unwrap();
    assert_eq!(server.workload.receive(fd, 8, 2).unwrap(), b"question");
    server.workload.write(fd, b"answer").unwrap();
    assert_eq!(client.join().unwrap(), b"answer");
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[test]
fn bulk_goes_both_ways_through_small_rings() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let sent = pattern(400_000, 11);
    let expected = sent.clone();
    let client = server.client(move |mut client| {
        let mut got = vec![0; sent.len()];
        for (part, place) in sent.chunks(3333).zip(got.chunks_mut(3333)) {
            client.write_all(part).unwrap();
            client.read_exact(place).unwrap();
        }
        client.conn.send_close_notify();
        client.flush().unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("the Keep says its end too");
        got.extend(rest);
        got
    });
    let fd = server.workload.accept(0).unwrap();
    loop {
        let bytes = server.workload.read(fd, 9000).unwrap();
        if bytes.is_empty() {
            break;
        }
        assert_eq!(server.workload.write(fd, &bytes).unwrap(), bytes.len());
    }
    server.workload.close(fd);
    assert!(client.join().unwrap() == expected);
}

/// Clients that begin no handshake, or one that they do not go on with.
fn silent(server: &Server) -> Vec<TcpStream> {
    let mut silent: Vec<_> = (0..6).map(|_| server.socket()).collect();
    silent[0].write_all(&[22, 3, 1]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    silent
}

#[test]
fn clients_that_say_nothing_delay_nobody() {
    let mut server = server(8, 4096, 10 * PATIENCE, 0);
    let _silent = silent(&server);
    let client = server.client(ask);
    let fd = server.workload.accept(0).unwrap();
    server.workload.receive(fd, 8, 2).unwrap();
    server.workload.write(fd, b"answer").unwrap();
    assert_eq!(client.join().unwrap(), b"answer");
}

#[test]
fn clients_that_say_nothing_are_turned_away() {
    let mut server = server(8, 4096, Duration::from_millis(300), 0);
    for mut socket in silent(&server) {
        socket.set_nonblocking(true).unwrap();
        assert!(soon(|| {
            server.workload.poll(&[20_000_000], &[]);
            socket.read(&mut [0; 100]).is_ok_and(|read| read == 0)
        }));
    }
}

#[test]
fn a_client_that_speaks_no_tls_hears_an_alert() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let mut socket = server.socket();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut heard = [0; 7];
    assert!(soon(|| {
        server.workload.poll(&[20_000_000], &[]);
        socket.read(&mut heard).is_ok()
    }));
    assert_eq!(heard[0], 21);
}

#[test]
fn an_end_without_close_notify_is_a_fault_and_not_the_end() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let client = server.client(|mut client| {
        client.write_all(b"part").unwrap();
        client.sock.shutdown(Shutdown::Write).unwrap();
        client
    });
    let fd = server.workload.accept(0).unwrap();
    assert_eq!(server.workload.receive(fd, 4, 2).unwrap(), b"part");
    assert_eq!(server.workload.read(fd, 10), Err(Errno::CONNRESET));
    drop(client.join().unwrap());
}

#[test]
fn after_the_workload_has_shut_its_side_it_still_reads() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let client = server.client(|mut client| {
        client.write_all(b"1").unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        client.write_all(b"more").unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        got
    });
    let fd = server.workload.accept(0).unwrap();
    server.workload.read(fd, 1).unwrap();
    server.workload.write(fd, b"last").unwrap();
    server.workload.call("sock_shutdown", &[fd.into(), 2]).unwrap();
    assert_eq!(server.workload.receive(fd, 4, 2).unwrap(), b"more");
    assert_eq!(server.workload.read(fd, 4).unwrap(), b"");
    assert_eq!(client.join().unwrap(), b"last");
}

#[test]
fn keys_change_under_way() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let client = server.client(|mut client| {
        client.write_all(b"old").unwrap();
        client.conn.refresh_traffic_keys().unwrap();
        client.write_all(b"new").unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        answer
    });
    let fd = server.workload.accept(0).unwrap();
    assert_eq!(server.workload.receive(fd, 6, 2).unwrap(), b"oldnew");
    server.workload.write(fd, b"answer").unwrap();
    assert_eq!(&client.join().unwrap(), b"answer");
}

#[test]
fn a_client_of_another_root_is_not_served() {
    let mut one = server(2, 4096, PATIENCE, 0);
    let other = server(2, 4096, PATIENCE, 0);
    one.trust = other.trust.clone();
    let client = one.client(|mut client| client.write_all(b"x").unwrap_err().kind());
    while !client.is_finished() {
        one.workload.poll(&[20_000_000], &[]);
    }
    assert_eq!(client.join().unwrap(), ErrorKind::InvalidData);
}

const PEEK: u64 = 1;
const WAITALL: u64 = 2;

#[test]
fn bytes_that_are_peeked_at_stay() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let sent = pattern(30_000, 3);
    let expected = sent.clone();
    let (told, said) = std::sync::mpsc::channel();
    let client = server.client(move |mut client| {
        client.write_all(&sent[..5]).unwrap();
        client.flush().unwrap();
        said.recv().unwrap();
        client.write_all(&sent[5..]).unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        client
    });
    let fd = server.workload.accept(0).unwrap();
    assert_eq!(server.workload.receive(fd, 100, PEEK).unwrap(), expected[..5]);
    assert_eq!(server.workload.receive(fd, 3, PEEK).unwrap(), expected[..3]);
    let readable = server.workload.poll(&[], &[(fd, 1)]);
    assert_eq!((readable[0].1, readable[0].3), (0, 5));
    told.send(()).unwrap();
    assert_eq!(
        server.workload.receive(fd, 20_000, PEEK | WAITALL).unwrap(),
        expected[..20_000]
    );
    assert_eq!(server.workload.read(fd, 2).unwrap(), expected[..2]);
    assert_eq!(
        server.workload.receive(fd, 25_000, WAITALL).unwrap(),
        expected[2..25_002]
    );
    // More than there will ever be: the end is waited for, and what came is there.
    assert_eq!(
        server.workload.receive(fd, 50_000, PEEK | WAITALL).unwrap(),
        expected[25_002..]
    );
    assert_eq!(
        server.workload.receive(fd, 50_000, WAITALL).unwrap(),
        expected[25_002..]
    );
    assert_eq!(server.workload.receive(fd, 9, PEEK).unwrap(), b"");
    drop(client.join().unwrap());
}

#[test]
fn peeking_at_nothing_does_not_wait_where_it_must_not() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let client = server.client(|mut client| {
        client.write_all(b"ab").unwrap();
        client
    });
    let fd = server.workload.accept(0).unwrap();
    assert_eq!(server.workload.read(fd, 2).unwrap(), b"ab");
    server.workload.set_nonblocking(fd);
    assert_eq!(server.workload.receive(fd, 9, PEEK), Err(Errno::AGAIN));
    assert_eq!(server.workload.receive(fd, 9, PEEK | WAITALL), Err(Errno::AGAIN));
    drop(client.join().unwrap());
}

#[test]
fn after_the_peer_has_closed_its_side_the_workload_still_writes() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let client = server.client(|mut client| {
        client.write_all(b"last").unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got
    });
    let fd = server.workload.accept(0).unwrap();
    assert_eq!(server.workload.receive(fd, 4, WAITALL).unwrap(), b"last");
    assert_eq!(server.workload.read(fd, 1).unwrap(), b"");
    let bytes = pattern(50_000, 4);
    server.workload.write(fd, &bytes).unwrap();
    server.workload.close(fd);
    assert!(client.join().unwrap() == bytes);
}

const ALLOWED: &str = "spiffe://td.test/package/sha256/aa";
const OTHER: &str = "spiffe://td.test/package/sha256/ab";

fn asks_for(auth: ClientAuth, peers: &[&str]) -> impl FnOnce(&Authority) -> ListenTls {
    let peers = peers.iter().map(|&peer| peer.to_owned()).collect();
    move |authority| ListenTls {
        client_auth: auth,
        trust: Trust {
            roots: vec![authority.root.der().to_vec()],
            peers,
            ..Trust::default()
        },
        ..listen(PATIENCE)
    }
}

/// Whether a client with this trust and certificate is served: in TLS 1.3 it hears of a refusal when it reads.
fn is_served(server: &mut Server, config: ClientConfig) -> bool {
    server.trust = Arc::new(config);
    let client = server.client(|mut client| {
        let asked = client.write_all(b"?").and_then(|()| client.read_exact(&mut [0; 1]));
        asked.is_ok()
    });
    while !client.is_finished() {
        server.workload.poll(&[20_000_000], &[(0, 1)]);
        server.workload.set_nonblocking(0);
        if let Ok(fd) = server.workload.accept(0) {
            server.workload.write(fd, b"!").unwrap();
            server.workload.close(fd);
        }
    }
    client.join().unwrap()
}

#[test]
fn only_clients_with_a_name_that_is_listed_are_served() {
    for (allowed, package) in [(ALLOWED, ALLOWED), ("CLIENT.test", OTHER)] {
        let mut server = server_that(
            2,
            4096,
            0,
            asks_for(ClientAuth::Require, &["spiffe://td.test/x", allowed]),
        );
        let (good, stranger) = (server.authority.client(Some(package)), Authority::new());
        assert!(is_served(&mut server, good), "{allowed}");
        // The right name under another root.
        let mut config = server.authority.client(None);
        config.client_auth_cert_resolver = stranger.client(Some(package)).client_auth_cert_resolver;
        assert!(!is_served(&mut server, config), "{allowed} under another root");
    }
    let mut server = server_that(2, 4096, 0, asks_for(ClientAuth::Require, &[ALLOWED]));
    for (package, served) in [(Some(ALLOWED), true), (Some(OTHER), false), (None, false)] {
        let config = server.authority.client(package);
        assert_eq!(is_served(&mut server, config), served, "{package:?}");
    }
}

#[test]
fn a_name_counts_only_whole_and_in_its_own_kind() {
    for peer in [
        "spiffe://td.test/package/sha256/a",
        "spiffe://td.test/package/sha256/AA",
        "spiffe://td.test",
        "client",
        "test",
        "*.test",
    ] {
        let mut server = server_that(2, 4096, 0, asks_for(ClientAuth::Require, &[peer]));
        let config = server.authority.client(Some(ALLOWED));
        assert!(!is_served(&mut server, config), "{peer}");
    }
}

#[test]
fn a_certificate_that_is_requested_may_be_left_out_but_not_be_bad() {
    let mut server = server_that(2, 4096, 0, asks_for(ClientAuth::Request, &[ALLOWED]));
    for (package, served) in [(None, true), (Some(ALLOWED), true), (Some(OTHER), false)] {
        let config = server.authority.client(package);
        assert_eq!(is_served(&mut server, config), served, "{package:?}");
    }
}

#[test]
fn a_clients_certificate_must_be_of_its_time_and_for_clients() {
    type Change = fn(&mut CertificateParams);
    let changes: [(&str, Change, bool); 6] = [
        ("nothing", |_| (), true),
        ("it has ended", |leaf| leaf.not_after = date_time_ymd(2020, 1, 1), false),
        (
            "it has not begun",
            |leaf| leaf.not_before = date_time_ymd(2090, 1, 1),
            false,
        ),
        (
            "it is for servers",
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            false,
        ),
        (
            "it is for code",
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
            false,
        ),
        (
            "it says that it may certify",
            |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            false,
        ),
    ];
    for (what, change, served) in changes {
        let mut server = server_that(2, 4096, 0, asks_for(ClientAuth::Require, &[ALLOWED]));
        let key = KeyPair::generate().unwrap();
        let certificate = server.authority.certify_client(&key, ALLOWED, change);
        let config = server.authority.client_with(Some((certificate, key)));
        assert_eq!(is_served(&mut server, config), served, "{what}");
    }
}

#[test]
fn asking_for_certificates_without_roots_is_refused_at_the_start() {
    let (host, _workload, _listener) = common::listening(1, 4096);
    let mut guest = guest_of(&host);
    let how = ListenTls {
        client_auth: ClientAuth::Require,
        ..listen(PATIENCE)
    };
    assert!(guest.add_file(FileKind::Listen(Some(how))).is_err());
}

#[test]
fn the_first_protocol_in_common_is_spoken_and_none_in_common_is_refused() {
    let speaks = |_: &Authority| ListenTls {
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..listen(PATIENCE)
    };
    let mut server = server_that(2, 4096, 0, speaks);
    for (offered, served) in [
        (vec![], true),
        (vec!["http/1.1"], true),
        (vec!["http/1.1", "h2"], true),
        (vec!["spdy/3"], false),
    ] {
        let mut config = server.authority.client(None);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        assert_eq!(is_served(&mut server, config), served, "{offered:?}");
    }
}

#[test]
fn a_new_certificate_counts_from_the_next_handshake_and_connections_stay_up() {
    let mut server = server(4, 4096, PATIENCE, 0);
    let leaf = |client: &Client| client.conn.peer_certificates().unwrap()[0].to_vec();
    let mut clients = Vec::new();
    let mut leaves = Vec::new();
    for round in 0..3u8 {
        let (told, said) = std::sync::mpsc::channel::<()>();
        let client = server.client(move |mut client| {
            client.write_all(b"a").unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
            let shown = leaf(&client);
            said.recv().unwrap();
            client.write_all(b"b").unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
            shown
        });
        let fd = server.workload.accept(0).unwrap();
        assert_eq!(server.workload.read(fd, 1).unwrap(), b"a");
        server.workload.write(fd, b"A").unwrap();
        clients.push((fd, told, client));

        let credentials = server.workload.guest.credentials();
        let key = PublicKey(credentials.generate().unwrap());
        let chain = vec![
            server
                .authority
                .certify(&key, "keep.test", &format!("spiffe://td.test/{round}")),
        ];
        credentials.install(chain, server.authority.root.der()).unwrap();
    }
    for (fd, told, client) in clients {
        told.send(()).unwrap();
        assert_eq!(server.workload.read(fd, 1).unwrap(), b"b");
        server.workload.write(fd, b"B").unwrap();
        leaves.push(client.join().unwrap());
    }
    leaves.dedup();
    assert_eq!(leaves.len(), 3);
}

#[test]
fn a_certificate_that_is_refused_leaves_the_old_one_in_place() {
    let mut server = server(4, 4096, PATIENCE, 0);
    let credentials = server.workload.guest.credentials().clone();
    let (authority, stranger) = (&server.authority, Authority::new());
    let key = PublicKey(credentials.generate().unwrap());
    let others = KeyPair::generate().unwrap();
    let root = authority.root.der();
    for (defect, chain, root) in [
        ("of another key", authority.certify(&others, "keep.test", ALLOWED), root),
        ("of another root", stranger.certify(&key, "keep.test", ALLOWED), root),
        (
            "of another root that is named",
            stranger.certify(&key, "keep.test", ALLOWED),
            stranger.root.der(),
        ),
        ("no certificate", b"x".to_vec(), root),
    ] {
        assert!(credentials.install(vec![chain], root).is_err(), "{defect}");
    }
    assert!(credentials.install(vec![], root).is_err());
    let honest = server.authority.client(None);
    assert!(is_served(&mut server, honest));
    // The key still waits, and a good certificate for it is taken.
    let good = server.authority.certify(&key, "keep.test", ALLOWED);
    credentials
        .install(vec![good.clone()], server.authority.root.der())
        .unwrap();
    // Once: the key is in use, and no other waits.
    assert!(credentials.install(vec![good], server.authority.root.der()).is_err());
}

/// What a Keep's `connect` entry makes of a server under the same authority.
fn connects(peers: &[&str], server_name: &str, offers: &[&str], speaks: &[&str]) -> Result<(), String> {
    let authority = Authority::new();
    let (listener, thread) = answer_as(&authority, "keep.test", ALLOWED, speaks);
    let host = Host::new(1, 0, 4096).unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    host.attach_socket(0, socket.into()).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    let added = guest.add_file(FileKind::ConnectTls(ConnectTls {
        server_name: server_name.into(),
        trust: Trust {
            roots: vec![authority.root.der().to_vec()],
            peers: peers.iter().map(|&peer| peer.to_owned()).collect(),
            ..Trust::default()
        },
        alpn: offers.iter().map(|name| name.as_bytes().to_vec()).collect(),
        timeout: PATIENCE,
    }));
    if added.is_ok() {
        let mut workload = workload(guest);
        assert_eq!(workload.receive(0, 5, WAITALL).unwrap(), b"hello");
        workload.close(0);
    } else {
        drop(guest);
    }
    drop(host);
    thread.join().unwrap();
    added.map(drop)
}

#[test]
fn a_server_must_have_the_name_and_be_a_listed_peer_and_speak_the_protocol() {
    assert_eq!(connects(&[], "keep.test", &[], &[]), Ok(()));
    assert_eq!(connects(&[ALLOWED], "keep.test", &[], &[]), Ok(()));
    assert_eq!(connects(&["keep.test"], "keep.test", &["h2"], &["h2"]), Ok(()));
    for (peers, name, offers, speaks) in [
        (&[OTHER][..], "keep.test", &[][..], &[][..]),
        (&[ALLOWED], "other.test", &[], &[]),
        (&[], "other.test", &[], &[]),
        (&[], "keep.test", &["h2"], &[]),
        (&[], "keep.test", &["h2"], &["http/1.1"]),
    ] {
        let refused = connects(peers, name, offers, speaks).unwrap_err();
        assert!(refused.starts_with("TLS with"), "{refused}");
    }
}
