//! Keys that lie: [`Lie::NonceReplay`](crate::lie::Lie::NonceReplay).

use tdisp::crypto::{CryptoError, HashAlg, SignAlg, Signable, Signer};

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

    fn signs_with(&self, hash: HashAlg) -> bool {
        self.0.signs_with(hash)
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        let mut message = what.message.to_vec();
        let prefixed = message
            .get(..CONTEXT_END)
            .is_some_and(|prefix| prefix.ends_with(MEASUREMENTS));
        if prefixed && let Some(hash) = message.get_mut(CONTEXT_END..) {
            hash.fill(0x5a);
        }
        self.0.sign(&Signable {
            message: message.into(),
            ..what.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows what it is asked to sign.
    struct Shows;

    impl Signer for Shows {
        fn algorithm(&self) -> SignAlg {
            SignAlg::EcdsaP384
        }
        fn signs_with(&self, _: HashAlg) -> bool {
            true
        }
        fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
            Ok(what.message.to_vec())
        }
    }

    fn message(context: &[u8]) -> Vec<u8> {
        let mut message = vec![0; CONTEXT_END - context.len()];
        message.extend(context);
        message.extend([7; 48]);
        message
    }

    fn replayed(message: &[u8]) -> Vec<u8> {
        let what = Signable::plain(HashAlg::Sha384, message);
        Replaying(Shows).sign(&what).unwrap()
    }

    #[test]
    fn measurements_alone_are_signed_over_another_transcript() {
        for (context, honest) in [
            (MEASUREMENTS, false),
            (b"responder-challenge_auth signing", true),
            (b"responder-key_exchange_rsp signing", true),
        ] {
            let message = message(context);
            let signed = replayed(&message);
            assert_eq!(signed == message, honest);
            assert_eq!(signed[..CONTEXT_END], message[..CONTEXT_END]);
        }
        assert_eq!(replayed(b"short"), b"short");
    }
}
