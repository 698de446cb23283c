//! What is known of a connection: which algorithms it chose, and so how long fields are (DSP0274 §10).
//!
//! Sizes are known of more algorithms than can be computed with, so that messages can be shown whose signatures cannot
//! be checked.

use tdisp::{
    crypto::{AeadAlg, HashAlg, SignAlg},
    spdm::{algorithms, msg::Version},
};

use super::names;

/// What messages of a connection depend on, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The version that was chosen.
    pub version: Version,
    /// Whether ALGORITHMS was seen: before, sizes are not known.
    pub negotiated: bool,
    /// BaseAsymSel.
    pub asym: u32,
    /// PqcAsymSel (1.4).
    pub pqc: u32,
    /// ReqBaseAsymAlg chosen.
    pub requester_asym: u32,
    /// ReqPqcAsymAlg chosen (1.4).
    pub requester_pqc: u32,
    /// BaseHashSel.
    pub hash: u32,
    /// DHE chosen.
    pub dhe: u32,
    /// KEM chosen (1.4).
    pub kem: u32,
    /// AEAD chosen.
    pub aead: u32,
    /// OtherParamsSelection.
    pub other_params: u8,
    /// Capability flags of the requester.
    pub requester: u32,
    /// Capability flags of the responder.
    pub responder: u32,
    /// Whether the responder uses several keys (1.3).
    pub multi_key: bool,
    /// Whether the requester does.
    pub requester_multi_key: bool,
    /// Whether the request that is being answered asked for a measurement summary.
    pub summary_asked: bool,
    /// Whether the request that is being answered asked for a signature.
    pub signature_asked: bool,
    /// Whether GET_CAPABILITIES asked for the supported algorithms.
    pub algorithms_asked: bool,
}

/// HANDSHAKE_IN_THE_CLEAR_CAP, which both sides must have.
const CLEAR: u32 = 1 << 15;
const ENCRYPT: u32 = 1 << 6;

impl Known {
    /// A connection of which nothing was seen but its version.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            negotiated: false,
            asym: 0,
            pqc: 0,
            requester_asym: 0,
            requester_pqc: 0,
            hash: 0,
            dhe: 0,
            kem: 0,
            aead: 0,
            other_params: 0,
            requester: 0,
            responder: 0,
            multi_key: false,
            requester_multi_key: false,
            summary_asked: false,
            signature_asked: false,
            algorithms_asked: false,
        }
    }

    /// The same connection seen by encapsulated messages: the sides have changed places.
    pub fn encapsulated(&self) -> Self {
        Self {
            asym: self.requester_asym,
            pqc: self.requester_pqc,
            requester_asym: self.asym,
            requester_pqc: self.pqc,
            requester: self.responder,
            responder: self.requester,
            multi_key: self.requester_multi_key,
            requester_multi_key: self.multi_key,
            ..self.clone()
        }
    }

    /// Whether FINISH goes in clear, and KEY_EXCHANGE_RSP has no verify data.
    pub fn in_clear(&self) -> bool {
        self.requester & self.responder & CLEAR != 0
    }

    /// Whether records are encrypted, not only authenticated.
    pub fn encrypts(&self) -> bool {
        self.requester & self.responder & ENCRYPT != 0
    }

    /// Whether a session on a pre-shared key begins without PSK_FINISH, because the responder has no context.
    pub fn psk_without_finish(&self) -> bool {
        self.responder >> 10 & 3 == 1
    }

    /// Bytes of a digest.
    pub fn hash_size(&self) -> usize {
        sized(self.hash, &[32, 48, 64, 32, 48, 64, 32])
    }

    /// Bytes of the responder's signature.
    pub fn signature_size(&self) -> usize {
        signature_size(self.asym, self.pqc)
    }

    /// Bytes of the requester's signature.
    pub fn requester_signature_size(&self) -> usize {
        signature_size(self.requester_asym, self.requester_pqc)
    }

    /// Bytes of the exchange data in KEY_EXCHANGE, or else in its response: of a key encapsulation they differ.
    pub fn exchange_size(&self, response: bool) -> usize {
        if self.kem != 0 {
            let keys = [800, 1184, 1568];
            let ciphertexts = [768, 1088, 1568];
            return sized(self.kem, if response { &ciphertexts } else { &keys });
        }
        sized(self.dhe, &[256, 384, 512, 64, 96, 132, 64])
    }

    /// The hash, if it can be computed; its name otherwise.
    pub fn hash_alg(&self) -> Result<HashAlg, String> {
        algorithms::hash_from_bit(self.hash).ok_or_else(|| names::bits(self.hash.into(), names::HASH))
    }

    /// The responder's signature algorithm, if it can be computed; its name otherwise.
    pub fn sign_alg(&self) -> Result<SignAlg, String> {
        let known = match self.pqc {
            0 => algorithms::sign_from_bit(self.asym),
            pqc => algorithms::pqc_sign_from_bit(pqc),
        };
        known.ok_or_else(|| self.sign_name())
    }

    /// The name of the responder's signature algorithm.
    pub fn sign_name(&self) -> String {
        match self.pqc {
            0 => names::bits(self.asym.into(), names::ASYM),
            pqc => names::bits(pqc.into(), names::PQC_ASYM),
        }
    }

    /// The cipher, if it can be computed; its name otherwise.
    pub fn aead_alg(&self) -> Result<AeadAlg, String> {
        match self.aead {
            1 => Ok(AeadAlg::Aes128Gcm),
            2 => Ok(AeadAlg::Aes256Gcm),
            4 => Ok(AeadAlg::ChaCha20Poly1305),
            other => Err(names::bits(other.into(), names::AEAD)),
        }
    }

    /// The context that the codecs want.
    pub fn context(&self) -> tdisp::spdm::msg::Context {
        tdisp::spdm::msg::Context {
            hash_size: self.hash_size(),
            signature_size: self.signature_size(),
            requester_signature_size: self.requester_signature_size(),
            exchange_request_size: self.exchange_size(false),
            exchange_response_size: self.exchange_size(true),
            handshake_in_clear: self.in_clear(),
            multi_key: self.multi_key,
            requester_multi_key: self.requester_multi_key,
            summary_asked: self.summary_asked,
            signature_asked: self.signature_asked,
            algorithms_asked: self.algorithms_asked,
            ..tdisp::spdm::msg::Context::new(self.version)
        }
    }
}

fn signature_size(asym: u32, pqc: u32) -> usize {
    match pqc {
        0 => sized(asym, &[256, 256, 384, 384, 64, 512, 512, 96, 132, 64, 64, 114]),
        _ => {
            let small = [
                7856, 7856, 17088, 17088, 16224, 16224, 35664, 35664, 29792, 29792, 49856, 49856,
            ];
            let mut sizes = vec![2420, 3309, 4627];
            sizes.extend(small);
            sized(pqc, &sizes)
        }
    }
}

/// The size that belongs to the one bit of a mask; 0 for none, or more than one.
fn sized(mask: u32, sizes: &[usize]) -> usize {
    match mask.is_power_of_two() {
        true => sizes.get(mask.trailing_zeros() as usize).copied().unwrap_or(0),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_one_bit_and_from_nothing_else() {
        let mut known = Known::new(Version::V1_4);
        assert_eq!((known.hash_size(), known.signature_size()), (0, 0));
        (known.hash, known.asym, known.requester_asym, known.dhe) = (4, 1 << 8, 1 << 6, 1 << 4);
        assert_eq!((known.hash_size(), known.signature_size()), (64, 132));
        assert_eq!(
            (known.requester_signature_size(), known.exchange_size(true)),
            (512, 96)
        );
        assert_eq!(known.encapsulated().signature_size(), 512);
        (known.pqc, known.kem) = (1 << 1, 1 << 1);
        assert_eq!(known.signature_size(), 3309);
        assert_eq!(
            (known.exchange_size(false), known.exchange_size(true)),
            (1184, 1088)
        );
        known.hash = 3;
        assert_eq!(known.hash_size(), 0);
    }
}
