//! Proves that a number lies in a range without telling the number: a Bulletproof, made and verified in the Keep.

use std::process::exit;

use bulletproofs::{BulletproofGens, PedersenGens, ProofError, RangeProof};
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::scalar::Scalar;
use merlin::Transcript;
use rand::rngs::OsRng;

/// The range: 0 to 2^BITS - 1. Bulletproofs know 8, 16, 32 and 64.
const BITS: usize = 32;

/// What prover and verifier must agree on.
struct Rules {
    commitments: PedersenGens,
    proofs: BulletproofGens,
}

impl Rules {
    fn new() -> Self {
        Self { commitments: PedersenGens::default(), proofs: BulletproofGens::new(BITS, 1) }
    }

    /// Binds a proof to what it is for: one that was made for something else does not verify here.
    fn transcript() -> Transcript {
        Transcript::new(b"range-proof of the template of enarx-deploy")
    }

    /// A commitment, which fixes the number and hides it, and the proof.
    fn prove(&self, number: u64) -> Result<(CompressedRistretto, RangeProof), ProofError> {
        let blinding = Scalar::random(&mut OsRng); // without it, whoever guesses the number could tell
        let transcript = &mut Self::transcript();
        let (proof, commitment) =
            RangeProof::prove_single(&self.proofs, &self.commitments, transcript, number, &blinding, BITS)?;
        Ok((commitment, proof))
    }

    /// From commitment and proof alone.
    fn verify(&self, commitment: &CompressedRistretto, proof: &[u8]) -> Result<(), ProofError> {
        let proof = RangeProof::from_bytes(proof)?;
        proof.verify_single(&self.proofs, &self.commitments, &mut Self::transcript(), commitment, BITS)
    }
}

fn said(verdict: Result<(), ProofError>) -> String {
    match verdict {
        Ok(()) => format!("verified: the number is from 0 to {}", (1u64 << BITS) - 1),
        Err(error) => format!("refused: {error}"),
    }
}

fn main() -> Result<(), ProofError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = match words.as_slice() {
        [word] => word.parse::<u64>().ok(),
        _ => None,
    };
    let number = number.unwrap_or_else(|| {
        eprintln!("usage: range-proof NUMBER, which is the secret");
        exit(2);
    });

    let rules = Rules::new();
    let (commitment, proof) = rules.prove(number)?;
    let proof = proof.to_bytes();
    let verdict = rules.verify(&commitment, &proof);
    let (another, _) = rules.prove(number)?;
    println!("commitment      {}", hexadecimal(commitment.as_bytes()));
    println!("proof           {} bytes", proof.len());
    println!("this proof      {}", said(verdict.clone()));
    println!("for another one {}", said(rules.verify(&another, &proof)));
    exit(if verdict.is_ok() { 0 } else { 1 });
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
