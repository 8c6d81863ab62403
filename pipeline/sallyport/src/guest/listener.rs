//! What waits to be accepted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::descriptor::Stream;
use super::tls::Session;

/// A listening entry of the manifest.
pub struct Listener {
    /// How long a TLS handshake may take; `None` for plain TCP.
    pub handshake_timeout: Option<Duration>,
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
