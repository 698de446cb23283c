//! Keys that lie: [`Lie::NonceReplay`](crate::lie::Lie::NonceReplay).

use tdisp::crypto::{CryptoError, SignAlg, Signer};

/// What SPDM ≥ 1.2 puts before a transcript's hash when measurements are signed (DSP0274 §15).
const MEASUREMENTS: &[u8] = b"responder-measurements signing";
/// Where that ends, counted from the start of the signed message.
const CONTEXT_END: usize = 100;

/// Signs everything honestly but measurements: for those the signature is of another exchange, in which another nonce
/// was asked for. It is a good signature by the right key over the wrong bytes, as a replayed one is.
pub struct Replaying<S>(pub S);

impl<S: Signer> Signer for Replaying<S> {
    fn algorithm(&self) -> SignAlg {
        self.0.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut message = message.to_vec();
        let prefixed = message
            .get(..CONTEXT_END)
            .is_some_and(|prefix| prefix.ends_with(MEASUREMENTS));
        if prefixed && let Some(hash) = message.get_mut(CONTEXT_END..) {
            hash.fill(0x5a);
        }
        self.0.sign(&message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows what it is asked to sign.
    struct Shows;

    impl Signer for Shows {
        fn algorithm(&self) -> SignAlg {
            SignAlg::EcdsaP384Sha384
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
            Ok(message.to_vec())
        }
    }

    fn message(context: &[u8]) -> Vec<u8> {
        let mut message = vec![0; CONTEXT_END - context.len()];
        message.extend(context);
        message.extend([7; 48]);
        message
    }

    #[test]
    fn measurements_alone_are_signed_over_another_transcript() {
        for (context, honest) in [
            (MEASUREMENTS, false),
            (b"responder-challenge_auth signing", true),
            (b"responder-key_exchange_rsp signing", true),
        ] {
            let message = message(context);
            let signed = Replaying(Shows).sign(&message).unwrap();
            assert_eq!(signed == message, honest);
            assert_eq!(signed[..CONTEXT_END], message[..CONTEXT_END]);
        }
        assert_eq!(Replaying(Shows).sign(b"short").unwrap(), b"short");
    }
}
