//! Making a guest ready before its workload starts: descriptors, certificate, connections, and the control stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::server::ServerConfig;

use super::Guest;
use super::control::Answer;
use super::credentials::Credentials;
use super::descriptor::{Descriptor, Stream};
use super::listener::Listener;
use super::tls::{self, Session};
use super::trust::{ClientAuth, Trust};
use crate::errno::Errno;
use crate::fs::{Limits, Tree, rights};
use crate::layout;

/// How many inodes a file system gets: one for so many bytes, within these bounds.
const BYTES_PER_INODE: u64 = 1024;
const MIN_INODES: u64 = 1024;
const MAX_INODES: u64 = 1 << 20;

/// What an entry of the manifest's `files` is.
pub enum FileKind {
    /// `null`.
    Null,
    /// `stdin`, `stdout` or `stderr`.
    Stdio {
        /// Whether the host says that its end is a terminal. The workload hears it, and nothing else depends on it.
        terminal: bool,
    },
    /// `listen`; in clear with `None`.
    Listen(Option<ListenTls>),
    /// `connect` in clear.
    ConnectTcp,
    /// `connect` by TLS.
    ConnectTls(ConnectTls),
}

/// How a `listen` entry speaks TLS.
pub struct ListenTls {
    /// Whether clients are asked for certificates.
    pub client_auth: ClientAuth,
    /// Which of them are believed.
    pub trust: Trust,
    /// The protocols that it speaks (RFC 7301), the preferred one first. None: it does not say.
    pub alpn: Vec<Vec<u8>>,
    /// How long a handshake may take.
    pub timeout: Duration,
}

/// How a `connect` entry speaks TLS.
pub struct ConnectTls {
    /// The name that is asked for (SNI), and that the peer's certificate must bear.
    pub server_name: String,
    /// Whom it believes.
    pub trust: Trust,
    /// The protocols that it offers (RFC 7301), of which the peer must choose one. None: it offers none.
    pub alpn: Vec<Vec<u8>>,
    /// How long the handshake may take.
    pub timeout: Duration,
}

impl Guest {
    /// Give the workload an empty file system of at most this many bytes.
    pub fn limit_filesystem(&mut self, bytes: u64) -> Result<(), Errno> {
        let inodes = (bytes / BYTES_PER_INODE).clamp(MIN_INODES, MAX_INODES);
        self.tree = Tree::new(
            Limits {
                max_bytes: bytes,
                max_inodes: inodes,
                max_file_bytes: bytes,
            },
            0,
        )?;
        Ok(())
    }

    /// The key and certificate that handshakes show. The handle may be used while the workload runs.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Have `answer` take the host's messages from now on, whenever the workload waits or accepts.
    pub fn serve_control(&mut self, answer: Answer) {
        self.control.serve(answer);
    }

    /// Add the next entry of `files`; its index is also its descriptor.
    pub fn add_file(&mut self, kind: FileKind) -> Result<u32, String> {
        let file = self.files;
        let slot = file + 1;
        let descriptor = match kind {
            FileKind::Null => Descriptor::Null,
            FileKind::Stdio { terminal } => Descriptor::Stream(Stream::stdio(self.opened(slot)?, terminal)),
            FileKind::ConnectTcp => Descriptor::Stream(Stream::plain(self.opened(slot)?)),
            FileKind::ConnectTls(how) => Descriptor::Stream(self.connect(slot, how)?),
            FileKind::Listen(how) => {
                self.listeners.insert(
                    file,
                    Listener {
                        tls: how.map(|how| self.answering(how)).transpose()?,
                        accepted: VecDeque::new(),
                    },
                );
                Descriptor::Listener {
                    file,
                    nonblocking: false,
                }
            }
        };
        self.files += 1;
        self.table
            .insert(descriptor)
            .map_err(|(fault, _)| format!("files[{file}]: {fault}"))
    }

    /// The block has `files` entries, of which the last may be no descriptors: connections come after all of them.
    pub fn reserve_files(&mut self, files: u32) {
        self.files = self.files.max(files.min(self.port.slots()));
    }

    /// Mount a preopened directory, which must be in the tree; its descriptor comes after those of `files`.
    pub fn add_preopen(&mut self, path: &[u8]) -> Result<u32, Errno> {
        let dir = self.tree.preopen(path, rights::DIRECTORY, rights::ALL)?;
        self.table
            .insert(Descriptor::Opened(dir.into(), Some(path.to_vec())))
            .map_err(|(fault, _)| fault)
    }

    /// The slot, once the host has opened it, which it does before the Keep starts.
    fn opened(&mut self, slot: u32) -> Result<u32, String> {
        self.pump();
        if slot < self.port.slots() && self.port.is_open(slot) {
            return Ok(slot);
        }
        Err(format!("files[{}]: the host has not opened it", slot - 1))
    }

    fn answering(&self, how: ListenTls) -> Result<(Arc<ServerConfig>, Duration), String> {
        let config = tls::server_config(&self.credentials, how.client_auth, &how.trust, how.alpn)?;
        Ok((config, how.timeout))
    }

    pub(super) fn connect(&mut self, slot: u32, how: ConnectTls) -> Result<Stream, String> {
        let slot = self.opened(slot)?;
        let config = tls::client_config(&self.credentials, &how.trust, how.alpn)?;
        let session = Session::client(slot, config, &how.server_name)?;
        match self.handshake(session, Instant::now() + how.timeout) {
            Ok(session) => Ok(Stream::tls(session)),
            Err((_, reason)) => Err(format!("TLS with {}: {reason}", how.server_name)),
        }
    }

    /// Bytes of the control stream, at least one and at most `most`; empty at its end. Waits.
    pub fn control_read(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most.min(self.port.ring_bytes())];
        loop {
            self.pump();
            let read = self.port.read(layout::CONTROL, &mut bytes);
            if read > 0 || self.port.is_at_end(layout::CONTROL) {
                bytes.truncate(read);
                return bytes;
            }
            self.wait(None);
        }
    }

    /// Put all of `bytes` into the control stream. Waits for room.
    pub fn control_write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.control.put(bytes);
        while self.control.has_unsent() {
            self.pump();
            if let Some(fault) = self.port.fault(layout::CONTROL) {
                return Err(fault);
            }
            self.control.send(&mut self.port);
            if self.control.has_unsent() {
                self.wait_for_room(layout::CONTROL, None);
            }
        }
        self.port.tell_host();
        Ok(())
    }
}
