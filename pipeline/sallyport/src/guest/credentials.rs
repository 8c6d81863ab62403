//! What the Keep shows of itself in a handshake, and how another certificate takes its place.
//!
//! Every handshake asks here, so that a certificate that is installed counts from the next handshake on, and
//! connections that are up go on with what they were made with.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::chain;
use super::identity::Identity;

/// A handle to the one key and certificate of a Keep.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// A key that has no certificate yet.
    candidate: Option<Identity>,
    /// What is shown.
    current: Option<Arc<CertifiedKey>>,
    /// The root (DER) of the first certificate; later ones must lead to it too.
    root: Option<Vec<u8>>,
    /// The key that signed the certificate.
    issuer: Option<SubjectPublicKeyInfoDer<'static>>,
}

impl Credentials {
    /// Make a key that waits for its certificate. Answers the public key, as DER SubjectPublicKeyInfo. A key that
    /// was waiting is dropped, and one that has its certificate stays in use.
    pub fn generate(&self) -> Result<Vec<u8>, String> {
        let identity = Identity::generate()?;
        let public = identity.public_key();
        self.state().candidate = Some(identity);
        Ok(public)
    }

    /// A PKCS#10 request for the key that waits; see [`Identity::certificate_request`].
    pub fn certificate_request(&self, extensions: &[(Vec<u64>, Vec<u8>)]) -> Result<Vec<u8>, String> {
        let state = self.state();
        let candidate = state.candidate.as_ref().ok_or("no key was made")?;
        candidate.certificate_request(extensions)
    }

    /// Show this chain (DER, leaf first) from now on, if it is of the key that waits, leads to `root` (DER), and the
    /// root is that of the first certificate. Where it is refused, what was shown before still is.
    pub fn install(&self, chain: Vec<Vec<u8>>, root: &[u8]) -> Result<(), String> {
        let mut state = self.state();
        if state.root.as_ref().is_some_and(|first| first != root) {
            return Err("the certificate is of another root than the first one was".into());
        }
        let candidate = state.candidate.as_ref().ok_or("no key waits for a certificate")?;
        let issuer = chain::check(&chain, root)?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let certified = candidate
            .certified(chain)
            .map_err(|fault| format!("certificate: {fault}"))?;
        state.current = Some(Arc::new(certified));
        state.root = Some(root.to_vec());
        state.issuer = Some(issuer);
        state.candidate = None;
        Ok(())
    }

    /// Whether the issuer of the certificate that is shown signed `message` (ECDSA with SHA-256 on P-256, in DER).
    pub fn is_by_issuer(&self, message: &[u8], signature: &[u8]) -> bool {
        let issuer = self.state().issuer.clone();
        issuer.is_some_and(|issuer| chain::is_signed_by(&issuer, message, signature))
    }

    /// Let go of the keys; what holds one overwrites it with zeroes then.
    pub fn forget(&self) {
        let mut state = self.state();
        state.candidate = None;
        state.current = None;
    }

    /// The root of the certificate (DER), if there is one.
    pub fn root(&self) -> Option<Vec<u8>> {
        self.state().root.clone()
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.state().current.clone()
    }

    /// A panic with the lock in hand has left the state whole: each change is one assignment after all checks.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says nothing of the key.
impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials")
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current()
    }

    fn has_certs(&self) -> bool {
        self.current().is_some()
    }
}
