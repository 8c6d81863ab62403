//! TLS that ends inside the guest half, against a rustls client over real sockets.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{PATIENCE, Workload, guest_of, pattern, workload};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PublicKeyData,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sallyport::errno::Errno;
use sallyport::guest::FileKind;
use sallyport::host::Host;
use sallyport::shared::duplicate;

/// The extension in which a Steward shows the evidence.
const ID_PE_CMW: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 35];

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A P-256 key by its SubjectPublicKeyInfo, whose last 65 bytes are the point.
struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0[self.0.len() - 65..]
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

struct Server {
    _host: Host,
    workload: Workload,
    listener: TcpListener,
    trust: Arc<ClientConfig>,
}

/// A Keep with a TLS listener as entry 0. Its certificate holds `evidence` bytes of evidence.
fn server(connections: u32, ring: u32, handshake: Duration, evidence: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::new(1, connections, ring).unwrap();
    host.attach_listener(0, duplicate(listener.as_raw_fd()).unwrap())
        .unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    let key = PublicKey(guest.generate_identity().unwrap());

    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let mut leaf = CertificateParams::new(vec!["keep.test".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.custom_extensions = vec![CustomExtension::from_oid_content(ID_PE_CMW, vec![0x5a; evidence])];
    let chain = vec![leaf.signed_by(&key, &issuer).unwrap().der().to_vec()];
    guest.install_certificate(chain, root.der()).unwrap();
    guest.add_file(FileKind::Listen(Some(handshake))).unwrap();
    guest.open_for_business();

    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trust = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Server {
        _host: host,
        workload: workload(guest),
        listener,
        trust: Arc::new(trust),
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

#[test]
fn clients_that_say_nothing_delay_nobody_and_are_turned_away_in_time() {
    let mut server = server(8, 4096, Duration::from_millis(700), 0);
    let mut silent: Vec<_> = (0..6).map(|_| server.socket()).collect();
    silent[0].write_all(&[22, 3, 1]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    let client = server.client(ask);
    let fd = server.workload.accept(0).unwrap();
    server.workload.receive(fd, 8, 2).unwrap();
    server.workload.write(fd, b"answer").unwrap();
    assert_eq!(client.join().unwrap(), b"answer");
    assert!(begun.elapsed() < Duration::from_millis(600));
    server.workload.poll(&[1_500_000_000], &[]);
    for mut socket in silent {
        assert_eq!(socket.read(&mut [0; 100]).unwrap(), 0);
    }
}

#[test]
fn a_client_that_speaks_no_tls_hears_an_alert() {
    let mut server = server(2, 4096, PATIENCE, 0);
    let mut socket = server.socket();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    server.workload.poll(&[200_000_000], &[(0, 1)]);
    let mut heard = [0; 7];
    socket.read_exact(&mut heard).unwrap();
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
    one.workload.poll(&[300_000_000], &[(0, 1)]);
    assert_eq!(client.join().unwrap(), ErrorKind::InvalidData);
}
