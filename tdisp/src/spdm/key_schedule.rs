//! The key schedule of a session (DSP0274 §12.3).
//!
//! ```text
//!          0^H (a pre-shared key: FF^H from 1.3 on)         0^H
//!           │salt                                           │ikm
//! shared ─►Extract─► handshake secret ─"derived"─► salt1 ─►Extract─► master secret
//!                     │TH1      │TH1                         │TH2     │TH2      │TH2
//!                 req hs data  rsp hs data              req app data rsp app data exp master
//! ```
//! From each of the four direction secrets come a record key, an IV and, in the handshake, the key of the
//! finished MAC. `traffic upd` replaces a direction's secret. No secret outlives the value that holds it.

use super::msg::Version;
use crate::crypto::{AeadAlg, Digest, HashAlg, Provider, Secret, hkdf_expand};
use alloc::vec;

/// Bytes of a record IV.
pub const IV_SIZE: usize = 12;

/// What every derivation of one session depends on.
#[derive(Clone, Copy)]
pub struct Schedule<'a> {
    /// Who computes the MACs.
    pub provider: &'a dyn Provider,
    /// The negotiated hash.
    pub hash: HashAlg,
    /// The negotiated version: its text is part of every label.
    pub version: Version,
}

impl core::fmt::Debug for Schedule<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Schedule({:?}, {})", self.hash, self.version)
    }
}

impl Schedule<'_> {
    /// The handshake secret from what the key exchange gave both ends: the shared x coordinate of an elliptic curve, the
    /// shared secret of a key encapsulation. Its salt is all zeros in every version.
    pub fn handshake_secret(&self, shared: &Secret) -> Secret {
        self.extract(0, shared)
    }

    /// The handshake secret from a pre-shared key. Its salt is all zeros up to 1.2, and all ones from 1.3 on, where it so
    /// differs from that of a key exchange.
    pub fn handshake_secret_from_psk(&self, psk: &Secret) -> Secret {
        let salt = if self.version < Version::V1_3 { 0 } else { 0xff };
        self.extract(salt, psk)
    }

    /// The direction secrets of the handshake; `th1` is the transcript through the responder's signature.
    pub fn handshake(&self, handshake_secret: &Secret, th1: &Digest) -> Directions {
        Directions {
            request: self.derive(handshake_secret, b"req hs data", th1.as_ref()),
            response: self.derive(handshake_secret, b"rsp hs data", th1.as_ref()),
        }
    }

    /// The master secret.
    pub fn master_secret(&self, handshake_secret: &Secret) -> Secret {
        let salt = self.derive(handshake_secret, b"derived", &[]);
        let zeros = vec![0; self.hash.size()];
        self.provider.hmac(self.hash, salt.expose(), &[&zeros])
    }

    /// The direction secrets of the application phase; `th2` is the transcript through FINISH_RSP.
    pub fn application(&self, master_secret: &Secret, th2: &Digest) -> Directions {
        Directions {
            request: self.derive(master_secret, b"req app data", th2.as_ref()),
            response: self.derive(master_secret, b"rsp app data", th2.as_ref()),
        }
    }

    /// The export master secret.
    pub fn exporter(&self, master_secret: &Secret, th2: &Digest) -> Secret {
        self.derive(master_secret, b"exp master", th2.as_ref())
    }

    /// The verify data of a direction: the MAC of transcript hash `th` under the direction's finished key.
    pub fn verify_data(&self, direction: &Secret, th: &Digest) -> Secret {
        let key = self.derive(direction, b"finished", &[]);
        self.provider.hmac(self.hash, key.expose(), &[th.as_ref()])
    }

    /// The record key of a direction.
    pub fn key(&self, direction: &Secret, aead: AeadAlg) -> Secret {
        self.expand(direction, b"key", &[], aead.key_size())
    }

    /// The record IV of a direction, [`IV_SIZE`] bytes.
    pub fn iv(&self, direction: &Secret) -> Secret {
        self.expand(direction, b"iv", &[], IV_SIZE)
    }

    /// What replaces a direction's secret at a KEY_UPDATE.
    pub fn updated(&self, direction: &Secret) -> Secret {
        self.derive(direction, b"traffic upd", &[])
    }

    /// HKDF-Extract with a salt of equal bytes.
    fn extract(&self, salt: u8, key: &Secret) -> Secret {
        let salt = vec![salt; self.hash.size()];
        self.provider.hmac(self.hash, &salt, &[key.expose()])
    }

    fn derive(&self, secret: &Secret, label: &[u8], context: &[u8]) -> Secret {
        self.expand(secret, label, context, self.hash.size())
    }

    /// HKDF-Expand with BIN_CONCAT(size, "spdm1.x " ‖ label, context) as its info.
    fn expand(&self, secret: &Secret, label: &[u8], context: &[u8], size: usize) -> Secret {
        // No derivation here is longer than a digest, which is at most 64 bytes.
        let length = (size as u16).to_le_bytes();
        let version = [
            b's',
            b'p',
            b'd',
            b'm',
            b'1',
            b'.',
            b'0' + (self.version.0 & 0x0f),
            b' ',
        ];
        hkdf_expand(
            self.provider,
            self.hash,
            secret,
            &[&length, &version, label, context],
            size,
        )
    }
}

/// One secret for each direction.
#[derive(Debug, Clone)]
pub struct Directions {
    /// Requester to responder.
    pub request: Secret,
    /// Responder to requester.
    pub response: Secret,
}
