//! The cryptography of a requester, straight on `ring`: nothing here is shared with what is judged.

use ring::{
    aead::{self, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey},
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
    signature,
};

/// The algorithms that a connection is made with.
#[derive(Clone, Copy)]
pub struct Suite {
    /// BaseAsymAlgo, BaseHashAlgo, DHE and AEAD bits.
    pub bits: (u32, u32, u16, u16),
    pub digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    verify: &'static dyn signature::VerificationAlgorithm,
    curve: &'static agreement::Algorithm,
    aead: &'static aead::Algorithm,
}

/// P-384, SHA-384, AES-256-GCM.
pub static P384: Suite = Suite {
    bits: (1 << 7, 1 << 1, 1 << 4, 1 << 1),
    digest: &digest::SHA384,
    hmac: hmac::HMAC_SHA384,
    verify: &signature::ECDSA_P384_SHA384_FIXED,
    curve: &agreement::ECDH_P384,
    aead: &aead::AES_256_GCM,
};

impl Suite {
    pub fn hash_size(&self) -> usize {
        self.digest.output_len()
    }

    pub fn signature_size(&self) -> usize {
        self.hash_size() * 2
    }

    /// X and Y.
    pub fn point_size(&self) -> usize {
        self.hash_size() * 2
    }

    pub fn hash(&self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.digest, bytes).as_ref().to_vec()
    }

    pub fn hmac(&self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac, key), bytes)
            .as_ref()
            .to_vec()
    }

    /// HKDF-Expand of one block at most.
    pub fn expand(&self, secret: &[u8], version: u8, label: &str, context: &[u8], size: usize) -> Vec<u8> {
        let mut info = (size as u16).to_le_bytes().to_vec();
        info.extend_from_slice(format!("spdm1.{} ", version & 0xf).as_bytes());
        info.extend_from_slice(label.as_bytes());
        info.extend_from_slice(context);
        info.push(1);
        let mut out = self.hmac(secret, &info);
        out.truncate(size);
        out
    }

    /// Whether `signature` by `key` is over a transcript, as the version says that it is signed.
    pub fn verifies(
        &self,
        key: &[u8],
        version: u8,
        context: &str,
        transcript: &[u8],
        signature: &[u8],
    ) -> bool {
        let message = match version {
            0x10 | 0x11 => transcript.to_vec(),
            _ => {
                let mut message = format!("dmtf-spdm-v1.{}.*", version & 0xf).repeat(4).into_bytes();
                message.resize(100 - context.len(), 0);
                message.extend_from_slice(context.as_bytes());
                message.extend_from_slice(&self.hash(transcript));
                message
            }
        };
        signature::UnparsedPublicKey::new(self.verify, key)
            .verify(&message, signature)
            .is_ok()
    }

    /// A fresh key for the exchange: it, and X‖Y.
    pub fn ephemeral(&self) -> (EphemeralPrivateKey, Vec<u8>) {
        let key = EphemeralPrivateKey::generate(self.curve, &SystemRandom::new()).unwrap();
        let public = key.compute_public_key().unwrap();
        (key, public.as_ref()[1..].to_vec())
    }

    /// The X coordinate that both ends share.
    pub fn agree(&self, own: EphemeralPrivateKey, theirs: &[u8]) -> Vec<u8> {
        let theirs = UnparsedPublicKey::new(self.curve, [&[4], theirs].concat());
        agreement::agree_ephemeral(own, &theirs, <[u8]>::to_vec).expect("a point on the curve")
    }
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

/// One direction of a session.
pub struct Direction {
    suite: &'static Suite,
    version: u8,
    secret: Vec<u8>,
    key: LessSafeKey,
    iv: [u8; 12],
    pub sequence: u64,
}

impl Direction {
    pub fn new(suite: &'static Suite, version: u8, secret: Vec<u8>) -> Self {
        let key = suite.expand(&secret, version, "key", &[], suite.aead.key_len());
        let iv = suite.expand(&secret, version, "iv", &[], 12);
        Self {
            key: LessSafeKey::new(UnboundKey::new(suite.aead, &key).unwrap()),
            iv: iv.try_into().unwrap(),
            suite,
            version,
            secret,
            sequence: 0,
        }
    }

    /// The direction after a KEY_UPDATE.
    pub fn updated(&self) -> Self {
        let size = self.suite.hash_size();
        let secret = self
            .suite
            .expand(&self.secret, self.version, "traffic upd", &[], size);
        Self::new(self.suite, self.version, secret)
    }

    /// The proof over a transcript hash that this end's finished key makes.
    pub fn proof(&self, transcript: &[u8]) -> Vec<u8> {
        let size = self.suite.hash_size();
        let finished = self
            .suite
            .expand(&self.secret, self.version, "finished", &[], size);
        self.suite.hmac(&finished, &self.suite.hash(transcript))
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce.iter_mut().zip(self.sequence.to_le_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// A record, header first.
    pub fn seal(&mut self, mctp: bool, session: u32, message: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let inner: &[u8] = if mctp { &[5] } else { &[] };
        plain.extend_from_slice(&((inner.len() + message.len()) as u16).to_le_bytes());
        plain.extend_from_slice(inner);
        plain.extend_from_slice(message);
        if mctp {
            plain.extend_from_slice(&[0xa5; 9]);
        }
        let mut record = session.to_le_bytes().to_vec();
        if mctp {
            record.extend_from_slice(&(self.sequence as u16).to_le_bytes());
        }
        record.extend_from_slice(&((plain.len() + 16) as u16).to_le_bytes());
        let nonce = self.nonce();
        self.key
            .seal_in_place_append_tag(nonce, aead::Aad::from(&record), &mut plain)
            .unwrap();
        record.extend_from_slice(&plain);
        record
    }

    /// The message in a record, which may be followed by padding.
    pub fn open(&mut self, mctp: bool, session: u32, record: &[u8]) -> Vec<u8> {
        assert_eq!(record[..4], session.to_le_bytes(), "a record of another session");
        let head = if mctp { 8 } else { 6 };
        let size = usize::from(u16::from_le_bytes(record[head - 2..head].try_into().unwrap()));
        let mut body = record[head..head + size].to_vec();
        let nonce = self.nonce();
        let plain = self
            .key
            .open_in_place(nonce, aead::Aad::from(&record[..head]), &mut body)
            .expect("a record that opens");
        let size = usize::from(u16::from_le_bytes([plain[0], plain[1]]));
        let message = &plain[2..2 + size];
        if mctp {
            assert_eq!(message[0], 5, "application data of another type");
            return message[1..].to_vec();
        }
        assert_eq!(plain.len(), 2 + size, "padding over DOE");
        message.to_vec()
    }
}
