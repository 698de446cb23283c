//! ML-DSA and ML-KEM against answers that others gave: Wycheproof, RFC 9881 and OpenSSL.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "known/device.rs"]
mod device;
#[path = "known/evidence.rs"]
mod evidence;
mod known;
#[path = "pair/mod.rs"]
mod pair;
mod providers;
mod vouched;

use device::Suite;
use evidence::Evidence;
use known::{OpenSsl, hex};
use pair::Pair;
use providers::{Drawing, Own, RingBut};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tdisp::crypto::{
    Ability, AeadAlg, CryptoError, ExchangeAlg, HashAlg, MlDsaSigner, PostQuantum, Provider, Ring,
    RingSigner, SignAlg, Signable, Signer, x509::PublicKey,
};
use tdisp::evidence::{Floor, Parameter, Refusal};
use tdisp::relay::guest::Negotiated;
use tdisp::spdm::{
    Event, Identity, Requester, Responder,
    msg::Version,
    responder::{self, Mutual},
    secured::OVERHEAD,
};

const ALL: PostQuantum<Ring> = PostQuantum(Ring);

/// Random bytes that the test gives: those drawn next, then zeros.
#[derive(Default)]
struct Dice(Mutex<VecDeque<u8>>);

impl Dice {
    fn with(bytes: &[u8]) -> PostQuantum<RingBut<Self>> {
        PostQuantum(RingBut(Self(Mutex::new(bytes.iter().copied().collect()))))
    }
}

impl Own for Dice {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        let mut left = self.0.lock().unwrap();
        out.fill_with(|| left.pop_front().unwrap_or_default());
        Ok(())
    }
}

/// A signer that draws zeros, which makes signatures FIPS 204's deterministic ones.
fn deterministic(alg: SignAlg, seed: &[u8]) -> MlDsaSigner {
    MlDsaSigner::from_seed(alg, seed, Arc::new(RingBut(Dice::default()))).unwrap()
}

/// What a signature begins and ends with. It begins with the hash of the message under the key and of all that signing drew,
/// which is as long as the security level wants.
struct Wycheproof {
    alg: SignAlg,
    /// tcId 1, without a context.
    begin: &'static str,
    end: &'static str,
    /// tcId 3, with the context "Context".
    with_context: &'static str,
}

/// C2SP Wycheproof, testvectors_v1/mldsa_{44,65,87}_sign_seed_test.json, first group: the seed is 32 times 2a, the message
/// "Hello world".
const WYCHEPROOF: [Wycheproof; 3] = [
    Wycheproof {
        alg: SignAlg::MlDsa44,
        begin: "1aa69cb5ed35204534f25f40a17eb0d767f8981f5e7cec46d3bf3252bfc78e09
                d02ef0c82da6dde973611c849472890106158cb15ffa6ca891615e888efa0d2d",
        end:
            "cecfd6ed1b303d4250738a97a0aabac6d91e283a4b696f7181828493aec8cdcfe1eaecfc0227484957595badbcbfc8fa
              000000000000000000000000000000000000121f323e",
        with_context: "e11d24772c24efc107ae3abb0149817436f11684d3548748cba19fc0b373ddcb
                       7c8f68f00407d964570c155a9a34823d5b33345a2bb4dfc43d2e178331bc6573",
    },
    Wycheproof {
        alg: SignAlg::MlDsa65,
        begin: "69da5aec6d5f58fbf29439c520bd68b966e3dd2ca633b68351c2862344713a1e
                9c086a44f9a870a3ccc14de62d6c12b278c354d7197c4d6d7f83d1422b29b250",
        end: "77b8296d7dce7fd162970496494d4f60716244a5a7fb7cee40e1d565e6566697e8f93
              00000000000000000000000005101318212b",
        with_context: "3a1f0e89fa72e489e2c4c1607b0f22ad03513725660d1ed7cc9a6b83580247a1
                       01ff45480e4ba49b1feb3bde46952139d3e1d34d7da0124e8ffa05bd19698be5",
    },
    Wycheproof {
        alg: SignAlg::MlDsa87,
        begin: "ba4275ff54c22d2d09ea1937a0667362acd44925c6d6965fad350b111d1cbcce
                68ddbd0e576d1a8810eb4e71623781f32f747d44c8e693749df191682f588906",
        end: "0020c103f53678b9eb1c1
              0000000000000000000000000000000000000000000000000000070a111518202731",
        with_context: "62217e84cf857b184906ba906b223394356d695808a3beac5c9df51dee7b2150
                       0679e5b9ca4e4abc35c150ed56356d3050f559d54c176f57139afaedf4b688d4",
    },
];

#[test]
fn ml_dsa_signs_as_wycheproof_has_it_without_and_with_a_context() {
    for known in WYCHEPROOF {
        let signer = deterministic(known.alg, &[0x2a; 32]);
        let ends = |bytes: &[u8], end: &str| digits(bytes).ends_with(&end.replace(char::is_whitespace, ""));
        let begins = |bytes: &[u8], begin: &str| bytes.starts_with(&hex(begin));
        let mut what = Signable::plain(HashAlg::Sha384, b"Hello world");
        let signature = signer.sign(&what).unwrap();
        assert_eq!(signature.len(), known.alg.signature_size());
        assert!(
            begins(&signature, known.begin) && ends(&signature, known.end),
            "{}",
            known.alg
        );
        what.context = b"Context";
        let other = signer.sign(&what).unwrap();
        assert!(begins(&other, known.with_context), "{}", known.alg);
        for (signature, right) in [(&other, true), (&signature, false)] {
            let verified = ALL.verify(known.alg, signer.public_key(), &what, signature);
            assert_eq!(verified.is_ok(), right, "{}", known.alg);
        }
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 9881 appendix C.1: the seed counts from 0; SHA-256 of the keys that are printed there.
#[test]
fn ml_dsa_keys_are_those_of_rfc_9881() {
    let seed: Vec<u8> = (0..32).collect();
    let known = [
        (
            SignAlg::MlDsa44,
            "9f107644c1084526af3bc8098680b05499a2325a644e388fb4f970e058d19d46",
        ),
        (
            SignAlg::MlDsa65,
            "d666806e11cee19a7c989f7445f90dd419cf4d2d51db8c0fdb4c0f0a542238c9",
        ),
        (
            SignAlg::MlDsa87,
            "91dc389cfaa01470b7f66eee45a4ae9026d154817c754dfe22298b3fa241ffcd",
        ),
    ];
    for (alg, wanted) in known {
        let signer = deterministic(alg, &seed);
        let found = tdisp::crypto::digest(&Ring, HashAlg::Sha256, signer.public_key());
        assert_eq!(found.as_ref(), hex(wanted), "{alg}");
    }
}

#[test]
fn ml_dsa_signatures_by_openssl_verify_and_altered_ones_or_another_context_do_not() {
    let known = OpenSsl::read();
    let message = known.message();
    let mut seen = 0;
    for signed in known.signed_by(true) {
        let name = &signed.name;
        let key = signed.public_key();
        let right = signed.what(&message);
        let what = |context| Signable {
            context,
            ..right.clone()
        };
        let verify = |what: &Signable<'_>, signature: &[u8]| ALL.verify(signed.alg, &key, what, signature);
        assert_eq!(verify(&right, &signed.signature), Ok(()), "{name}");
        let bad = Err(CryptoError::BadSignature);
        for at in (0..signed.signature.len()).step_by(97) {
            let mut altered = signed.signature.clone();
            altered[at] ^= 0x10;
            assert_eq!(verify(&right, &altered), bad, "{name}: byte {at}");
        }
        for wrong in [
            &signed.signature[1..],
            &[],
            &[&signed.signature[..], &[0]].concat(),
        ] {
            assert_eq!(verify(&right, wrong), bad, "{name}: {} bytes", wrong.len());
        }
        assert_eq!(
            verify(&what(b"requester-challenge_auth signing"), &signed.signature),
            bad
        );
        assert_eq!(
            verify(&what(&[1; 256]), &signed.signature),
            bad,
            "{name}: a context that is too long"
        );
        let short = ALL.verify(signed.alg, &key[1..], &right, &signed.signature);
        assert!(matches!(short, Err(CryptoError::BadKey(_))), "{name}");
        for alg in SignAlg::ALL.into_iter().filter(|alg| *alg != signed.alg) {
            assert!(
                ALL.verify(alg, &key, &right, &signed.signature).is_err(),
                "{name} as {alg}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 6, "three parameter sets, without and with a context");
}

#[test]
fn ml_dsa_keys_by_openssl_sign_what_verifies_and_never_the_same_twice() {
    let known = OpenSsl::read();
    let message = known.message();
    for signed in known.signed_by(true) {
        let read = |alg, der: &[u8]| MlDsaSigner::from_pkcs8(alg, der, Arc::new(Ring));
        let signer = read(signed.alg, &signed.key.pkcs8).unwrap();
        assert_eq!(signed.public_key(), signer.public_key(), "{}", signed.name);
        let what = signed.what(&message);
        let signatures = [signer.sign(&what).unwrap(), signer.sign(&what).unwrap()];
        assert_ne!(signatures[0], signatures[1], "{}: hedged", signed.name);
        for signature in signatures {
            assert_eq!(
                ALL.verify(signed.alg, signer.public_key(), &what, &signature),
                Ok(())
            );
        }
        for alg in SignAlg::ALL.into_iter().filter(|alg| *alg != signed.alg) {
            assert!(read(alg, &signed.key.pkcs8).is_err(), "{} as {alg}", signed.name);
        }
        assert!(read(signed.alg, &signed.key.pkcs8[..53]).is_err());
        let too_long = Signable {
            context: &[1; 256],
            ..what
        };
        assert!(signer.sign(&too_long).is_err());
    }
}

#[test]
fn ml_kem_comes_to_openssls_secret() {
    let exchanged = OpenSsl::read().exchanged();
    assert_eq!(exchanged.len(), 2);
    for known in exchanged {
        let requester = Dice::with(&known.seed).key_agreement(known.alg).unwrap();
        assert_eq!(requester.public(), known.request, "{}", known.alg);
        let secret = requester.agree(&known.answer).unwrap();
        assert_eq!(secret.expose(), known.secret, "{}", known.alg);
    }
}

/// C2SP Wycheproof, testvectors_v1/mlkem_512_test.json, tcId 2 (which is FIPS 203 on the seeds of round 3).
#[test]
fn ml_kem_512_comes_to_wycheproofs_secret() {
    let seed = "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d
                8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f";
    let answer = "113db2dd06871235e7bc36c9dcaa528fc26ce5db9ecc1dc32e957d7ffb3c7429d50c3c3577a515d3183a1b9d267b936b
        7eb8f543a3afb77765ca7938f78aa6438ce80a06a6966d0d06af75ba3e0d4f37bac73369f5a729f73e85729edd97c8c2a8cc2619
        e4cf7b6091869e909fd47d9709149204b0837d8d6f25d267972be63bad34b544523c01c09de3b1fa1d6b7b059eee9e652062fe87
        0f68c68005339ea181e1d0767c152aeb38faf0f9245ae59d5cb0d2b7f201229ed97020d0623a46100d097b0ce1154e028ae6194d
        e05de97dd9ae2e85ffd25d95eb22effe5ba19cd807c530ebaa9fe9f642ccacff47ed15c22bfe3036ebf8ad9c8ed23240aeebaa24
        d135755100b85ecee3174906e46312062ceecac75de5275256c2c1a653fd6915b1b30c8ecbb6fd4280437453173a96238bc7d108
        892343e033bcd98e437e789fc5bebaa12b2634b51ed0d589f11143a021d8ecce594fdd48dae84c8063ef3581bc378a48da4e51bb
        175b0db47f9dcf99318c30225ca7fa79c879bf1c9397b5ccc5efad94c500ed7f9f385d088e34932221fc0fc9afe51f6875548131
        697695478abdc8736f10095a6b92ec679fe0e2ae5d8b335355d58dae4d4f0b17aa5d1e52f1d45584a892c34ce4b04fcd00981d51
        caa16064bad92d019dc3aded919684112b29daa28b9dae09b86b21a93310d5fbc6527b224b9ce87d2782bb294673f0ec06f26b08
        7652a18d6ad7b1c93303ef0561c0fc9cd4f678f606f192cf5df92b1548f5dd2687edbeccfc6d4e9de4bd50d3c74fb275abd9b3e9
        0277db4a0069c0a2a7136f50cead4b2f1995faaf168040e9e4beb7c5722049d6da6402992fcea45097df7c1c20fb068222000576
        935a0806773451921f54c55fbf593a4f147c1fef3acaf0cfa907ae48c8c06312cfdf5186904bec7fed4ed933c9256ab04cbfa03a
        967c1f7ead4ab40df116be660e27ca2b543526d4b9684c31e1e42383b969f896299d71390cc85b703202acadecfa8c40965c08c5
        3b5671e0d59455bc5a8586c655db8c2ade4ba8877f19b6000e18f8feadda7ede8fe80aa662d694c6d8c33b52";
    let secret = "319839e82ab6b222de7b619e80da8391522bbb37677018494a4742c53f9abfdf";
    let requester = Dice::with(&hex(seed))
        .key_agreement(ExchangeAlg::MlKem512)
        .unwrap();
    let begin = "400865ed10b619aa5811139bc086825782b2b7124f757c83ae794444bc78a478";
    assert!(requester.public().starts_with(&hex(begin)));
    assert_eq!(requester.agree(&hex(answer)).unwrap().expose(), hex(secret));
}

#[test]
fn both_sides_of_ml_kem_come_to_the_same_secret_and_a_changed_ciphertext_to_another() {
    for alg in ExchangeAlg::ALL.into_iter().filter(|alg| alg.is_kem()) {
        assert!(ALL.supports(Ability::Exchange(alg)));
        let requester = ALL.key_agreement(alg).unwrap();
        assert_eq!(requester.public().len(), alg.request_size());
        let responder = ALL.encapsulate(alg, requester.public()).unwrap();
        assert_eq!(responder.answer.len(), alg.response_size());
        let again = ALL.encapsulate(alg, requester.public()).unwrap();
        assert_ne!(again.answer, responder.answer, "{alg}: drawn anew");
        let secret = requester.agree(&responder.answer).unwrap();
        assert_eq!(secret.expose(), responder.secret.expose(), "{alg}");

        // FIPS 203 §6.3: a ciphertext that is not the one gives a secret that says nothing, and no error.
        let requester = ALL.key_agreement(alg).unwrap();
        let mut responder = ALL.encapsulate(alg, requester.public()).unwrap();
        responder.answer[5] ^= 1;
        let secret = requester.agree(&responder.answer).unwrap();
        assert_ne!(secret.expose(), responder.secret.expose(), "{alg}");
        for wrong in [&responder.answer[1..], &[]] {
            assert!(ALL.key_agreement(alg).unwrap().agree(wrong).is_err(), "{alg}");
        }
    }
}

/// FIPS 203 §7.2: coefficients are below 3329.
#[test]
fn an_ml_kem_key_of_another_size_or_not_reduced_is_refused() {
    for alg in ExchangeAlg::ALL.into_iter().filter(|alg| alg.is_kem()) {
        let public = ALL.key_agreement(alg).unwrap().public().to_vec();
        let mut unreduced = public.clone();
        unreduced[..3].fill(0xff);
        for wrong in [&unreduced[..], &public[1..], &[&public[..], &[0]].concat(), &[]] {
            let refused = ALL.encapsulate(alg, wrong).unwrap_err();
            assert!(
                matches!(refused, CryptoError::BadKey(_)),
                "{alg}: {} bytes",
                wrong.len()
            );
        }
    }
}

#[test]
fn what_the_provider_below_has_is_still_there() {
    for ability in [
        Ability::Exchange(ExchangeAlg::EcdhP384),
        Ability::Verify(SignAlg::EcdsaP384, HashAlg::Sha384),
        Ability::Aead(AeadAlg::Aes256Gcm),
    ] {
        assert!(ALL.supports(ability));
    }
    assert!(!ALL.supports(Ability::Verify(SignAlg::EcdsaP384, HashAlg::Sha512)));
    let requester = ALL.key_agreement(ExchangeAlg::EcdhP384).unwrap();
    assert!(
        Ring.encapsulate(ExchangeAlg::EcdhP384, requester.public())
            .is_ok()
    );
}

#[test]
fn without_randomness_there_are_no_keys_no_secrets_and_no_signatures() {
    let dry = PostQuantum(RingBut(Drawing(None)));
    let dry_up = |result: Result<(), CryptoError>| assert_eq!(result, Err(CryptoError::NoEntropy));
    dry_up(dry.key_agreement(ExchangeAlg::MlKem768).map(drop));
    let public = ALL
        .key_agreement(ExchangeAlg::MlKem768)
        .unwrap()
        .public()
        .to_vec();
    dry_up(dry.encapsulate(ExchangeAlg::MlKem768, &public).map(drop));
    let signer =
        MlDsaSigner::from_seed(SignAlg::MlDsa65, &[1; 32], Arc::new(RingBut(Drawing(None)))).unwrap();
    dry_up(signer.sign(&Signable::plain(HashAlg::Sha384, b"")).map(drop));
}

#[test]
fn certificates_by_openssl_with_ml_dsa_are_signed_by_their_issuer_and_by_nobody_else() {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let known = OpenSsl::read().certificates();
    let mine: Vec<_> = known
        .iter()
        .filter(|issued| issued.name.starts_with("ML-DSA"))
        .collect();
    assert_eq!(mine.len(), 3);
    for issued in &mine {
        let name = &issued.name;
        let (_, issuer) = X509Certificate::from_der(&issued.issuer).unwrap();
        let key = PublicKey::from_der(issuer.public_key().raw).unwrap();
        assert_eq!(key.check_signed(&issued.issuer, &ALL), Ok(()), "{name}, itself");
        assert_eq!(key.check_signed(&issued.subject, &ALL), Ok(()), "{name}");
        for at in (0..issued.subject.len()).step_by(61) {
            let mut altered = issued.subject.clone();
            altered[at] ^= 1;
            assert!(key.check_signed(&altered, &ALL).is_err(), "{name}: byte {at}");
        }
        for other in mine.iter().filter(|other| other.name != *name) {
            assert!(
                key.check_signed(&other.subject, &ALL).is_err(),
                "{name}, {}",
                other.name
            );
        }
    }
}

/// As in a device's evidence: the path, and a leaf whose key is for the algorithm that was negotiated.
#[test]
fn evidence_takes_a_chain_with_ml_dsa() {
    for (sign, certificates) in SIGN {
        suite(sign, ExchangeAlg::MlKem768).judge_chain(certificates, &ALL);
    }
}

fn evidence(certificates: &str, sign: SignAlg, exchange: ExchangeAlg) -> Evidence {
    let key = OpenSsl::read().key(&format!("{sign:?}"));
    let signer = MlDsaSigner::from_pkcs8(sign, &key.pkcs8, Arc::new(Ring)).unwrap();
    Evidence::of(
        certificates,
        Arc::new(signer),
        suite(sign, exchange),
        Arc::new(ALL),
    )
}

#[test]
fn evidence_by_each_ml_dsa_over_each_key_exchange_is_verified() {
    for (sign, certificates) in SIGN {
        for exchange in ExchangeAlg::ALL {
            evidence(certificates, sign, exchange).check();
        }
    }
}

#[test]
fn evidence_by_a_classical_key_over_each_ml_kem_is_verified() {
    let key = OpenSsl::read().key("P384");
    let signer: Arc<dyn Signer> = Arc::new(RingSigner::from_pkcs8(SignAlg::EcdsaP384, &key.pkcs8).unwrap());
    for exchange in ExchangeAlg::ALL.into_iter().filter(|alg| alg.is_kem()) {
        let suite = suite(SignAlg::EcdsaP384, exchange);
        Evidence::of("ECDSA P384 Sha384", signer.clone(), suite, Arc::new(ALL)).check();
    }
}

#[test]
fn a_floor_on_the_classical_kind_is_none_on_the_post_quantum_one() {
    let evidence = evidence("ML-DSA-65", SignAlg::MlDsa65, ExchangeAlg::MlKem768);
    let found = evidence.floor();
    let anything = Floor {
        asym: u32::MAX,
        dhe: u16::MAX,
        ..found
    };
    assert!(evidence.judge(&evidence.bundle, anything).is_ok());
    for (floor, wanted) in [
        (
            Floor {
                pqc_asym: 0,
                ..anything
            },
            Parameter::PostQuantumSignature,
        ),
        (
            Floor {
                pqc_asym: 4,
                ..anything
            },
            Parameter::PostQuantumSignature,
        ),
        (Floor { kem: 0, ..anything }, Parameter::Kem),
        (Floor { kem: 4, ..anything }, Parameter::Kem),
    ] {
        match evidence.judge(&evidence.bundle, floor) {
            Err(Refusal::Algorithm { what, .. }) => assert_eq!(what, wanted),
            other => panic!("{floor:?}: {other:?}"),
        }
    }
}

#[test]
fn evidence_is_refused_where_the_tsm_says_that_another_algorithm_was_negotiated() {
    let evidence = evidence("ML-DSA-65", SignAlg::MlDsa65, ExchangeAlg::MlKem768);
    let good = evidence.negotiated();
    for (said, wanted) in [
        (
            Negotiated { pqc_asym: 4, ..good },
            Parameter::PostQuantumSignature,
        ),
        (
            Negotiated { pqc_asym: 0, ..good },
            Parameter::PostQuantumSignature,
        ),
        (Negotiated { asym: 0x80, ..good }, Parameter::Signature),
        (Negotiated { kem: 4, ..good }, Parameter::Kem),
        (Negotiated { dhe: 0x10, ..good }, Parameter::Group),
    ] {
        match evidence.judge_as(&evidence.bundle, evidence.floor(), said, &ALL) {
            Err(Refusal::Negotiated { what, .. }) => assert_eq!(what, wanted),
            other => panic!("{said:?}: {other:?}"),
        }
    }
}

#[test]
fn evidence_by_ml_dsa_is_refused_without_the_provider_in_words_that_say_what_to_do() {
    let evidence = evidence("ML-DSA-65", SignAlg::MlDsa65, ExchangeAlg::MlKem768);
    let judged = evidence.judge_as(&evidence.bundle, evidence.floor(), evidence.negotiated(), &Ring);
    assert_eq!(
        judged.unwrap_err().to_string(),
        "the device signs with ML-DSA-65 and SHA-384, and this program cannot verify that: build it with the feature \
         `post-quantum`, or have the device sign with a classical algorithm"
    );
}

/// Whose digests the TSM would vouch for, all the same.
#[test]
fn no_byte_of_evidence_by_ml_dsa_can_change() {
    let evidence = evidence("ML-DSA-44", SignAlg::MlDsa44, ExchangeAlg::MlKem512);
    for at in (0..evidence.bundle.measurements.len()).step_by(53) {
        let mut bundle = evidence.bundle.clone();
        bundle.measurements[at] ^= 0x20;
        assert!(evidence.judge(&bundle, evidence.floor()).is_err(), "byte {at}");
    }
    for at in (0..evidence.bundle.certificates.len()).step_by(211) {
        let mut bundle = evidence.bundle.clone();
        bundle.certificates[at] ^= 0x20;
        assert!(
            evidence.judge(&bundle, evidence.floor()).is_err(),
            "byte {at} of the certificates"
        );
    }
}

const SIGN: [(SignAlg, &str); 3] = [
    (SignAlg::MlDsa44, "ML-DSA-44"),
    (SignAlg::MlDsa65, "ML-DSA-65"),
    (SignAlg::MlDsa87, "ML-DSA-87"),
];

fn suite(sign: SignAlg, exchange: ExchangeAlg) -> Suite {
    Suite {
        version: Version::V1_4,
        sign,
        exchange,
        ..Suite::USUAL
    }
}

/// Certificates, challenge, key exchange, measurements and records of 1.4.
#[test]
fn whole_conversations_with_each_ml_dsa_and_each_key_exchange() {
    let provider: Arc<dyn Provider> = Arc::new(ALL);
    for (sign, certificates) in SIGN {
        for exchange in ExchangeAlg::ALL {
            let key = OpenSsl::read().key(&format!("{sign:?}"));
            let signer = MlDsaSigner::from_pkcs8(sign, &key.pkcs8, Arc::new(Ring)).unwrap();
            let suite = suite(sign, exchange);
            suite.check(&mut suite.pair(certificates, Arc::new(signer), &provider));
        }
    }
}

/// No message of ML-DSA fits where a classical one does.
#[test]
fn a_whole_conversation_in_chunks() {
    let provider: Arc<dyn Provider> = Arc::new(ALL);
    let key = OpenSsl::read().key("MlDsa87");
    let signer: Arc<dyn Signer> =
        Arc::new(MlDsaSigner::from_pkcs8(SignAlg::MlDsa87, &key.pkcs8, Arc::new(Ring)).unwrap());
    let suite = suite(SignAlg::MlDsa87, ExchangeAlg::MlKem1024);
    for size in [64, 1024, 0x1200] {
        let mut pair = suite.pair_of_size(size, "ML-DSA-87", signer.clone(), &provider);
        suite.check(&mut pair);
        let largest = pair.carried.iter().map(Vec::len).max();
        // Not counted are the data object's header and padding, and what seals a record.
        assert!(
            largest.is_some_and(|largest| largest <= size as usize + 8 + OVERHEAD + 3),
            "{size}: {largest:?}"
        );
    }
}

#[test]
fn a_whole_conversation_with_ml_kem_and_a_classical_key() {
    let provider: Arc<dyn Provider> = Arc::new(ALL);
    let key = OpenSsl::read().key("P384");
    let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, &key.pkcs8).unwrap();
    let suite = suite(SignAlg::EcdsaP384, ExchangeAlg::MlKem1024);
    suite.check(&mut suite.pair("ECDSA P384 Sha384", Arc::new(signer), &provider));
}

#[test]
fn a_requester_without_the_post_quantum_algorithms_and_such_a_device_have_nothing_in_common() {
    let provider: Arc<dyn Provider> = Arc::new(Ring);
    let key = OpenSsl::read().key("MlDsa65");
    let signer = MlDsaSigner::from_pkcs8(SignAlg::MlDsa65, &key.pkcs8, Arc::new(Ring)).unwrap();
    let suite = suite(SignAlg::MlDsa65, ExchangeAlg::MlKem768);
    let mut pair = suite.pair("ML-DSA-65", Arc::new(signer), &provider);
    pair.connect();
    assert!(pair.failure().is_some() && pair.requester.session().is_none());
}

/// Signs without the context that it is given, as implementations did that knew ML-DSA before they knew its contexts.
struct WithoutContext(MlDsaSigner);

impl Signer for WithoutContext {
    fn algorithm(&self) -> SignAlg {
        self.0.algorithm()
    }
    fn signs_with(&self, hash: HashAlg) -> bool {
        self.0.signs_with(hash)
    }
    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        self.0.sign(&Signable::plain(what.hash, &what.message))
    }
}

#[test]
fn a_device_that_signs_without_the_context_string_is_refused() {
    let provider: Arc<dyn Provider> = Arc::new(ALL);
    let key = OpenSsl::read().key("MlDsa65");
    let signer = MlDsaSigner::from_pkcs8(SignAlg::MlDsa65, &key.pkcs8, Arc::new(Ring)).unwrap();
    let suite = suite(SignAlg::MlDsa65, ExchangeAlg::MlKem768);
    let mut pair = suite.pair("ML-DSA-65", Arc::new(WithoutContext(signer)), &provider);
    pair.connect();
    let failure = pair.failure().map(ToString::to_string).unwrap_or_default();
    assert!(failure.contains("signature"), "{failure:?}");
    assert!(pair.requester.session().is_none());
}

/// The requester shows a chain of its own, and signs FINISH, with another parameter set than the responder.
#[test]
fn both_sides_authenticate_each_other_with_ml_dsa() {
    let provider: Arc<dyn Provider> = Arc::new(ALL);
    let suite = |sign| suite(sign, ExchangeAlg::MlKem768);
    let signer = |sign: SignAlg| {
        let key = OpenSsl::read().key(&format!("{sign:?}"));
        Arc::new(MlDsaSigner::from_pkcs8(sign, &key.pkcs8, Arc::new(Ring)).unwrap())
    };
    let (theirs, ours) = (SignAlg::MlDsa65, SignAlg::MlDsa44);
    let (mut requester, mut responder) = suite(theirs).ends("ML-DSA-65", signer(theirs), &ALL);
    let (trusting, showing) = suite(ours).ends("ML-DSA-44", signer(ours), &ALL);
    requester.identity = Some(Identity {
        slots: showing.slots,
        ..Identity::default()
    });
    requester.offer.requester_sign = vec![ours];
    responder.mutual = Some(Mutual::new(trusting.roots));
    responder.offer.requester_sign = vec![ours];
    let mut pair = Pair::of(
        Requester::new(requester, provider.clone()),
        Responder::new(responder, provider),
    );
    suite(theirs).check(&mut pair);
    let chosen = pair.requester_events.iter().find_map(|event| match event {
        Event::Connected(negotiated) => negotiated.algorithms.requester_sign,
        _ => None,
    });
    assert_eq!(chosen, Some(ours));
    let proven = |event: &responder::Event| matches!(event, responder::Event::RequesterAuthenticated { .. });
    assert!(
        pair.responder_events.iter().any(proven),
        "{:?}",
        pair.responder_events
    );
}
