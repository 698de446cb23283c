//! Signatures and proofs that are wrong.

use super::*;

/// Signs rightly a number of times and then wrongly, in one of several ways.
struct Liar {
    honest: AtomicUsize,
    how: Lie,
    first: Mutex<Option<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy)]
enum Lie {
    /// The first signature once more.
    Stale,
    /// By another key.
    OtherKey,
    /// Over something else.
    OtherMessage,
    /// No signature at all.
    Zeros,
}

impl Signer for Liar {
    fn algorithm(&self) -> SignAlg {
        SignAlg::EcdsaP384
    }

    fn signs_with(&self, hash: HashAlg) -> bool {
        hash == HashAlg::Sha384
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        let usual = &Identity::usual().signer;
        let left = self.honest.load(Ordering::Relaxed);
        if left > 0 {
            self.honest.store(left - 1, Ordering::Relaxed);
            let signature = usual.sign(what)?;
            self.first
                .lock()
                .unwrap()
                .get_or_insert_with(|| signature.clone());
            return Ok(signature);
        }
        match self.how {
            Lie::Stale => Ok(self.first.lock().unwrap().clone().unwrap_or_else(|| vec![1; 96])),
            Lie::OtherKey => Identity::new("other").signer.sign(what),
            Lie::OtherMessage => usual.sign(&Signable {
                message: what.message[1..].into(),
                ..what.clone()
            }),
            Lie::Zeros => Ok(vec![0; 96]),
        }
    }
}

#[test]
fn a_wrong_signature_is_refused_wherever_one_is_due() {
    let due = [Code::CHALLENGE_AUTH, Code::KEY_EXCHANGE_RSP, Code::MEASUREMENTS];
    for (honest, awaited) in due.into_iter().enumerate() {
        for how in [Lie::Stale, Lie::OtherKey, Lie::OtherMessage, Lie::Zeros] {
            let mut config = responder_config();
            config.slots[0].as_mut().unwrap().signer = Arc::new(Liar {
                honest: AtomicUsize::new(honest),
                how,
                first: Mutex::new(None),
            });
            let found = peer(failed_with(config));
            assert_eq!(found, (awaited, Misbehaviour::BadSignature), "{how:?}");
        }
    }
}

#[test]
fn a_challenge_answered_for_another_slot_or_chain_or_with_a_wish_is_refused() {
    let changed = |at: usize, bits: u8| {
        let (awaited, what) = peer(lied(Code::CHALLENGE_AUTH, move |body| body[at] ^= bits));
        assert_eq!(awaited, Code::CHALLENGE_AUTH);
        what
    };
    let inconsistent = |what, found| Misbehaviour::Inconsistent {
        what,
        found,
        wanted: 0,
    };
    assert_eq!(changed(2, 1), inconsistent("slot of CHALLENGE_AUTH", 1));
    let wish = "mutual authentication in CHALLENGE_AUTH";
    assert_eq!(changed(2, 0x80), inconsistent(wish, 1));
    assert!(matches!(changed(4, 1), Misbehaviour::WrongDigest { .. }));
}

#[test]
fn measurements_signed_with_another_slots_key_are_refused() {
    let mut config = requester_config();
    config.goal = Goal::Identity;
    let mut pair = Pair::of(requester(config), responder(responder_config()));
    pair.connect();
    pair.bend = Some(Box::new(|body| body[3] ^= 3));
    pair.requester.measure(pair.now, None).unwrap();
    pair.run();
    let wanted = Misbehaviour::Inconsistent {
        what: "slot of MEASUREMENTS",
        found: 3,
        wanted: 0,
    };
    assert_eq!(
        peer(pair.failure().cloned().unwrap()),
        (Code::MEASUREMENTS, wanted)
    );
}

#[test]
fn a_record_of_another_session_is_not_opened() {
    let mut pair = Pair::in_session();
    pair.requester.vendor(pair.now, &[1, 2]).unwrap();
    // Behind the DOE header comes the session's id, the requester's half first.
    pair.fault = Some((pair.carried.len() + 1, Fault::Flip(8 * 8)));
    pair.run();
    let found = peer(pair.failure().cloned().unwrap());
    assert_eq!(found.0, Code::VENDOR_DEFINED_RESPONSE);
    let is_about_id = matches!(
        found.1,
        Misbehaviour::Inconsistent {
            what: "session id",
            ..
        }
    );
    assert!(is_about_id, "{}", found.1);
}

#[test]
fn a_wrong_proof_at_the_end_of_a_handshake_in_clear_is_refused() {
    let (mut ask, mut answer) = (requester_config(), responder_config());
    (ask.handshake_in_clear, answer.handshake_in_clear) = (true, true);
    let mut pair = Pair::of(requester(ask), responder(answer));
    pair.bend = Some(Box::new(|body| {
        if body[1] == Code::FINISH_RSP.0 {
            body[4] ^= 1;
        }
    }));
    pair.connect();
    let found = peer(pair.failure().cloned().unwrap());
    assert_eq!(found, (Code::FINISH_RSP, Misbehaviour::BadVerifyData));
}

#[test]
fn an_old_challenge_answer_is_refused_because_the_nonce_is_new() {
    let old: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let mut first = Pair::new();
    let keep = old.clone();
    first.bend = Some(Box::new(move |body| {
        if body[1] == Code::CHALLENGE_AUTH.0 {
            *keep.lock().unwrap() = Some(body.clone());
        }
    }));
    first.connect();
    let found = peer(lied(Code::CHALLENGE_AUTH, move |body| {
        *body = old.lock().unwrap().clone().unwrap();
    }));
    assert_eq!(found, (Code::CHALLENGE_AUTH, Misbehaviour::BadSignature));
}

// The key exchange

#[test]
fn a_key_exchange_answer_changed_anywhere_is_refused() {
    // Heartbeat period, session id, mutual authentication, random data, public value, opaque data, signature, proof.
    for at in [2, 4, 6, 10, 45, 90, 139, 148, 160, 240, 250, 293] {
        let error = lied(Code::KEY_EXCHANGE_RSP, move |body| body[at] ^= 1);
        assert_eq!(error.awaited(), Code::KEY_EXCHANGE_RSP, "{at}: {error}");
    }
}

#[test]
fn a_wrong_proof_of_the_same_keys_is_refused() {
    let found = peer(lied(Code::KEY_EXCHANGE_RSP, |body| body[293] ^= 1));
    assert_eq!(found, (Code::KEY_EXCHANGE_RSP, Misbehaviour::BadVerifyData));
}

#[test]
fn a_wish_for_the_requesters_identity_is_refused() {
    for wish in [1, 2, 4] {
        let error = lied(Code::KEY_EXCHANGE_RSP, move |body| body[6] = wish);
        let wanted = Misbehaviour::Inconsistent {
            what: "mutual authentication in KEY_EXCHANGE_RSP",
            found: u64::from(wish),
            wanted: 0,
        };
        assert_eq!(peer(error), (Code::KEY_EXCHANGE_RSP, wanted));
    }
}
