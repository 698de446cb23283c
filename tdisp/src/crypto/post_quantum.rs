//! ML-DSA (FIPS 204) and ML-KEM (FIPS 203) on top of another provider, by RustCrypto's `ml-dsa` and `ml-kem`.
//!
//! Why these is argued in `docs/decisions/0005-post-quantum-by-rustcrypto.md`. Randomness is the other provider's: seeds of
//! keys, what a secret is encapsulated with, and what hedges a signature.

use super::{
    Ability, Aead, AeadAlg, CryptoError, Encapsulated, ExchangeAlg, Hash, HashAlg, KeyAgreement, Provider,
    Secret, SignAlg, Signable, Signer,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use ml_dsa::{
    EncodedVerifyingKey, ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, VerifyingKey,
    signature::rand_core::{TryCryptoRng, TryRng},
};
use ml_kem::{
    Decapsulate, DecapsulationKey, EncapsulationKey, KeyExport, MlKem512, MlKem768, MlKem1024, SharedKey,
};
use zeroize::{Zeroize, Zeroizing};

/// Another provider, and the post-quantum algorithms beside what that has.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostQuantum<P>(pub P);

impl<P: Provider> Provider for PostQuantum<P> {
    fn supports(&self, ability: Ability) -> bool {
        match ability {
            Ability::Verify(alg, _) if alg.is_post_quantum() => true,
            Ability::Exchange(alg) if alg.is_kem() => true,
            other => self.0.supports(other),
        }
    }

    fn hash(&self, alg: HashAlg) -> Box<dyn Hash> {
        self.0.hash(alg)
    }

    fn hmac(&self, alg: HashAlg, key: &[u8], parts: &[&[u8]]) -> Secret {
        self.0.hmac(alg, key, parts)
    }

    fn verify(
        &self,
        alg: SignAlg,
        public_key: &[u8],
        what: &Signable<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        match alg {
            SignAlg::MlDsa44 => verify::<MlDsa44>(public_key, what, signature),
            SignAlg::MlDsa65 => verify::<MlDsa65>(public_key, what, signature),
            SignAlg::MlDsa87 => verify::<MlDsa87>(public_key, what, signature),
            classical => self.0.verify(classical, public_key, what, signature),
        }
    }

    fn key_agreement(&self, alg: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        match alg {
            ExchangeAlg::MlKem512 => Decapsulator::<MlKem512>::draw(self),
            ExchangeAlg::MlKem768 => Decapsulator::<MlKem768>::draw(self),
            ExchangeAlg::MlKem1024 => Decapsulator::<MlKem1024>::draw(self),
            group => self.0.key_agreement(group),
        }
    }

    fn encapsulate(&self, alg: ExchangeAlg, peer_public: &[u8]) -> Result<Encapsulated, CryptoError> {
        match alg {
            ExchangeAlg::MlKem512 => encapsulate::<MlKem512>(self, peer_public),
            ExchangeAlg::MlKem768 => encapsulate::<MlKem768>(self, peer_public),
            ExchangeAlg::MlKem1024 => encapsulate::<MlKem1024>(self, peer_public),
            group => self.0.encapsulate(group, peer_public),
        }
    }

    fn aead(&self, alg: AeadAlg, key: &[u8]) -> Result<Box<dyn Aead>, CryptoError> {
        self.0.aead(alg, key)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.random(out)
    }
}

/// As FIPS 204's ML-DSA.Verify, pure: the message itself, and the context.
fn verify<P: MlDsaParams>(key: &[u8], what: &Signable<'_>, signature: &[u8]) -> Result<(), CryptoError> {
    let bad = |_| CryptoError::BadKey("ML-DSA public key");
    let key = EncodedVerifyingKey::<P>::try_from(key).map_err(bad)?;
    let signature = Signature::<P>::try_from(signature).map_err(|_| CryptoError::BadSignature)?;
    let key = VerifyingKey::<P>::decode(&key);
    match key.verify_with_context(&what.message, what.context, &signature) {
        true => Ok(()),
        false => Err(CryptoError::BadSignature),
    }
}

/// An ML-DSA private key held in memory. Signatures are hedged: they differ from one time to the next.
pub struct MlDsaSigner {
    alg: SignAlg,
    key: Key,
    public: Vec<u8>,
    random: Arc<dyn Provider>,
}

/// Boxed: each is tens of kilobytes.
enum Key {
    MlDsa44(Box<ExpandedSigningKey<MlDsa44>>),
    MlDsa65(Box<ExpandedSigningKey<MlDsa65>>),
    MlDsa87(Box<ExpandedSigningKey<MlDsa87>>),
}

impl core::fmt::Debug for MlDsaSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MlDsaSigner({})", self.alg)
    }
}

impl MlDsaSigner {
    /// The key that FIPS 204 derives from 32 random bytes. What hedges its signatures comes from `random`.
    pub fn from_seed(alg: SignAlg, seed: &[u8], random: Arc<dyn Provider>) -> Result<Self, CryptoError> {
        let seed =
            Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| CryptoError::BadKey("ML-DSA seed"))?);
        let (key, public) = match alg {
            SignAlg::MlDsa44 => {
                let (key, public) = expand(&seed);
                (Key::MlDsa44(key), public)
            }
            SignAlg::MlDsa65 => {
                let (key, public) = expand(&seed);
                (Key::MlDsa65(key), public)
            }
            SignAlg::MlDsa87 => {
                let (key, public) = expand(&seed);
                (Key::MlDsa87(key), public)
            }
            _ => return Err(OTHER),
        };
        Ok(Self {
            alg,
            key,
            public,
            random,
        })
    }

    /// Reads a PKCS#8 key that is a seed (RFC 9881 §6, the form that it recommends).
    pub fn from_pkcs8(alg: SignAlg, der: &[u8], random: Arc<dyn Provider>) -> Result<Self, CryptoError> {
        let head: &[u8] = match alg {
            SignAlg::MlDsa44 => PKCS8_44,
            SignAlg::MlDsa65 => PKCS8_65,
            SignAlg::MlDsa87 => PKCS8_87,
            _ => return Err(OTHER),
        };
        let bad = CryptoError::BadKey("PKCS#8 private key (wanted the seed of an ML-DSA key)");
        Self::from_seed(alg, der.strip_prefix(head).ok_or(bad)?, random)
    }

    /// The public key, as [`Provider::verify`] takes it.
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }
}

fn expand<P: MlDsaParams>(seed: &[u8; 32]) -> (Box<ExpandedSigningKey<P>>, Vec<u8>) {
    let key = Box::new(ExpandedSigningKey::from_seed(seed.into()));
    let public = key.verifying_key().encode().to_vec();
    (key, public)
}

const OTHER: CryptoError = CryptoError::Unsupported("another algorithm than ML-DSA in this kind of key");

/// What is before the seed: version 0, the algorithm, and the tag of a seed.
const PKCS8_44: &[u8] =
    b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11\x04\x22\x80\x20";
const PKCS8_65: &[u8] =
    b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x04\x22\x80\x20";
const PKCS8_87: &[u8] =
    b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13\x04\x22\x80\x20";

impl Signer for MlDsaSigner {
    fn algorithm(&self) -> SignAlg {
        self.alg
    }

    /// With any: ML-DSA hashes by itself.
    fn signs_with(&self, _: HashAlg) -> bool {
        true
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        match &self.key {
            Key::MlDsa44(key) => sign(key, what, &*self.random),
            Key::MlDsa65(key) => sign(key, what, &*self.random),
            Key::MlDsa87(key) => sign(key, what, &*self.random),
        }
    }
}

fn sign<P: MlDsaParams>(
    key: &ExpandedSigningKey<P>,
    what: &Signable<'_>,
    random: &dyn Provider,
) -> Result<Vec<u8>, CryptoError> {
    let signed = key.sign_randomized(&what.message, what.context, &mut Draw(random));
    // The contexts here are short, and what else may fail is the drawing.
    let signature = signed.map_err(|_| CryptoError::NoEntropy)?;
    Ok(signature.encode().to_vec())
}

/// A provider's random source, as those crates draw from one.
struct Draw<'a>(&'a dyn Provider);

impl TryRng for Draw<'_> {
    type Error = CryptoError;

    fn try_next_u32(&mut self) -> Result<u32, CryptoError> {
        self.try_next_u64().map(|drawn| drawn as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, CryptoError> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(bytes.iter().fold(0, |drawn, byte| drawn << 8 | u64::from(*byte)))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.random(out)
    }
}

impl TryCryptoRng for Draw<'_> {}

/// One parameter set of ML-KEM.
trait Mechanism {
    type Private: Send + Sync + 'static;

    /// ML-KEM.KeyGen_internal of d ‖ z.
    fn private(seed: &[u8; 64]) -> Self::Private;
    fn public(private: &Self::Private) -> Vec<u8>;
    /// ML-KEM.Encaps_internal; `None` if the key is of another size or not reduced (FIPS 203 §7.2).
    fn encapsulate(public: &[u8], random: &[u8; 32]) -> Option<(Vec<u8>, SharedKey)>;
    /// ML-KEM.Decaps; `None` if the ciphertext is of another size. A wrong one gives a wrong secret.
    fn decapsulate(private: &Self::Private, ciphertext: &[u8]) -> Option<SharedKey>;
}

macro_rules! mechanism {
    ($set:ty) => {
        impl Mechanism for $set {
            type Private = DecapsulationKey<Self>;

            fn private(seed: &[u8; 64]) -> Self::Private {
                // It takes the seed over, and keeps it as long as the key.
                DecapsulationKey::from_seed((*seed).into())
            }

            fn public(private: &Self::Private) -> Vec<u8> {
                private.encapsulation_key().to_bytes().to_vec()
            }

            fn encapsulate(public: &[u8], random: &[u8; 32]) -> Option<(Vec<u8>, SharedKey)> {
                let public = EncapsulationKey::<Self>::new(&public.try_into().ok()?).ok()?;
                let (ciphertext, secret) = public.encapsulate_deterministic(random.into());
                Some((ciphertext.to_vec(), secret))
            }

            fn decapsulate(private: &Self::Private, ciphertext: &[u8]) -> Option<SharedKey> {
                Some(private.decapsulate(&ciphertext.try_into().ok()?))
            }
        }
    };
}
mechanism!(MlKem512);
mechanism!(MlKem768);
mechanism!(MlKem1024);

/// The requester's side of ML-KEM.
struct Decapsulator<M: Mechanism> {
    private: Box<M::Private>,
    public: Vec<u8>,
}

impl<M: Mechanism + Send + Sync + 'static> Decapsulator<M> {
    fn draw(random: &dyn Provider) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        let mut seed = Zeroizing::new([0; 64]);
        random.random(&mut *seed)?;
        let private = Box::new(M::private(&seed));
        let public = M::public(&private);
        Ok(Box::new(Self { private, public }))
    }
}

impl<M: Mechanism + Send + Sync> KeyAgreement for Decapsulator<M> {
    fn public(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, answer: &[u8]) -> Result<Secret, CryptoError> {
        let agreed = M::decapsulate(&self.private, answer);
        agreed.map(secret).ok_or(CryptoError::BadKey("ML-KEM ciphertext"))
    }
}

fn encapsulate<M: Mechanism>(random: &dyn Provider, public: &[u8]) -> Result<Encapsulated, CryptoError> {
    let mut drawn = Zeroizing::new([0; 32]);
    random.random(&mut *drawn)?;
    let (answer, agreed) =
        M::encapsulate(public, &drawn).ok_or(CryptoError::BadKey("peer's public value"))?;
    Ok(Encapsulated {
        answer,
        secret: secret(agreed),
    })
}

fn secret(mut shared: SharedKey) -> Secret {
    let secret = Secret::new(shared.to_vec());
    shared.as_mut_slice().zeroize();
    secret
}
