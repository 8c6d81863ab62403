//! What waits to be accepted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::server::ServerConfig;

use super::descriptor::Stream;
use super::tls::Session;

/// A listening entry of the manifest.
pub struct Listener {
    /// How to answer, and how long a handshake may take; `None` for plain TCP.
    pub tls: Option<(Arc<ServerConfig>, Duration)>,
    /// Connections that are ready: for TLS, those whose handshake is done.
    pub accepted: VecDeque<Stream>,
}

/// A connection that is still in its handshake.
pub struct Handshake {
    /// The session.
    pub session: Session,
    /// The listener's entry.
    pub file: u32,
    /// When it is given up.
    pub deadline: Instant,
}
