//! The Keep's key: made here, used here, never told to anyone.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroize;

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

    /// The key with its chain (leaf first), for rustls, if they belong together. The copy that it is handed over in is
    /// overwritten.
    pub(super) fn certified(&self, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, rustls::Error> {
        let mut copy = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let signing = any_ecdsa_type(&copy);
        copy.zeroize();
        let certified = CertifiedKey::new(chain, signing?);
        certified.keys_match()?;
        Ok(certified)
    }
}

/// What rustls and the library of the key hold is overwritten by them.
impl Drop for Identity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read_to_string};
    use std::os::unix::fs::FileExt;

    use super::*;

    /// What the copies of the secret that the test itself needs are hidden by.
    const MASK: u8 = 0xa5;

    /// How often the bytes, given masked, are in this process's writable memory, forwards or backwards.
    fn found_in_memory(masked: &[u8]) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let maps = read_to_string("/proc/self/maps").unwrap();
        let ranges = maps.lines().filter(|line| line.contains(" rw-p ")).map(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            address(start)..address(end)
        });
        let is_masked = |window: &[u8]| {
            let forwards = window.iter().zip(masked).all(|(one, other)| one ^ MASK == *other);
            forwards || window.iter().rev().zip(masked).all(|(one, other)| one ^ MASK == *other)
        };
        ranges
            .map(|range| {
                let mut content = vec![0; (range.end - range.start) as usize];
                let read = memory.read_at(&mut content, range.start).unwrap_or(0);
                let found = content[..read]
                    .windows(masked.len())
                    .filter(|window| is_masked(window))
                    .count();
                content.zeroize();
                found
            })
            .sum()
    }

    #[test]
    fn a_key_that_was_dropped_is_in_memory_no_longer() {
        let identity = Identity::generate().unwrap();
        let mut der = identity.key.serialize_der();
        // RFC 5915: a version of 1, then the private key as 32 bytes.
        let at = der.windows(5).position(|bytes| bytes == [2, 1, 1, 4, 32]).unwrap() + 5;
        let masked: Vec<u8> = der[at..at + 32].iter().map(|byte| byte ^ MASK).collect();
        der.zeroize();
        let certified = identity.certified(Vec::new());
        assert!(certified.is_err(), "a key without a certificate");
        assert!(found_in_memory(&masked) > 0);
        drop(identity);
        assert_eq!(found_in_memory(&masked), 0);
    }
}
