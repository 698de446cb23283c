//! What the agent verifies with.

use tdisp::crypto::Ring;

/// `ring`, and beside it what verifies ML-DSA.
#[cfg(feature = "post-quantum")]
pub const CRYPTOGRAPHY: tdisp::crypto::PostQuantum<Ring> = tdisp::crypto::PostQuantum(Ring);

/// `ring`, which verifies no ML-DSA: a device that signs with it is refused.
#[cfg(not(feature = "post-quantum"))]
pub const CRYPTOGRAPHY: Ring = Ring;

#[cfg(test)]
mod tests {
    use super::CRYPTOGRAPHY;
    use tdisp::crypto::{Ability, HashAlg, Provider, SignAlg};

    #[test]
    fn an_agent_verifies_ml_dsa_only_if_it_is_built_for_it() {
        for sign in SignAlg::ALL {
            let verifies = HashAlg::ALL
                .iter()
                .any(|hash| CRYPTOGRAPHY.supports(Ability::Verify(sign, *hash)));
            assert_eq!(
                verifies,
                !sign.is_post_quantum() || cfg!(feature = "post-quantum"),
                "{sign}"
            );
        }
    }
}
