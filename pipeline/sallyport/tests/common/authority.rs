//! A certificate authority, as a Steward is one, and servers with its certificates.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData, SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, StreamOwned};

/// The extension in which a Steward shows the evidence.
const ID_PE_CMW: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 35];

/// A P-256 key by its SubjectPublicKeyInfo, whose last 65 bytes are the point.
pub struct PublicKey(pub Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0[self.0.len() - 65..]
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A certificate authority, as a Steward is one.
pub struct Authority {
    pub root: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        Self::with_key().0
    }

    /// The same, and its key.
    pub fn with_key() -> (Self, KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let copy = KeyPair::try_from(key.serialize_der()).unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        (Self { root, issuer }, copy)
    }

    /// A certificate for a DNS name and a URI, to serve and to ask with.
    pub fn certify(&self, key: &impl PublicKeyData, name: &str, uri: &str) -> Vec<u8> {
        self.certify_with_evidence(key, name, uri, 0)
    }

    /// The same, with so many bytes of evidence in it.
    pub fn certify_with_evidence(&self, key: &impl PublicKeyData, name: &str, uri: &str, evidence: usize) -> Vec<u8> {
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.custom_extensions = vec![CustomExtension::from_oid_content(ID_PE_CMW, vec![0x5a; evidence])];
        leaf.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// A certificate to ask with that was changed before it was signed.
    pub fn certify_client(&self, key: &KeyPair, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut leaf = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        leaf.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut leaf);
        leaf.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// How a client trusts this root, showing a certificate for a package if it has one.
    pub fn client(&self, package: Option<&str>) -> ClientConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = package.map(|package| self.certify(&key, "client.test", package));
        self.client_with(certificate.map(|certificate| (certificate, key)))
    }

    /// The same, showing this certificate.
    pub fn client_with(&self, shown: Option<(Vec<u8>, KeyPair)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some((certificate, key)) = shown else {
            return builder.with_no_client_auth();
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        builder.with_client_auth_cert(vec![certificate.into()], key).unwrap()
    }
}

/// A TLS server of an authority on a socket; answers what its client ended with.
pub fn answer_as(authority: &Authority, name: &str, package: &str, alpn: &[&str]) -> (TcpListener, JoinHandle<()>) {
    let key = KeyPair::generate().unwrap();
    let chain = vec![authority.certify(&key, name, package).into()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let (socket, _) = accepting.accept().unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        let _ = stream.write_all(b"hello");
        let _ = stream.flush();
        let _ = stream.read(&mut [0; 1]);
    });
    (listener, thread)
}
