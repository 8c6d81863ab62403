//! The guest half: what a workload's descriptors are, over the block.
//!
//! One thread runs it. Whatever waits, waits in [`Guest::wait`], where all streams' handshakes go on: a client that
//! connects and says nothing holds up nobody.

mod chain;
mod control;
pub mod credentials;
pub mod descriptor;
mod dialled;
pub mod identity;
mod limits;
mod listener;
pub mod network;
pub mod port;
pub mod secrets;
mod setup;
pub mod tls;
mod trust;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::errno::Errno;
use crate::fs::{Limits, Tree};
use crate::layout;
use control::Control;
use credentials::Credentials;
use descriptor::{Descriptor, Stream, Table};
use listener::{Handshake, Listener};
use network::Network;
use port::{News, Port};
use secrets::Secrets;
pub use setup::{ConnectTls, FileKind, ListenTls};
pub use trust::{ClientAuth, Trust};

/// How long what a workload wrote before its end may take to leave the Keep's own buffers.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Calls of a workload after which the host's news are looked for, if it waits for nothing.
const TURN: u32 = 64;

/// See the module.
pub struct Guest {
    /// Streams by slot.
    pub port: Port,
    /// The workload's descriptors.
    pub table: Table,
    /// The private file system.
    pub tree: Tree,
    /// Arguments, the program's name first.
    pub args: Vec<Vec<u8>>,
    /// Environment, as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// What `proc_exit` was called with.
    pub exit: Option<u32>,
    /// The latest monotonic time that was told, so that it never goes back.
    pub monotonic: u64,
    /// How many entries `files` has; their descriptors are the first ones.
    pub files: u32,
    listeners: BTreeMap<u32, Listener>,
    handshakes: BTreeMap<u32, Handshake>,
    /// No handshake is to be given up before this.
    next_expiry: Option<Instant>,
    credentials: Credentials,
    control: Control,
    network: Option<Network>,
    secrets: Secrets,
    /// The connection of [`Guest::dial`].
    dialled: Option<Stream>,
    news: Vec<News>,
    /// Calls since the host's news were looked for by [`Guest::take_turn`].
    calls: u32,
    limits: limits::Told,
    /// Streams that were opened before the descriptors were made ready: slot and entry. `None` once they are.
    early: Option<Vec<(u32, u32)>>,
}

impl Guest {
    /// A guest with no descriptors yet, and a file system that holds nothing but its root.
    pub fn new(port: Port) -> Result<Self, Errno> {
        let limits = Limits {
            max_bytes: 0,
            max_inodes: 1,
            max_file_bytes: 0,
        };
        Ok(Self {
            port,
            table: Table::default(),
            tree: Tree::new(limits, 0)?,
            args: Vec::new(),
            env: Vec::new(),
            exit: None,
            monotonic: 0,
            files: 0,
            listeners: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            next_expiry: None,
            credentials: Credentials::default(),
            control: Control::default(),
            network: None,
            secrets: Secrets::default(),
            dialled: None,
            news: Vec::new(),
            calls: 0,
            limits: limits::Told::default(),
            early: Some(Vec::new()),
        })
    }

    /// Wait for news of the host, at most until `deadline`, and act on them.
    pub fn wait(&mut self, deadline: Option<Instant>) {
        let deadline = earlier(deadline, self.next_expiry);
        self.port.wait(deadline);
        self.pump();
    }

    /// Wait until the host may have taken something of a slot.
    fn wait_for_room(&mut self, slot: u32, deadline: Option<Instant>) {
        let before = self.port.room(slot);
        self.port.ask_for_room(slot);
        if self.port.room(slot) == before {
            self.wait(deadline);
        }
    }

    /// Act on the host's news, without waiting.
    pub fn pump(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        self.port.news(&mut news);
        for item in news.drain(..) {
            match item {
                News::Opened { slot, file } => self.stream_opened(slot, file),
                News::Changed { slot } => self.stream_changed(slot),
            }
        }
        self.news = news;
        self.expire_handshakes();
    }

    /// The workload has made a call. One that finds all that it asks for never waits, and would leave handshakes and the
    /// host's messages undone for as long as it does.
    pub fn take_turn(&mut self) {
        self.calls += 1;
        if self.calls >= TURN {
            self.calls = 0;
            self.pump();
        }
    }

    /// All descriptors are there: take the connections that have come meanwhile.
    pub fn open_for_business(&mut self) {
        for (slot, file) in self.early.take().unwrap_or_default() {
            self.stream_opened(slot, file);
            self.stream_changed(slot);
        }
        self.control.turn(&mut self.port);
    }

    /// Streams of the manifest's entries are there from the start; others are connections of a listener.
    fn stream_opened(&mut self, slot: u32, file: u32) {
        if let Some(early) = &mut self.early {
            early.push((slot, file));
            return;
        }
        if slot == layout::CONTROL || slot <= self.files {
            return;
        }
        let Some(listener) = self.listeners.get_mut(&file) else {
            self.connection_opened(slot, file);
            return;
        };
        match &listener.tls {
            None => listener.accepted.push_back(Stream::plain(slot)),
            Some((config, limit)) => match tls::Session::server(slot, config.clone()) {
                Ok(session) => {
                    let deadline = Instant::now() + *limit;
                    self.next_expiry = earlier(self.next_expiry, Some(deadline));
                    self.handshakes.insert(
                        slot,
                        Handshake {
                            session,
                            file,
                            deadline,
                        },
                    );
                }
                Err(_) => self.port.release(slot),
            },
        }
    }

    /// Entries after those of `files` stand for the manifest's grants. What nobody waits for is given back.
    fn connection_opened(&mut self, slot: u32, file: u32) {
        let grant = file.checked_sub(self.files).map(|grant| grant as usize);
        let is_awaited = match (&mut self.network, grant) {
            (Some(network), Some(grant)) => network.take(grant, slot),
            _ => false,
        };
        if !is_awaited {
            self.port.release(slot);
        }
    }

    fn stream_changed(&mut self, slot: u32) {
        self.port.has_room(slot);
        if slot == layout::CONTROL {
            self.control.turn(&mut self.port);
            return;
        }
        if let Some(mut handshake) = self.handshakes.remove(&slot) {
            match handshake.session.handshake(&mut self.port) {
                Ok(()) => self.handshake_done(handshake),
                Err(Errno::AGAIN) => {
                    self.handshakes.insert(slot, handshake);
                }
                Err(_) => self.handshake_failed(slot),
            }
        }
    }

    fn handshake_failed(&mut self, slot: u32) {
        self.port.count_handshake(false);
        self.port.release(slot);
    }

    fn handshake_done(&mut self, handshake: Handshake) {
        self.port.count_handshake(true);
        match self.listeners.get_mut(&handshake.file) {
            Some(listener) => listener.accepted.push_back(Stream::tls(handshake.session)),
            None => self.port.release(handshake.session.slot()),
        }
    }

    fn expire_handshakes(&mut self) {
        let Some(expiry) = self.next_expiry else { return };
        let now = Instant::now();
        if now < expiry {
            return;
        }
        let late: Vec<u32> = self
            .handshakes
            .iter()
            .filter(|(_, handshake)| handshake.deadline <= now)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in late {
            self.handshakes.remove(&slot);
            self.handshake_failed(slot);
        }
        self.next_expiry = self.handshakes.values().map(|handshake| handshake.deadline).min();
    }

    /// The next connection of a listener, if one is ready.
    pub fn next_connection(&mut self, file: u32) -> Option<Stream> {
        self.pump();
        self.listeners.get_mut(&file)?.accepted.pop_front()
    }

    /// Whether a listener has a connection ready.
    pub fn has_connection(&self, file: u32) -> bool {
        self.listeners
            .get(&file)
            .is_some_and(|listener| !listener.accepted.is_empty())
    }

    /// Nobody will accept on this entry any more: those who wait are turned away.
    pub fn close_listener(&mut self, file: u32) {
        if let Some(listener) = self.listeners.remove(&file) {
            for stream in listener.accepted {
                self.port.release(stream.slot());
            }
        }
    }

    /// The workload has ended: close every stream, and wait a while for what is still here to find room.
    ///
    /// Where it did not end in good order, TLS peers get no close_notify, so that they do not take what was cut short
    /// for all there was (RFC 8446, section 6.1).
    pub fn finish(&mut self, orderly: bool) {
        let deadline = Instant::now() + LAST_WORDS;
        for descriptor in self.table.take_all() {
            if let Descriptor::Stream(mut stream) = descriptor {
                while stream.has_unsent(&mut self.port) && Instant::now() < deadline {
                    self.wait_for_room(stream.slot(), Some(deadline));
                }
                if orderly {
                    stream.close(&mut self.port);
                } else {
                    self.port.release(stream.slot());
                }
            }
        }
        self.forget_keys();
        self.port.finish(layout::CONTROL);
        self.port.tell_host();
    }

    /// Let go of everything that holds a key; what holds one overwrites it with zeroes then.
    pub fn forget_keys(&mut self) {
        self.handshakes.clear();
        self.listeners.clear();
        self.credentials.forget();
        self.secrets.forget();
        self.env.zeroize(); // where secrets may be
    }
}

/// The earlier of two points in time, where `None` is never.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
