//! Connections that the workload makes while it runs: to names that the manifest grants, and to no others.
//!
//! A granted name is opened as a file of the directory [`DIRECTORY`]. What is not granted is refused here, and the host
//! never hears of it. What is granted the host connects, to wherever it likes: by TLS the peer must then prove to be
//! who the manifest names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::ClientConfig;

use super::Guest;
use super::descriptor::{Descriptor, Stream};
use super::setup::ConnectTls;
use super::tls::{self, Session};
use crate::errno::Errno;

/// The preopened directory of granted names.
pub const DIRECTORY: &[u8] = b"/net/con";

/// How long the host may take to connect.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Most lines that are written about refused and failed connections: a workload must not fill the host's disk.
const MOST_LINES: u32 = 200;
/// Most characters of a name in a line.
const LONGEST_NAME: usize = 255;

/// What the manifest grants.
struct Grant {
    name: String,
    tls: Option<Secure>,
    /// Requests that the host has not answered yet.
    asked: usize,
}

#[derive(Clone)]
struct Secure {
    config: Arc<ClientConfig>,
    server_name: String,
    timeout: Duration,
}

/// See the module.
pub struct Network {
    grants: Vec<Grant>,
    /// Most connections at the same time.
    limit: usize,
    /// Slots, each with the generation in which it was opened.
    open: Vec<(u32, u32)>,
    /// The grant that is being waited for, and the slot once it is there.
    awaited: Option<(usize, Option<u32>)>,
    lines_left: u32,
}

impl Network {
    fn find(&self, name: &str) -> Option<usize> {
        self.grants
            .iter()
            .position(|grant| grant.name.eq_ignore_ascii_case(name))
    }

    /// The host has opened a slot for a grant; answers whether somebody waits for it.
    pub fn take(&mut self, grant: usize, slot: u32) -> bool {
        let Some(known) = self.grants.get_mut(grant) else {
            return false;
        };
        if known.asked == 0 {
            return false;
        }
        known.asked -= 1;
        match &mut self.awaited {
            Some((awaited, place @ None)) if *awaited == grant => {
                *place = Some(slot);
                true
            }
            _ => false,
        }
    }

    fn say(&mut self, line: &str) {
        if self.lines_left > 0 {
            self.lines_left -= 1;
            eprintln!("network: {line}");
            if self.lines_left == 0 {
                eprintln!("network: no more lines about refused and failed connections are written");
            }
        }
    }
}

impl Guest {
    /// Preopen the directory of granted names, with at most `limit` connections at the same time. Answers its
    /// descriptor.
    pub fn open_network(&mut self, limit: usize) -> Result<u32, Errno> {
        self.network = Some(Network {
            grants: Vec::new(),
            limit,
            open: Vec::new(),
            awaited: None,
            lines_left: MOST_LINES,
        });
        self.table.insert(Descriptor::Network).map_err(|(fault, _)| fault)
    }

    /// Grant connections to `name`; the host knows it by how many were granted before.
    pub fn grant(&mut self, name: String, tls: Option<ConnectTls>) -> Result<(), String> {
        let credentials = self.credentials.clone();
        let secure = |how: ConnectTls| {
            Session::check_name(&how.server_name)?;
            Ok::<_, String>(Secure {
                config: tls::client_config(&credentials, &how.trust, how.alpn)?,
                server_name: how.server_name,
                timeout: how.timeout,
            })
        };
        let tls = tls.map(secure).transpose()?;
        let network = self.network.as_mut().ok_or("the network was not opened")?;
        network.grants.push(Grant { name, tls, asked: 0 });
        Ok(())
    }

    /// Whether a name of the directory is granted: `ACCES`, and a line that says how to grant it, if it is not.
    pub fn granted(&mut self, path: &[u8]) -> Result<usize, Errno> {
        let network = self.network.as_mut().ok_or(Errno::NOTCAPABLE)?;
        let name = std::str::from_utf8(path).map_err(|_| Errno::ILSEQ)?;
        if name.is_empty() || name == "." {
            return Err(Errno::NOTSUP);
        }
        if let Some(grant) = network.find(name) {
            return Ok(grant);
        }
        let shown: String = name.chars().take(LONGEST_NAME).flat_map(char::escape_default).collect();
        network.say(&format!(
            "{shown} is not granted; to grant it: [network] connect = [\"{shown}\"] in Enarx.toml"
        ));
        Err(Errno::ACCES)
    }

    /// Connect to a granted name, and wait until that is done.
    pub fn connect_to(&mut self, path: &[u8]) -> Result<Stream, Errno> {
        let grant = self.granted(path)?;
        let slot = self.ask_for(grant)?;
        if let Some(fault) = self.port.fault(slot) {
            self.port.release(slot);
            return Err(fault);
        }
        let stream = self.secured(grant, slot).inspect_err(|_| self.port.release(slot))?;
        let generation = self.port.generation(slot);
        if let Some(network) = &mut self.network {
            network.open.push((slot, generation));
        }
        Ok(stream)
    }

    /// Have the host connect; answers the slot that it opens.
    fn ask_for(&mut self, grant: usize) -> Result<u32, Errno> {
        let network = self.network.as_mut().ok_or(Errno::NOTCAPABLE)?;
        network
            .open
            .retain(|&(slot, generation)| self.port.is_open(slot) && self.port.generation(slot) == generation);
        let owed: usize = network.grants.iter().map(|grant| grant.asked).sum();
        if network.open.len() + owed >= network.limit {
            let line = format!(
                "{} connections are open: [network] connections allows no more",
                network.limit
            );
            network.say(&line);
            return Err(Errno::NFILE);
        }
        network.grants[grant].asked += 1;
        network.awaited = Some((grant, None));
        let message = format!("{{\"type\":\"connect\",\"grant\":{grant}}}");
        self.control.put_message(message.as_bytes());
        self.control.turn(&mut self.port);
        let slot = self.await_slot(Instant::now() + ANSWER_LIMIT);
        if let Some(network) = &mut self.network {
            network.awaited = None;
        }
        slot
    }

    fn await_slot(&mut self, deadline: Instant) -> Result<u32, Errno> {
        loop {
            self.pump();
            if let Some(Network {
                awaited: Some((_, Some(slot))),
                ..
            }) = self.network
            {
                return Ok(slot);
            }
            if Instant::now() >= deadline {
                return Err(Errno::TIMEDOUT);
            }
            self.wait(Some(deadline));
        }
    }

    fn secured(&mut self, grant: usize, slot: u32) -> Result<Stream, Errno> {
        let network = self.network.as_ref().ok_or(Errno::NOTCAPABLE)?;
        let Some(secure) = network.grants[grant].tls.clone() else {
            return Ok(Stream::plain(slot));
        };
        let session = Session::client(slot, secure.config, &secure.server_name).map_err(|_| Errno::INVAL)?;
        match self.handshake(session, Instant::now() + secure.timeout) {
            Ok(session) => Ok(Stream::tls(session)),
            Err((fault, reason)) => {
                if let Some(network) = &mut self.network {
                    let line = format!("{}: TLS: {reason}", network.grants[grant].name);
                    network.say(&line);
                }
                Err(fault)
            }
        }
    }

    /// Make a handshake, and wait until it is done; a fault comes with its reason.
    pub(super) fn handshake(&mut self, mut session: Session, deadline: Instant) -> Result<Session, (Errno, String)> {
        loop {
            match session.handshake(&mut self.port) {
                Ok(()) => return Ok(session),
                Err(Errno::AGAIN) if Instant::now() < deadline => self.wait(Some(deadline)),
                Err(Errno::AGAIN) => return Err((Errno::TIMEDOUT, "no answer in time".into())),
                Err(fault) => return Err((fault, session.why(fault))),
            }
        }
    }
}
