//! Whom a socket believes: roots, and the names that a peer's certificate may bear.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

/// Whom a socket believes.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whether the compiled-in roots count.
    pub system_roots: bool,
    /// More roots, as DER certificates.
    pub roots: Vec<Vec<u8>>,
    /// Names of which the peer's certificate must bear one, as URI where they have a `://` and else as DNS name.
    /// None: any certificate under the roots will do.
    pub peers: Vec<String>,
}

/// Whether a listening socket asks its clients for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// No.
    None,
    /// Yes, and one that is shown must be good; a client that shows none is served too.
    Request,
    /// Yes, and none is served without.
    Require,
}

impl Trust {
    fn store(&self) -> Result<Arc<RootCertStore>, String> {
        let mut store = RootCertStore::empty();
        if self.system_roots {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for root in &self.roots {
            store
                .add(CertificateDer::from(root.as_slice()))
                .map_err(|fault| format!("root certificate: {fault}"))?;
        }
        Ok(Arc::new(store))
    }

    /// How a connecting socket looks at its server: chain, name, and then `peers`.
    pub(super) fn of_servers(&self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let chain = WebPkiServerVerifier::builder_with_provider(self.store()?, provider)
            .build()
            .map_err(|fault| format!("roots: {fault}"))?;
        Ok(Arc::new(NamedServer {
            chain,
            peers: self.peers.clone(),
        }))
    }

    /// How a listening socket looks at its clients: chain, and then `peers`.
    pub(super) fn of_clients(
        &self,
        auth: ClientAuth,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        if auth == ClientAuth::None {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let builder = WebPkiClientVerifier::builder_with_provider(self.store()?, provider);
        let builder = match auth {
            ClientAuth::Request => builder.allow_unauthenticated(),
            _ => builder,
        };
        let chain = builder.build().map_err(|fault| format!("roots: {fault}"))?;
        Ok(Arc::new(NamedClient {
            chain,
            peers: self.peers.clone(),
        }))
    }
}

/// Whether a certificate bears one of the names, or no name is asked for.
fn require_name(certificate: &CertificateDer<'_>, peers: &[String]) -> Result<(), Error> {
    if peers.is_empty() {
        return Ok(());
    }
    let certificate =
        EndEntityCert::try_from(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let is_named = certificate
        .valid_uri_names()
        .any(|name| peers.iter().any(|peer| peer == name))
        || certificate
            .valid_dns_names()
            .any(|name| peers.iter().any(|peer| peer.eq_ignore_ascii_case(name)));
    if is_named {
        Ok(())
    } else {
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }
}

#[derive(Debug)]
struct NamedServer {
    chain: Arc<WebPkiServerVerifier>,
    peers: Vec<String>,
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .chain
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        require_name(end_entity, &self.peers)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct NamedClient {
    chain: Arc<dyn ClientCertVerifier>,
    peers: Vec<String>,
}

impl ClientCertVerifier for NamedClient {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        require_name(end_entity, &self.peers)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
