//! Whether a certificate chain is one to serve with. The host relays it, so it is checked before it is used.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity, anchor_from_trusted_cert};

/// The chain (DER, leaf first) must lead to `root`, be valid now, and be for TLS servers (RFC 5280, section 6).
/// Answers the key that signed the leaf.
pub fn check(chain: &[Vec<u8>], root: &[u8]) -> Result<SubjectPublicKeyInfoDer<'static>, String> {
    let refused = |fault: webpki::Error| format!("the certificate chain is refused: {fault}");
    let (leaf, rest) = chain.split_first().ok_or("the certificate chain is empty")?;
    let root = CertificateDer::from(root);
    let anchor = anchor_from_trusted_cert(&root).map_err(refused)?;
    let intermediates: Vec<_> = rest
        .iter()
        .map(|certificate| CertificateDer::from(certificate.as_slice()))
        .collect();
    let leaf = CertificateDer::from(leaf.as_slice());
    let leaf = EndEntityCert::try_from(&leaf).map_err(refused)?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let anchors = [anchor];
    let path = leaf
        .verify_for_usage(
            algorithms,
            &anchors,
            &intermediates,
            UnixTime::now(),
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(refused)?;
    Ok(path.issuer_spki().into_owned())
}

/// Whether `signature` (ECDSA with SHA-256 on P-256, in DER) over `message` is by this key.
pub fn is_signed_by(issuer: &SubjectPublicKeyInfoDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    RawPublicKeyEntity::try_from(issuer)
        .and_then(|key| key.verify_signature(ECDSA_P256_SHA256, message, signature))
        .is_ok()
}
