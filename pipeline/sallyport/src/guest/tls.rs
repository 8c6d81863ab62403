//! TLS 1.3 on top of a slot's rings. Nothing here waits: what cannot go on answers `EAGAIN`.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::version::TLS13;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::credentials::Credentials;
use super::port::Port;
use super::trust::{ClientAuth, Trust};
use crate::errno::Errno;

/// Bytes of one record beside its plaintext: header 5, content type 1, tag 16 (RFC 8446, section 5.2).
const RECORD_OVERHEAD: usize = 22;
/// Most plaintext in one record (RFC 8446, section 5.1).
const RECORD_PLAINTEXT: usize = 16_384;
/// Room kept in the ring for an alert, so that an end can always be told.
const ALERT_RESERVE: usize = 64;
/// Most plaintext given to rustls at once; the rings' room is the real limit.
const BUFFER_LIMIT: usize = 1 << 20;
/// Most plaintext that can be looked at before it is taken.
pub const PEEK_LIMIT: usize = 64 << 10;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// How a listening socket answers: TLS 1.3 only, and no session resumption, since a resumed handshake would skip the
/// look at certificates. `alpn` are the protocols it speaks; a client that offers others alone is refused.
pub fn server_config(
    credentials: &Credentials,
    auth: ClientAuth,
    trust: &Trust,
    alpn: Vec<Vec<u8>>,
) -> Result<Arc<ServerConfig>, String> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|fault| format!("TLS: {fault}"))?
        .with_client_cert_verifier(trust.of_clients(auth, provider())?)
        .with_cert_resolver(Arc::new(credentials.clone()));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = alpn;
    Ok(Arc::new(config))
}

/// How a connecting socket asks: TLS 1.3 only, no session resumption; the Keep's certificate is shown if the peer
/// asks for one and the Keep has one. `alpn` are the protocols it offers.
pub fn client_config(
    credentials: &Credentials,
    trust: &Trust,
    alpn: Vec<Vec<u8>>,
) -> Result<Arc<ClientConfig>, String> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|fault| format!("TLS: {fault}"))?
        .dangerous()
        .with_custom_certificate_verifier(trust.of_servers(provider())?)
        .with_client_cert_resolver(Arc::new(credentials.clone()));
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = alpn;
    Ok(Arc::new(config))
}

/// One TLS session on one slot.
pub struct Session {
    connection: Connection,
    slot: u32,
    fault: Option<Errno>,
    /// What rustls said of the fault.
    reason: Option<rustls::Error>,
    told_end: bool,
    closed: bool,
    /// Plaintext that was looked at and not taken.
    peeked: VecDeque<u8>,
    /// A peer that chooses none of the protocols that were offered is refused.
    needs_alpn: bool,
}

impl Session {
    /// Answer a client.
    pub fn server(slot: u32, config: Arc<ServerConfig>) -> Result<Self, String> {
        let connection = ServerConnection::new(config).map_err(|fault| format!("TLS: {fault}"))?;
        Ok(Self::new(slot, connection.into()))
    }

    /// Ask a server that must prove to be `name`.
    pub fn client(slot: u32, config: Arc<ClientConfig>, name: &str) -> Result<Self, String> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is not a server name"))?;
        let needs_alpn = !config.alpn_protocols.is_empty();
        let connection = ClientConnection::new(config, name).map_err(|fault| format!("TLS: {fault}"))?;
        let mut session = Self::new(slot, connection.into());
        session.needs_alpn = needs_alpn;
        Ok(session)
    }

    /// Whether a server can have this name.
    pub fn check_name(name: &str) -> Result<(), String> {
        ServerName::try_from(name)
            .map(drop)
            .map_err(|_| format!("{name:?} is not a server name"))
    }

    fn new(slot: u32, mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(BUFFER_LIMIT));
        Self {
            connection,
            slot,
            fault: None,
            reason: None,
            told_end: false,
            closed: false,
            peeked: VecDeque::new(),
            needs_alpn: false,
        }
    }

    /// The slot it runs on.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Go on with the handshake: `EAGAIN` while it lasts.
    pub fn handshake(&mut self, port: &mut Port) -> Result<(), Errno> {
        self.pump(port);
        match self.fault {
            Some(fault) => Err(fault),
            None if !self.connection.is_handshaking() && !self.has_unsent() => self.require_alpn(),
            None if self.told_end => Err(Errno::CONNRESET),
            None => Err(Errno::AGAIN),
        }
    }

    fn require_alpn(&mut self) -> Result<(), Errno> {
        if self.needs_alpn && self.connection.alpn_protocol().is_none() {
            self.fault = Some(Errno::PROTO);
            self.reason = Some(rustls::Error::General("the peer chose no protocol (ALPN)".into()));
            return Err(Errno::PROTO);
        }
        Ok(())
    }

    /// Take in what has come, and send what is ready.
    pub fn pump(&mut self, port: &mut Port) {
        while self.fault.is_none() && self.connection.wants_read() && port.available(self.slot) > 0 {
            self.take_records(port);
        }
        if self.fault.is_none() && !self.told_end && self.connection.wants_read() && port.is_at_end(self.slot) {
            self.told_end = true;
            let _ = self.connection.read_tls(&mut io::empty());
            let _ = self.connection.process_new_packets();
        }
        self.flush(port);
    }

    fn take_records(&mut self, port: &mut Port) {
        let mut source = Source { port, slot: self.slot };
        if self.connection.read_tls(&mut source).is_err() {
            self.fault = Some(Errno::IO);
        } else if let Err(reason) = self.connection.process_new_packets() {
            self.fault = Some(Errno::PROTO);
            self.reason = Some(reason);
        }
    }

    /// A fault in words.
    pub fn why(&self, fault: Errno) -> String {
        self.reason
            .as_ref()
            .map_or_else(|| fault.to_string(), ToString::to_string)
    }

    /// Send what is ready, as far as there is room. If that is not all, the host is asked to tell of room: nobody
    /// else would, since a handshake's flight is not the workload's to send again.
    pub fn flush(&mut self, port: &mut Port) {
        self.send(port);
        if self.connection.wants_write() {
            port.ask_for_room(self.slot);
            self.send(port);
        }
    }

    fn send(&mut self, port: &mut Port) {
        while self.connection.wants_write() {
            let mut sink = Sink { port, slot: self.slot };
            if self.connection.write_tls(&mut sink).is_err() {
                break;
            }
        }
    }

    /// Whether something is ready that found no room yet.
    pub fn has_unsent(&self) -> bool {
        self.connection.wants_write()
    }

    /// Take plaintext: 0 at the end, which the peer has told with close_notify; an end without it is a fault,
    /// because it may be an attacker's.
    pub fn read(&mut self, port: &mut Port, into: &mut [u8]) -> Result<usize, Errno> {
        let peeked = self.peeked.len().min(into.len());
        for (place, byte) in into.iter_mut().zip(self.peeked.drain(..peeked)) {
            *place = byte;
        }
        match self.take(port, &mut into[peeked..]) {
            Err(_) if peeked > 0 => Ok(peeked),
            taken => taken.map(|taken| peeked + taken),
        }
    }

    /// As [`Session::read`], but the plaintext stays; at most [`PEEK_LIMIT`] bytes of it.
    pub fn peek(&mut self, port: &mut Port, into: &mut [u8]) -> Result<usize, Errno> {
        let wanted = into.len().min(PEEK_LIMIT);
        if self.peeked.len() < wanted {
            let mut more = vec![0; wanted - self.peeked.len()];
            match self.take(port, &mut more) {
                Ok(taken) => self.peeked.extend(&more[..taken]),
                Err(fault) if self.peeked.is_empty() => return Err(fault),
                Err(_) => {}
            }
        }
        for (place, byte) in into.iter_mut().zip(&self.peeked) {
            *place = *byte;
        }
        Ok(self.peeked.len().min(wanted))
    }

    fn take(&mut self, port: &mut Port, into: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < into.len() {
            self.pump(port);
            match self.connection.reader().read(&mut into[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(_) if done > 0 => break,
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    return Err(self.fault.or_else(|| port.fault(self.slot)).unwrap_or(Errno::AGAIN));
                }
                Err(_) => return Err(self.fault.unwrap_or(Errno::CONNRESET)),
            }
        }
        Ok(done)
    }

    /// Give plaintext; only as much as finds room in the ring, so that nothing stays behind here.
    pub fn write(&mut self, port: &mut Port, from: &[u8]) -> Result<usize, Errno> {
        if let Some(fault) = self.fault.or_else(|| port.fault(self.slot)) {
            return Err(fault);
        }
        if self.closed {
            return Err(Errno::PIPE);
        }
        self.flush(port);
        let len = from.len().min(self.plaintext_room(port));
        if len == 0 && !from.is_empty() {
            return Err(Errno::AGAIN);
        }
        let written = self.connection.writer().write(&from[..len]).map_err(|_| Errno::IO)?;
        self.flush(port);
        Ok(written)
    }

    /// Bytes of plaintext whose records find room now.
    pub fn plaintext_room(&self, port: &mut Port) -> usize {
        if self.connection.wants_write() {
            return 0;
        }
        let room = (port.room(self.slot) as usize).saturating_sub(ALERT_RESERVE);
        let records = room.div_ceil(RECORD_PLAINTEXT + RECORD_OVERHEAD);
        room.saturating_sub(records * RECORD_OVERHEAD)
    }

    /// Whether a read would answer at once, and with how many bytes.
    pub fn readable(&mut self, port: &mut Port) -> Option<u64> {
        let ended = self.has_ended(port);
        let plaintext = self
            .connection
            .process_new_packets()
            .map_or(0, |state| state.plaintext_bytes_to_read());
        let bytes = self.peeked.len() + plaintext;
        (bytes > 0 || ended).then_some(bytes as u64)
    }

    /// Whether nothing more will come than what is here, for good or by a fault.
    pub fn has_ended(&mut self, port: &mut Port) -> bool {
        self.pump(port);
        let closed = self
            .connection
            .process_new_packets()
            .map_or(true, |state| state.peer_has_closed());
        closed || self.told_end || self.fault.is_some() || port.fault(self.slot).is_some()
    }

    /// Tell the peer that nothing more will come.
    pub fn close_write(&mut self, port: &mut Port) {
        if !self.closed {
            self.closed = true;
            self.connection.send_close_notify();
            self.flush(port);
        }
    }
}

struct Source<'a> {
    port: &'a mut Port,
    slot: u32,
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.port.read(self.slot, into) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

struct Sink<'a> {
    port: &'a mut Port,
    slot: u32,
}

impl Write for Sink<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self.port.write(self.slot, from) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            written => Ok(written),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut done = 0;
        for part in parts {
            let written = self.port.write(self.slot, part);
            done += written;
            if written < part.len() {
                break;
            }
        }
        if done == 0 {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(done)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
