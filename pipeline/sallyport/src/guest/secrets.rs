//! Secrets that a Steward releases to this Keep, sealed to a key that is made here and that evidence commits to (HPKE,
//! RFC 9180, base mode, single shot).
//!
//! Plaintext is only ever held here, until it is where the workload finds it; what held it is overwritten then.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey};
use zeroize::Zeroizing;

use super::Guest;
use crate::fs::Access;

/// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
const SUITE: &dyn Hpke = DH_KEM_X25519_HKDF_SHA256_AES_256;
/// Bytes of the encapsulated key, which a sealed secret begins with.
const ENCAPSULATED: usize = 32;

/// See the module.
#[derive(Default)]
pub struct Secrets {
    key: Option<HpkePrivateKey>,
    opened: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Secrets {
    /// Make a key that secrets are sealed to; answers the public key, 32 bytes. One that was made before is forgotten.
    pub fn generate(&mut self) -> Result<Vec<u8>, String> {
        let (public, private) = SUITE.generate_key_pair().map_err(|fault| format!("key: {fault}"))?;
        self.key = Some(private);
        Ok(public.0)
    }

    /// Open a secret that was sealed to the key with the same `info`, and keep it under `name`.
    pub fn open(&mut self, name: &str, info: &[u8], sealed: &[u8]) -> Result<(), String> {
        let key = self.key.as_ref().ok_or("no key was made for secrets")?;
        let (encapsulated, ciphertext) = sealed
            .split_at_checked(ENCAPSULATED)
            .ok_or_else(|| format!("secret {name:?}: it is too short"))?;
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        let opened = SUITE
            .open(&encapsulated, info, b"", ciphertext, key)
            .map_err(|_| format!("secret {name:?}: it was not sealed for this Keep, this name and this challenge"))?;
        self.opened.insert(name.to_owned(), Zeroizing::new(opened));
        Ok(())
    }

    /// Overwrite the key and every secret.
    pub fn forget(&mut self) {
        self.key = None;
        self.opened.clear();
    }

    fn get(&self, name: &str) -> Result<&[u8], String> {
        let secret = self
            .opened
            .get(name)
            .ok_or_else(|| format!("secret {name:?} was not released"))?;
        Ok(secret)
    }
}

impl Guest {
    /// The secrets that were released.
    pub fn secrets(&mut self) -> &mut Secrets {
        &mut self.secrets
    }

    /// Put a secret into the private file system, for reading alone.
    pub fn put_secret(&mut self, name: &str, path: &[u8]) -> Result<(), String> {
        let content: Arc<[u8]> = Arc::from(self.secrets.get(name)?);
        self.tree
            .insert_file(path, content, Access::ReadOnly, 0)
            .map_err(|fault| format!("secret {name:?} at {}: {fault}", String::from_utf8_lossy(path)))
    }

    /// Put a secret into the environment, as the last of the variables. After the program was set.
    pub fn export_secret(&mut self, name: &str, variable: &str) -> Result<(), String> {
        let secret = self.secrets.get(name)?;
        if secret.contains(&0) {
            return Err(format!(
                "secret {name:?} has a zero byte, which {variable} in an environment cannot"
            ));
        }
        self.env.push([variable.as_bytes(), b"=", secret].concat());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(public: &[u8], info: &[u8], secret: &[u8]) -> Vec<u8> {
        let public = rustls::crypto::hpke::HpkePublicKey(public.to_vec());
        let (encapsulated, ciphertext) = SUITE.seal(info, b"", secret, &public).unwrap();
        [encapsulated.0, ciphertext].concat()
    }

    #[test]
    fn what_was_sealed_for_it_is_opened() {
        let mut secrets = Secrets::default();
        let public = secrets.generate().unwrap();
        secrets
            .open("one", b"info", &sealed(&public, b"info", b"secret"))
            .unwrap();
        assert_eq!(secrets.get("one").unwrap(), b"secret");
        secrets.forget();
        assert!(secrets.get("one").is_err());
    }

    #[test]
    fn what_was_sealed_otherwise_is_not() {
        let mut secrets = Secrets::default();
        assert!(secrets.open("one", b"info", &[0; 64]).is_err(), "no key yet");
        let before = secrets.generate().unwrap();
        let public = secrets.generate().unwrap();
        for (defect, sealed) in [
            ("other info", sealed(&public, b"other", b"secret")),
            ("an earlier key", sealed(&before, b"info", b"secret")),
            ("short", vec![0; 31]),
            ("empty", vec![]),
            ("zeros", vec![0; 64]),
        ] {
            assert!(secrets.open("one", b"info", &sealed).is_err(), "{defect}");
        }
        assert!(secrets.get("one").is_err());
    }
}
