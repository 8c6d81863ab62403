//! Whether a certificate chain is one to serve with. The host relays it, so it is checked before it is used.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The chain (DER, leaf first) must lead to `root`, be valid now, and be for TLS servers (RFC 5280, section 6).
pub fn check(chain: &[Vec<u8>], root: &[u8]) -> Result<(), String> {
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
    leaf.verify_for_usage(
        algorithms,
        &[anchor],
        &intermediates,
        UnixTime::now(),
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(refused)?;
    Ok(())
}
