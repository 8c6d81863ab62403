//! A load for echo servers: CONNECTIONS that each send SIZE bytes, wait for them to come back, and send again.
//!
//!     load PORT CONNECTIONS SIZE SECONDS [tls | handshakes | hold]
//!
//! Prints one line: requests per second, and the median and 99th percentile of their time in microseconds. With
//! `handshakes` each request is a new connection with a full handshake. `hold` opens connections by TLS, one after the
//! other with one message each, as many as CONNECTIONS; says how many, and holds them until its standard input ends.
//! Certificates are not checked: this measures.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn config() -> Arc<ClientConfig> {
    // The same group and suite for every server, so that servers are compared and not their preferences.
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

struct Client {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    to_send: usize,
    to_receive: usize,
    began: Instant,
}

impl Client {
    fn new(port: u16, config: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let began = Instant::now();
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let name = || ServerName::try_from("localhost").expect("a name");
        let tls = config.map(|config| ClientConnection::new(config.clone(), name()).expect("a client"));
        Ok(Self { socket, tls, to_send: 0, to_receive: 0, began })
    }

    fn request(&mut self, size: usize) {
        (self.to_send, self.to_receive, self.began) = (size, size, Instant::now());
    }

    /// Go on as far as possible; true when the request is complete.
    fn turn(&mut self, payload: &[u8], scratch: &mut [u8]) -> io::Result<bool> {
        while self.to_send > 0 {
            let chunk = &payload[..self.to_send];
            match self.send(chunk) {
                Ok(sent) => self.to_send -= sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while self.to_receive > 0 {
            match self.receive(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => self.to_receive -= received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(self.to_send == 0)
    }

    fn send(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(chunk) };
        let sent = tls.writer().write(&chunk[..chunk.len().min(65_536)])?;
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(scratch) };
        loop {
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
            match tls.reader().read(scratch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return answer,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let number = |index: usize| words[index].parse::<f64>().expect("a number");
    let (port, connections, size) = (number(1) as u16, number(2) as usize, number(3) as usize);
    let mode = words.get(5).map_or("tcp", String::as_str);
    let config = (mode != "tcp").then(config);
    let payload = vec![7u8; size];
    let mut scratch = vec![0u8; 256 * 1024];
    if mode == "hold" {
        return hold(port, connections, config.as_ref(), &payload, &mut scratch);
    }
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut clients = Vec::new();
    for index in 0..connections {
        clients.push(open(port, config.as_ref(), &poll, index, size)?);
    }
    let mut times = Vec::new();
    let mut events = Vec::with_capacity(connections.max(8));
    let begin = Instant::now();
    let warm = Duration::from_secs_f64(number(4) / 5.0);
    let end = begin + warm + Duration::from_secs_f64(number(4));
    for client in &mut clients {
        client.turn(&payload, &mut scratch)?;
    }
    while Instant::now() < end {
        let _ = epoll::wait(&poll, spare_capacity(&mut events), None);
        for event in events.drain(..) {
            let index = event.data.u64() as usize;
            while clients[index].turn(&payload, &mut scratch)? {
                if begin.elapsed() > warm {
                    times.push(clients[index].began.elapsed().as_nanos() as u64);
                }
                if mode == "handshakes" {
                    clients[index] = open(port, config.as_ref(), &poll, index, size)?;
                } else {
                    clients[index].request(size);
                }
            }
        }
    }
    let seconds = (begin.elapsed() - warm).as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).map_or(0.0, |ns| *ns as f64 / 1000.0);
    println!("{:.0} {:.1} {:.1}", times.len() as f64 / seconds, at(0.5), at(0.99));
    Ok(())
}

fn hold(
    port: u16,
    connections: usize,
    config: Option<&Arc<ClientConfig>>,
    payload: &[u8],
    scratch: &mut [u8],
) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..connections {
        let mut client = Client::new(port, config)?;
        client.socket.set_nonblocking(false)?;
        client.request(payload.len());
        while !client.turn(payload, scratch)? {}
        held.push(client);
    }
    println!("{}", held.len());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn open(
    port: u16,
    config: Option<&Arc<ClientConfig>>,
    poll: &rustix::fd::OwnedFd,
    index: usize,
    size: usize,
) -> io::Result<Client> {
    let mut client = Client::new(port, config)?;
    client.to_send = size;
    client.to_receive = size;
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
    epoll::add(poll, &client.socket, EventData::new_u64(index as u64), flags)?;
    Ok(client)
}
