//! The Keep's key: made here, used here, never told to anyone.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// An ECDSA P-256 key pair.
pub struct Identity {
    key: KeyPair,
}

impl Identity {
    /// A new key.
    pub fn generate() -> Result<Self, String> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|fault| format!("key: {fault}"))?;
        Ok(Self { key })
    }

    /// The public key as DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    pub fn public_key(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// A PKCS#10 request in the form that Enarx's Steward takes: empty subject, and one extensionRequest attribute
    /// with the given extensions (object identifier and content), none critical.
    pub fn certificate_request(&self, extensions: &[(Vec<u64>, Vec<u8>)]) -> Result<Vec<u8>, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = extensions
            .iter()
            .map(|(oid, content)| CustomExtension::from_oid_content(oid, content.clone()))
            .collect();
        let request = params
            .serialize_request(&self.key)
            .map_err(|fault| format!("certificate request: {fault}"))?;
        Ok(request.der().to_vec())
    }

    /// The private key for rustls.
    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}
