//! What two sides agree on: every choice that was not offered, is not one bit, or belongs to another version is refused.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod providers;

use providers::{Own, RingBut};
use tdisp::{
    crypto::{Ability, AeadAlg, CryptoError, ExchangeAlg, HashAlg, Ring, SignAlg, Signable, Signer},
    spdm::{
        algorithms::{Answering, Chosen, MULTI_KEY, MeasurementHash, Needs, OPAQUE_FORMAT_1, Offer},
        msg::{
            Context, Payload, Version,
            algorithms::{Request, Response, Set, Table, TableKind},
            capabilities::Flags,
        },
    },
};

/// Claims to have everything.
struct All;

impl Own for All {
    fn supports(&self, ability: Ability) -> bool {
        !matches!(ability, Ability::Verify(SignAlg::EcdsaP384, HashAlg::Sha512))
    }
}

/// A key that goes with these hashes.
struct Key(SignAlg, &'static [HashAlg]);

impl Signer for Key {
    fn algorithm(&self) -> SignAlg {
        self.0
    }
    fn signs_with(&self, hash: HashAlg) -> bool {
        self.1.contains(&hash)
    }
    fn sign(&self, _: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        Err(CryptoError::NoEntropy)
    }
}

const P384: Key = Key(SignAlg::EcdsaP384, &[HashAlg::Sha384]);

fn answering<'a>(signers: &[&'a dyn Signer]) -> Answering<'a> {
    Answering {
        provider: &RingBut(All),
        signers: signers.to_vec(),
        needs: Needs::SESSION,
        measurement_hash: Some(MeasurementHash::Raw),
    }
}

/// All that there is.
fn everything() -> Offer {
    Offer {
        sign: SignAlg::ALL.to_vec(),
        hash: HashAlg::ALL.to_vec(),
        exchange: ExchangeAlg::ALL.to_vec(),
        aead: AeadAlg::ALL.to_vec(),
        requester_sign: SignAlg::ALL.to_vec(),
        other_params: OPAQUE_FORMAT_1 | MULTI_KEY,
        mel_specification: 1,
    }
}

fn post_quantum() -> Offer {
    Offer {
        sign: vec![SignAlg::MlDsa65, SignAlg::EcdsaP384],
        exchange: vec![ExchangeAlg::MlKem768, ExchangeAlg::EcdhP384],
        requester_sign: vec![SignAlg::MlDsa65, SignAlg::EcdsaP384],
        ..Offer::default()
    }
}

fn request(offer: &Offer, version: Version) -> Request<'static> {
    Request {
        version,
        offer: offer.to_set(version),
    }
}

fn answered(chosen: &Chosen, request: &Request<'_>) -> Response<'static> {
    Response {
        version: request.version,
        choice: chosen.to_set(&request.offer),
        measurement_hash: chosen.measurement_hash.map_or(0, MeasurementHash::bit),
    }
}

fn with_mask(response: &Response<'static>, kind: TableKind, mask: u16) -> Response<'static> {
    let mut response = response.clone();
    let tables = &mut response.choice.tables;
    tables.retain(|table| table.kind != kind);
    tables.push(Table {
        kind,
        mask,
        extended: &[],
    });
    tables.sort_by_key(|table| table.kind.0);
    response
}

const VERSIONS: [Version; 5] = [
    Version::V1_0,
    Version::V1_1,
    Version::V1_2,
    Version::V1_3,
    Version::V1_4,
];

#[test]
fn a_responder_chooses_by_its_own_preference_and_only_what_was_offered() {
    let p256 = Key(SignAlg::EcdsaP256, &[HashAlg::Sha384]);
    let ours = Offer {
        sign: vec![SignAlg::EcdsaP384, SignAlg::EcdsaP256],
        ..Offer::default()
    };
    let theirs = Offer {
        sign: vec![SignAlg::EcdsaP256, SignAlg::EcdsaP384],
        ..Offer::default()
    };
    let asked = request(&theirs, Version::V1_2);
    let chosen = ours.choose(&asked, &answering(&[&p256, &P384])).unwrap();
    assert_eq!(chosen.sign, Some(SignAlg::EcdsaP384));
    assert_eq!(
        theirs.accept(&answered(&chosen, &asked), Needs::SESSION),
        Ok(chosen)
    );
    let weak = Offer {
        hash: vec![HashAlg::Sha256],
        ..Offer::default()
    };
    let asked = request(&weak, Version::V1_2);
    assert_eq!(ours.choose(&asked, &answering(&[&P384])), None);
}

#[test]
fn a_responder_chooses_a_hash_that_its_key_signs_with() {
    let rsa = Key(SignAlg::RsaPss3072, &[HashAlg::Sha512, HashAlg::Sha256]);
    let asked = request(&everything(), Version::V1_2);
    let ours = everything();
    let hash = |signers: &[&dyn Signer]| {
        ours.choose(&asked, &answering(signers))
            .map(|chosen| (chosen.sign, chosen.hash))
    };
    assert_eq!(hash(&[&P384]), Some((Some(SignAlg::EcdsaP384), HashAlg::Sha384)));
    assert_eq!(hash(&[&rsa]), Some((Some(SignAlg::RsaPss3072), HashAlg::Sha512)));
    assert_eq!(
        hash(&[&rsa, &P384]),
        Some((Some(SignAlg::EcdsaP384), HashAlg::Sha384)),
        "the algorithm is preferred to the hash"
    );
    let silent = Key(SignAlg::EcdsaP384, &[]);
    assert_eq!(hash(&[&silent]), None, "it must sign, and cannot");
    // The requester's signatures are verified by this side, which has no P-384 with SHA-512.
    let sha512 = Offer {
        requester_sign: vec![SignAlg::EcdsaP384, SignAlg::RsaSsa2048],
        ..everything()
    };
    let chosen = sha512.choose(&asked, &answering(&[&rsa])).unwrap();
    assert_eq!(chosen.requester_sign, Some(SignAlg::RsaSsa2048));
}

#[test]
fn both_sides_agree_on_every_algorithm_in_each_version_that_has_it() {
    for version in VERSIONS {
        let needs = match version {
            Version::V1_0 => Needs {
                sign: true,
                ..Needs::default()
            },
            _ => Needs::SESSION,
        };
        for (sign, exchange) in SignAlg::ALL
            .into_iter()
            .flat_map(|sign| ExchangeAlg::ALL.map(|exchange| (sign, exchange)))
        {
            let offer = Offer {
                sign: vec![sign],
                exchange: vec![exchange],
                ..everything()
            };
            let key = Key(sign, &[HashAlg::Sha256, HashAlg::Sha384]);
            let asked = request(&offer, version);
            let own = Answering {
                needs,
                ..answering(&[&key])
            };
            let chosen = offer.choose(&asked, &own);
            let later = sign.is_post_quantum() || exchange.is_kem() && needs.exchange;
            let known = version >= Version::V1_4 || !later;
            assert_eq!(chosen.is_some(), known, "{version} {sign} {exchange}");
            let Some(chosen) = chosen else { continue };
            let response = answered(&chosen, &asked);
            assert_eq!(
                offer.accept(&response, needs),
                Ok(chosen),
                "{version} {sign} {exchange}"
            );
            let context = chosen.context(version, false);
            assert_eq!(context.signature_size, sign.signature_size());
            let (asks, answers) = match version {
                Version::V1_0 => (0, 0),
                _ => (exchange.request_size(), exchange.response_size()),
            };
            assert_eq!(
                (context.exchange_request_size, context.exchange_response_size),
                (asks, answers)
            );
        }
    }
}

#[test]
fn fields_of_later_versions_are_neither_offered_nor_read_before() {
    for version in VERSIONS {
        let offer = everything().to_set(version);
        let has = |kind| offer.table(kind) != 0;
        let post_quantum = [
            offer.pqc_asym != 0,
            has(TableKind::REQUESTER_PQC),
            has(TableKind::KEM),
        ];
        assert_eq!(post_quantum, [version >= Version::V1_4; 3], "{version}");
        assert_eq!(has(TableKind::DHE), version >= Version::V1_1, "{version}");
        let other = match version {
            Version::V1_0 | Version::V1_1 => 0,
            Version::V1_2 => OPAQUE_FORMAT_1,
            _ => OPAQUE_FORMAT_1 | MULTI_KEY,
        };
        assert_eq!(offer.other_params, other, "{version}");
        assert_eq!(
            offer.mel_specification != 0,
            version >= Version::V1_3,
            "{version}"
        );

        // The four bytes are there in each version; before 1.4 they mean nothing.
        let mut bytes = request(&Offer::default(), version).to_vec();
        bytes[16..20].fill(0xff);
        let read = Request::decode_exact(&bytes, &Context::new(version)).unwrap();
        assert_eq!(read.offer.pqc_asym != 0, version >= Version::V1_4, "{version}");
        let chosen = post_quantum_key_chooses(&read);
        assert_eq!(
            chosen,
            version >= Version::V1_4,
            "{version}: a phantom is no algorithm"
        );
    }
}

/// Whether a responder whose key is post-quantum finds its algorithm in this request, of which it needs nothing else.
fn post_quantum_key_chooses(request: &Request<'_>) -> bool {
    let key = Key(SignAlg::MlDsa87, &HashAlg::ALL);
    let own = Answering {
        needs: Needs {
            sign: true,
            ..Needs::default()
        },
        ..answering(&[&key])
    };
    let offer = Offer {
        sign: vec![SignAlg::MlDsa87],
        ..Offer::default()
    };
    offer.choose(request, &own).is_some()
}

/// ALGORITHMS of 1.4 with the classical choice, and with the post-quantum one.
fn both_kinds() -> [Response<'static>; 2] {
    let asked = request(&post_quantum(), Version::V1_4);
    let mutual = |own: Answering<'static>| Answering {
        needs: Needs {
            requester_sign: true,
            ..Needs::SESSION
        },
        ..own
    };
    let classical = Offer {
        exchange: vec![ExchangeAlg::EcdhP384],
        requester_sign: vec![SignAlg::EcdsaP384],
        ..post_quantum()
    };
    const ML_DSA: Key = Key(SignAlg::MlDsa65, &HashAlg::ALL);
    let first = classical.choose(&asked, &mutual(answering(&[&P384]))).unwrap();
    let second = post_quantum()
        .choose(&asked, &mutual(answering(&[&ML_DSA])))
        .unwrap();
    assert_eq!(second.sign, Some(SignAlg::MlDsa65));
    assert_eq!(second.exchange, Some(ExchangeAlg::MlKem768));
    assert_eq!(second.requester_sign, Some(SignAlg::MlDsa65));
    [answered(&first, &asked), answered(&second, &asked)]
}

const MUTUAL: Needs = Needs {
    requester_sign: true,
    ..Needs::SESSION
};

#[test]
fn exactly_one_of_a_classical_and_a_post_quantum_algorithm_is_accepted_for_each_purpose() {
    let offer = post_quantum();
    let accepted = |response: &Response<'_>| offer.accept(response, MUTUAL).is_ok();
    let [classical, quantum] = both_kinds();
    assert!(accepted(&classical) && accepted(&quantum));
    let asym = |asym, pqc_asym| {
        let mut response = classical.clone();
        (response.choice.asym, response.choice.pqc_asym) = (asym, pqc_asym);
        accepted(&response)
    };
    assert!(asym(0x80, 0) && asym(0, 2));
    assert!(!asym(0x80, 2) && !asym(0, 0), "both, and neither");
    let pairs = [
        (TableKind::DHE, 0x10, TableKind::KEM, 2),
        (TableKind::REQUESTER_ASYM, 0x80, TableKind::REQUESTER_PQC, 2),
    ];
    for (one, one_mask, other, other_mask) in pairs {
        let masks = |a, b| accepted(&with_mask(&with_mask(&classical, one, a), other, b));
        assert!(masks(one_mask, 0) && masks(0, other_mask), "{one:?}");
        assert!(
            !masks(one_mask, other_mask) && !masks(0, 0),
            "{one:?}: both, and neither"
        );
    }
}

#[test]
fn a_post_quantum_choice_that_was_not_offered_or_is_not_one_bit_is_refused() {
    let offer = post_quantum();
    let [_, quantum] = both_kinds();
    for bit in 0..32 {
        for wrong in [1u32 << bit, 1 << bit | 2, 0] {
            let mut response = quantum.clone();
            response.choice.pqc_asym = wrong;
            assert_eq!(
                offer.accept(&response, MUTUAL).is_ok(),
                wrong == 2,
                "signatures {wrong:#x}"
            );
        }
    }
    for kind in [TableKind::KEM, TableKind::REQUESTER_PQC] {
        for bit in 0..16 {
            for wrong in [1u16 << bit, 1 << bit | 2, 0] {
                let response = with_mask(&quantum, kind, wrong);
                assert_eq!(
                    offer.accept(&response, MUTUAL).is_ok(),
                    wrong == 2,
                    "{kind:?} {wrong:#x}"
                );
            }
        }
    }
    let classical_only = Offer::default();
    assert!(
        classical_only.accept(&quantum, Needs::SESSION).is_err(),
        "none of it was offered"
    );
}

#[test]
fn a_post_quantum_choice_before_1_4_is_refused() {
    let offer = everything();
    for version in [Version::V1_1, Version::V1_2, Version::V1_3] {
        let asked = request(&offer, version);
        let chosen = offer.choose(&asked, &answering(&[&P384])).unwrap();
        let response = answered(&chosen, &asked);
        assert_eq!(offer.accept(&response, Needs::SESSION), Ok(chosen));
        for kind in [TableKind::KEM, TableKind::REQUESTER_PQC] {
            let response = with_mask(&response, kind, 2);
            assert!(
                offer.accept(&response, Needs::SESSION).is_err(),
                "{version} {kind:?}"
            );
        }
        let mut response = response;
        (response.choice.asym, response.choice.pqc_asym) = (0, 2);
        assert!(offer.accept(&response, Needs::SESSION).is_err(), "{version}");
        // On the wire it is not even seen.
        let read = Response::decode_exact(&response.to_vec(), &Context::new(version))
            .map(|read| read.choice.pqc_asym);
        assert_eq!(read, Ok(0), "{version}");
    }
}

#[test]
fn what_capabilities_do_not_need_may_be_missing_but_not_chosen_unasked() {
    let bare = Response {
        version: Version::V1_2,
        choice: Set {
            hash: 2,
            ..Set::default()
        },
        measurement_hash: 0,
    };
    let offer = Offer::default();
    let chosen = offer.accept(&bare, Needs::default()).unwrap();
    assert_eq!((chosen.sign, chosen.exchange, chosen.aead), (None, None, None));
    for needs in [
        Needs {
            sign: true,
            ..Needs::default()
        },
        Needs {
            exchange: true,
            ..Needs::default()
        },
        Needs {
            session: true,
            ..Needs::default()
        },
        Needs {
            requester_sign: true,
            ..Needs::default()
        },
    ] {
        assert!(offer.accept(&bare, needs).is_err(), "{needs:?}");
    }
    let mut hashless = bare.clone();
    hashless.choice.hash = 0;
    assert!(offer.accept(&hashless, Needs::default()).is_ok());
    let hashes = Needs {
        hash: true,
        ..Needs::default()
    };
    assert!(offer.accept(&hashless, hashes).is_err());
    let mut unasked = bare;
    unasked.choice.asym = 0x10;
    assert!(
        offer.accept(&unasked, Needs::default()).is_err(),
        "P-256 was not offered"
    );
}

#[test]
fn needs_follow_from_what_both_sides_can() {
    let session = Flags::KEY_EX | Flags::ENCRYPT | Flags::MAC;
    let none = Flags(0);
    assert_eq!(Needs::of(none, none), Needs::default());
    assert_eq!(Needs::of(session, none), Needs::default());
    assert_eq!(Needs::of(session, session), Needs::SESSION);
    let identity = Needs::of(none, session | Flags::CERT | Flags::CHAL);
    assert!(identity.sign && !identity.exchange && !identity.session);
    let psk = Flags::PSK | Flags::ENCRYPT | Flags::MAC;
    let needs = Needs::of(psk, psk);
    assert!(needs.session && !needs.exchange && !needs.sign);
    assert!(Needs::of(none, Flags::MEAS_SIG).sign && !Needs::of(none, Flags::MEAS_NO_SIG).sign);
    let mutual = session | Flags::MUT_AUTH;
    assert!(Needs::of(mutual, mutual).requester_sign && !Needs::of(session, mutual).requester_sign);
}

#[test]
fn a_requester_offers_what_its_provider_has_and_refuses_a_pair_that_it_has_not() {
    let offer = everything().of_requester(&Ring);
    assert!(offer.sign.iter().all(|alg| !alg.is_post_quantum()));
    assert!(offer.exchange.iter().all(|alg| !alg.is_kem()));
    assert_eq!(offer.sign.len(), 8);
    let pair = |sign, hash| {
        let chosen = Chosen {
            sign: Some(sign),
            hash,
            exchange: None,
            aead: None,
            requester_sign: None,
            measurement_hash: None,
            other_params: 0,
            mel_specification: 0,
        };
        chosen.check_supported(&Ring)
    };
    assert_eq!(pair(SignAlg::EcdsaP384, HashAlg::Sha256), Ok(()));
    assert_eq!(pair(SignAlg::RsaSsa4096, HashAlg::Sha512), Ok(()));
    assert!(matches!(
        pair(SignAlg::EcdsaP384, HashAlg::Sha512),
        Err(CryptoError::Unsupported(_))
    ));
}

#[test]
fn a_responder_that_lacks_something_that_is_needed_in_common_agrees_on_nothing() {
    let without = |kind| {
        let mut asked = request(&everything(), Version::V1_2);
        asked.offer.tables.retain(|table| table.kind != kind);
        asked
    };
    let mut unsigned = request(&everything(), Version::V1_2);
    unsigned.offer.asym = 0;
    let mut formless = request(&everything(), Version::V1_2);
    formless.offer.other_params &= !OPAQUE_FORMAT_1;
    let agrees = |asked: &Request<'_>, needs| {
        let own = Answering {
            needs,
            ..answering(&[&P384])
        };
        everything().choose(asked, &own).is_some()
    };
    let mutual = Needs {
        requester_sign: true,
        ..Needs::SESSION
    };
    assert!(agrees(&request(&everything(), Version::V1_2), mutual));
    for (what, asked) in [
        ("the signature", unsigned),
        ("the group", without(TableKind::DHE)),
        ("the AEAD", without(TableKind::AEAD)),
        ("the requester's signature", without(TableKind::REQUESTER_ASYM)),
        ("the key schedule", without(TableKind::KEY_SCHEDULE)),
        ("the format of opaque data", formless),
    ] {
        assert!(!agrees(&asked, mutual), "{what}");
        assert!(
            agrees(&asked, Needs::default()),
            "{what} is for signatures and sessions"
        );
    }
    // Opaque data have no format before 1.2.
    assert!(agrees(&request(&everything(), Version::V1_1), mutual));
}

#[test]
fn a_responder_offers_what_its_provider_has_and_its_keys_sign() {
    let offered = |signers: &[&dyn Signer]| {
        let own = Answering {
            provider: &Ring,
            ..answering(signers)
        };
        everything().of_responder(&own)
    };
    let both = offered(&[&P384, &Key(SignAlg::EcdsaP256, &[HashAlg::Sha256])]);
    assert_eq!(both.sign, [SignAlg::EcdsaP384, SignAlg::EcdsaP256]);
    let mut hashes = both.hash;
    hashes.sort_by_key(|hash| hash.size());
    assert_eq!(
        hashes,
        [HashAlg::Sha256, HashAlg::Sha384],
        "no key signs with SHA-512"
    );
    assert!(both.exchange.iter().all(|alg| !alg.is_kem()) && !both.exchange.is_empty());
    assert!(both.requester_sign.iter().all(|alg| !alg.is_post_quantum()) && !both.requester_sign.is_empty());
    // A device without a key still hashes.
    let keyless = offered(&[]);
    assert_eq!((keyless.sign, keyless.hash), (vec![], HashAlg::ALL.to_vec()));
}

#[test]
fn extended_algorithms_and_structures_of_no_known_type_are_refused_if_they_choose_something() {
    let asked = request(&Offer::default(), Version::V1_2);
    let good = Offer::default().choose(&asked, &answering(&[&P384])).unwrap();
    let good = answered(&good, &asked);
    let accepts = |response: &Response<'_>| Offer::default().accept(response, Needs::SESSION).is_ok();
    assert!(accepts(&good));
    let extended: &[u8] = &[0, 0, 1, 0];
    type Spoil = fn(&mut Set<'static>, &'static [u8]);
    let spoils: [Spoil; 4] = [
        |set, extended| set.extended_asym = extended,
        |set, extended| set.extended_hash = extended,
        |set, extended| (set.extended_asym, set.extended_hash) = (extended, extended),
        |set, extended| set.tables[0].extended = extended,
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        let mut response = good.clone();
        spoil(&mut response.choice, extended);
        assert!(!accepts(&response), "{number}");
    }
    let unknown = TableKind(0x0f);
    assert!(!accepts(&with_mask(&good, unknown, 1)));
    assert!(accepts(&with_mask(&good, unknown, 0)), "nothing is chosen in it");
}
