// UNSAFETY: an allocator is unsafe to implement; this one counts, and leaves the work to the system's.
#![allow(unsafe_code)]

//! What is counted while the two ends talk: operations of the cryptographic provider, and bytes allocated.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};
use tdisp::crypto::{
    Ability, Aead, AeadAlg, CryptoError, ExchangeAlg, Hash, HashAlg, KeyAgreement, Provider, Ring,
    RingSigner, Secret, SignAlg, Signable, Signer,
};

/// How often something was done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) sign: u32,
    pub(crate) verify: u32,
    pub(crate) keygen: u32,
    pub(crate) agree: u32,
    pub(crate) hash: u32,
    pub(crate) hmac: u32,
    pub(crate) aead: u32,
}

/// [`Ring`] for both ends, counted.
#[derive(Default)]
pub(crate) struct Counting {
    signer: OnceLock<Arc<RingSigner>>,
    sign: AtomicU32,
    verify: AtomicU32,
    keygen: AtomicU32,
    agree: Arc<AtomicU32>,
    hash: AtomicU32,
    hmac: AtomicU32,
    aead: AtomicU32,
}

impl Counting {
    /// The key that the responder signs with.
    pub(crate) fn signs_with(&self, signer: Arc<RingSigner>) {
        self.signer.get_or_init(|| signer);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            sign: self.sign.load(Relaxed),
            verify: self.verify.load(Relaxed),
            keygen: self.keygen.load(Relaxed),
            agree: self.agree.load(Relaxed),
            hash: self.hash.load(Relaxed),
            hmac: self.hmac.load(Relaxed),
            aead: self.aead.load(Relaxed),
        }
    }
}

impl Provider for Counting {
    fn supports(&self, ability: Ability) -> bool {
        Ring.supports(ability)
    }
    fn hash(&self, alg: HashAlg) -> Box<dyn Hash> {
        self.hash.fetch_add(1, Relaxed);
        Ring.hash(alg)
    }

    fn hmac(&self, alg: HashAlg, key: &[u8], parts: &[&[u8]]) -> Secret {
        self.hmac.fetch_add(1, Relaxed);
        Ring.hmac(alg, key, parts)
    }

    fn verify(
        &self,
        alg: SignAlg,
        key: &[u8],
        what: &Signable<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.verify.fetch_add(1, Relaxed);
        Ring.verify(alg, key, what, signature)
    }

    fn key_agreement(&self, group: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        self.keygen.fetch_add(1, Relaxed);
        let key = Ring.key_agreement(group)?;
        let agreed = self.agree.clone();
        Ok(Box::new(CountedKey { key, agreed }))
    }

    fn aead(&self, alg: AeadAlg, key: &[u8]) -> Result<Box<dyn Aead>, CryptoError> {
        self.aead.fetch_add(1, Relaxed);
        Ring.aead(alg, key)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        Ring.random(out)
    }
}

impl Signer for Counting {
    fn algorithm(&self) -> SignAlg {
        SignAlg::EcdsaP384
    }

    fn signs_with(&self, hash: HashAlg) -> bool {
        self.signer.get().is_some_and(|signer| signer.signs_with(hash))
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        self.sign.fetch_add(1, Relaxed);
        let signer = self.signer.get();
        signer.ok_or(CryptoError::BadKey("signer"))?.sign(what)
    }
}

struct CountedKey {
    key: Box<dyn KeyAgreement>,
    agreed: Arc<AtomicU32>,
}

impl KeyAgreement for CountedKey {
    fn public(&self) -> &[u8] {
        self.key.public()
    }

    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<Secret, CryptoError> {
        self.agreed.fetch_add(1, Relaxed);
        self.key.agree(peer_public)
    }
}

/// The system's allocator, which counts the bytes that are asked for.
pub(crate) struct Allocations;

#[global_allocator]
static ALLOCATIONS: Allocations = Allocations;
static BYTES: AtomicUsize = AtomicUsize::new(0);

impl Allocations {
    /// Bytes asked for since the start, whatever was given back.
    pub(crate) fn bytes() -> usize {
        BYTES.load(Relaxed)
    }
}

// SAFETY: each call is the system allocator's own, with the same arguments.
unsafe impl GlobalAlloc for Allocations {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps what `alloc` asks of him.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` or `realloc`, thus from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_add(size.saturating_sub(layout.size()), Relaxed);
        // SAFETY: `at` came from `alloc` or `realloc`, thus from the system's allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}
