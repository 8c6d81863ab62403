//! Making a guest ready before its workload starts: descriptors, certificate, connections, and the control stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::Guest;
use super::chain;
use super::descriptor::{Descriptor, Stream};
use super::identity::Identity;
use super::listener::Listener;
use super::tls::{self, Session};
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
    Stdio,
    /// `listen`; with a limit for the handshake where it is TLS.
    Listen(Option<Duration>),
    /// `connect` in clear.
    ConnectTcp,
    /// `connect` by TLS.
    ConnectTls(ConnectTls),
}

/// How a `connect` entry with TLS checks its peer.
pub struct ConnectTls {
    /// The name that the peer's certificate must bear.
    pub server_name: String,
    /// Whether the compiled-in roots count.
    pub system_roots: bool,
    /// More roots, as DER certificates.
    pub roots: Vec<Vec<u8>>,
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

    /// Make the key. Answers the public key, as DER SubjectPublicKeyInfo.
    pub fn generate_identity(&mut self) -> Result<Vec<u8>, String> {
        let identity = Identity::generate()?;
        let public = identity.public_key();
        self.identity = Some(identity);
        Ok(public)
    }

    /// A PKCS#10 request for the key; see [`Identity::certificate_request`].
    pub fn certificate_request(&self, extensions: &[(Vec<u64>, Vec<u8>)]) -> Result<Vec<u8>, String> {
        self.identity
            .as_ref()
            .ok_or("no key was made")?
            .certificate_request(extensions)
    }

    /// Use this chain (DER, leaf first) for connections from now on, if it is of the key and leads to `root` (DER).
    pub fn install_certificate(&mut self, chain: Vec<Vec<u8>>, root: &[u8]) -> Result<(), String> {
        let identity = self.identity.as_ref().ok_or("no key was made")?;
        chain::check(&chain, root)?;
        self.server = Some(tls::server_config(identity, chain.clone())?);
        self.chain = chain;
        Ok(())
    }

    /// Add the next entry of `files`; its index is also its descriptor.
    pub fn add_file(&mut self, kind: FileKind) -> Result<u32, String> {
        let file = self.files;
        let slot = file + 1;
        let descriptor = match kind {
            FileKind::Null => Descriptor::Null,
            FileKind::Stdio => Descriptor::Stream(Stream::stdio(self.opened(slot)?)),
            FileKind::ConnectTcp => Descriptor::Stream(Stream::plain(self.opened(slot)?)),
            FileKind::ConnectTls(how) => Descriptor::Stream(self.connect(slot, how)?),
            FileKind::Listen(handshake_timeout) => {
                self.listeners.insert(
                    file,
                    Listener {
                        handshake_timeout,
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

    fn connect(&mut self, slot: u32, how: ConnectTls) -> Result<Stream, String> {
        let slot = self.opened(slot)?;
        let identity = self.identity.as_ref().filter(|_| !self.chain.is_empty());
        let config = tls::client_config(roots(&how)?, identity.map(|identity| (identity, self.chain.clone())))?;
        let mut session = Session::client(slot, config, &how.server_name)?;
        let deadline = Instant::now() + how.timeout;
        loop {
            match session.handshake(&mut self.port) {
                Ok(()) => return Ok(Stream::tls(session)),
                Err(Errno::AGAIN) if Instant::now() < deadline => self.wait(Some(deadline)),
                Err(Errno::AGAIN) => return Err(format!("TLS with {}: no answer in time", how.server_name)),
                Err(fault) => return Err(format!("TLS with {}: {}", how.server_name, session.why(fault))),
            }
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
    pub fn control_write(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            self.pump();
            if let Some(fault) = self.port.fault(layout::CONTROL) {
                return Err(fault);
            }
            let written = self.port.write(layout::CONTROL, bytes);
            bytes = &bytes[written..];
            if written == 0 {
                self.wait_for_room(layout::CONTROL, None);
            }
        }
        self.port.tell_host();
        Ok(())
    }
}

fn roots(how: &ConnectTls) -> Result<RootCertStore, String> {
    let mut store = if how.system_roots {
        tls::system_roots()
    } else {
        RootCertStore::empty()
    };
    for root in &how.roots {
        store
            .add(CertificateDer::from(root.as_slice()))
            .map_err(|fault| format!("root certificate: {fault}"))?;
    }
    Ok(store)
}
