//! A Keep that is told late what it is: its own connection comes first, and entries are attached while it runs.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use common::authority::{Authority, PublicKey, answer_as};
use common::{PATIENCE, guest_of, soon, workload};
use rcgen::{KeyPair, SigningKey};
use sallyport::errno::Errno;
use sallyport::guest::{ConnectTls, FileKind, Trust};
use sallyport::host::Host;
use sallyport::shared::duplicate;

/// Entries of the block, of which the last is the Keep's own connection.
const ENTRIES: u32 = 5;
const OWN: u32 = ENTRIES - 1;

fn under(authority: &Authority, server_name: &str) -> ConnectTls {
    ConnectTls {
        server_name: server_name.into(),
        trust: Trust {
            roots: vec![authority.root.der().to_vec()],
            ..Trust::default()
        },
        alpn: Vec::new(),
        timeout: PATIENCE,
    }
}

#[test]
fn it_speaks_with_a_server_first_and_serves_then() {
    let host = Host::with_outbound(ENTRIES, 4, 1, 4096).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    let authority = Authority::new();
    for _ in 0..2 {
        let (server, thread) = answer_as(&authority, "registry.test", "spiffe://td.test/registry", &[]);
        let socket = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        // The slot of the connection before is free as soon as its end is delivered.
        assert!(soon(|| host
            .attach_socket(OWN, socket.try_clone().unwrap().into())
            .is_ok()));
        drop(socket);
        guest.dial(OWN, under(&authority, "registry.test")).unwrap();
        let until = Instant::now() + PATIENCE;
        guest.dialled_write(b"?", until).unwrap();
        let mut got = Vec::new();
        while got.len() < 5 {
            got.extend(guest.dialled_read(5, until).unwrap());
        }
        assert_eq!(got, b"hello");
        guest.hang_up();
        assert_eq!(guest.dialled_read(1, until), Err(Errno::NOTCONN));
        thread.join().unwrap();
    }

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    host.attach_listener(0, duplicate(listener.as_raw_fd()).unwrap())
        .unwrap();
    guest.add_file(FileKind::Listen(None)).unwrap();
    guest.reserve_files(ENTRIES);
    guest.open_network(1).unwrap();
    guest.grant("db.test:1".into(), None).unwrap();
    guest.open_for_business();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"a").unwrap();
    let mut workload = workload(guest);
    let accepted = workload.accept(0).unwrap();
    assert_eq!(workload.read(accepted, 1).unwrap(), b"a");

    // Grants are counted from behind all entries, on both sides.
    let (mut peer, inner) = common::tcp_pair();
    let answering = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut asked = [0; 256];
            assert!(read_control(&host, &mut asked) > 0);
            host.answer(0, Ok(inner.into()));
        });
        workload.guest.connect_to(b"db.test:1").map(|mut stream| {
            let port = &mut workload.guest.port;
            stream.write(port, b"b").unwrap();
            stream.close(port);
            port.tell_host();
        })
    });
    assert_eq!(answering, Ok(()));
    let mut byte = [0];
    peer.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
}

fn read_control(host: &Host, into: &mut [u8]) -> usize {
    let mut control = TcpStream::from(duplicate(host.control_fd()).unwrap());
    control.read(into).unwrap()
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let host = Host::new(ENTRIES, 0, 4096).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    let authority = Authority::new();
    assert!(
        guest.dial(OWN, under(&authority, "registry.test")).is_err(),
        "the host has connected nothing"
    );
    let (_silent, inner) = common::tcp_pair();
    host.attach_socket(OWN, inner.into()).unwrap();
    let impatient = ConnectTls {
        timeout: Duration::from_millis(50),
        ..under(&authority, "registry.test")
    };
    assert!(guest.dial(OWN, impatient).unwrap_err().contains("no answer in time"));
}

#[test]
fn what_an_entry_has_is_not_attached_twice() {
    let host = Host::new(1, 0, 4096).unwrap();
    host.start().unwrap();
    let ((_one, first), (_other, second)) = (common::tcp_pair(), common::tcp_pair());
    host.attach_socket(0, first.into()).unwrap();
    assert!(host.attach_socket(0, second.into()).is_err());
    assert!(
        host.attach_socket(1, common::tcp_pair().1.into()).is_err(),
        "there is no such entry"
    );
    host.finish(Duration::ZERO);
}

#[test]
fn only_the_issuer_of_its_certificate_is_believed() {
    let host = Host::new(1, 0, 4096).unwrap();
    let guest = guest_of(&host);
    let credentials = guest.credentials();
    let signature = |authority: &KeyPair| authority.sign(b"message").unwrap();
    let (authority, issuer) = Authority::with_key();
    let other = KeyPair::generate().unwrap();
    assert!(
        !credentials.is_by_issuer(b"message", &signature(&issuer)),
        "no certificate yet"
    );
    let key = PublicKey(credentials.generate().unwrap());
    let chain = vec![authority.certify(&key, "keep.test", "spiffe://td.test/keep")];
    credentials.install(chain, authority.root.der()).unwrap();
    assert!(credentials.is_by_issuer(b"message", &signature(&issuer)));
    assert!(!credentials.is_by_issuer(b"another", &signature(&issuer)));
    assert!(!credentials.is_by_issuer(b"message", &signature(&other)));
    assert!(!credentials.is_by_issuer(b"message", b""));
}
