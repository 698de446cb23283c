// UNSAFETY: an allocator is unsafe to implement; this one counts, and leaves the work to the system's.
#![allow(unsafe_code)]

//! What is counted while the two ends talk: operations of the cryptographic provider, and bytes allocated.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicUsize, Ordering::Relaxed},
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
    sign: Arc<AtomicU32>,
    verify: AtomicU32,
    keygen: AtomicU32,
    agree: Arc<AtomicU32>,
    hash: AtomicU32,
    hmac: AtomicU32,
    aead: AtomicU32,
}

impl Counting {
    /// A key that is counted too.
    pub(crate) fn signer(&self, key: &Arc<RingSigner>) -> Arc<dyn Signer> {
        Arc::new(CountedSigner {
            key: key.clone(),
            signed: self.sign.clone(),
        })
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

struct CountedSigner {
    key: Arc<RingSigner>,
    signed: Arc<AtomicU32>,
}

impl Signer for CountedSigner {
    fn algorithm(&self) -> SignAlg {
        self.key.algorithm()
    }

    fn signs_with(&self, hash: HashAlg) -> bool {
        self.key.signs_with(hash)
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        self.signed.fetch_add(1, Relaxed);
        self.key.sign(what)
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

/// The system's allocator, which counts while it is told to: what is timed is not to pay for it.
pub(crate) struct Allocations;

#[global_allocator]
static ALLOCATIONS: Allocations = Allocations;
static COUNTED: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// What was asked for while something was done, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    /// All in all, whatever was given back.
    pub(crate) asked: usize,
    /// At most at one time, beyond what there was before.
    pub(crate) peak: usize,
}

impl Allocations {
    /// Counts what `call` asks for.
    pub(crate) fn counted<T>(call: impl FnOnce() -> T) -> (Counted, T) {
        COUNTED.store(true, Relaxed);
        let (asked, live) = (BYTES.load(Relaxed), LIVE.load(Relaxed));
        PEAK.store(live, Relaxed);
        let value = call();
        let counted = Counted {
            asked: BYTES.load(Relaxed) - asked,
            peak: (PEAK.load(Relaxed) - live).unsigned_abs(),
        };
        COUNTED.store(false, Relaxed);
        (counted, value)
    }

    /// What is given back when `value` goes.
    pub(crate) fn freed<T>(value: T) -> usize {
        COUNTED.store(true, Relaxed);
        let live = LIVE.load(Relaxed);
        drop(value);
        let freed = live - LIVE.load(Relaxed);
        COUNTED.store(false, Relaxed);
        freed.unsigned_abs()
    }
}

fn count(more: usize, less: usize) {
    if COUNTED.load(Relaxed) {
        BYTES.fetch_add(more.saturating_sub(less), Relaxed);
        let change = more as isize - less as isize;
        let live = LIVE.fetch_add(change, Relaxed) + change;
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: each call is the system allocator's own, with the same arguments.
unsafe impl GlobalAlloc for Allocations {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps what `alloc` asks of him.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: `at` came from `alloc` or `realloc`, thus from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: `at` came from `alloc` or `realloc`, thus from the system's allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}
