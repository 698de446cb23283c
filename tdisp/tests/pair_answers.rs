//! A responder, spoken to by hand in every version: what is repeated, what comes too early, and what is signed.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;
#[path = "pair_answers/patience.rs"]
mod patience;

use harness::{by_hand::get_certificate, responder, suite::Suite};
use std::time::Duration;
use tdisp::{
    clock::Instant,
    crypto::{ExchangeAlg, HashAlg, Provider, Ring, SignAlg, digest},
    spdm::{
        Responder, ResponderConfig, SECURED_VERSIONS, Transport, VERSIONS,
        algorithms::{MULTI_KEY, Needs, Offer},
        msg::{
            Code, Context, Payload, Summary, Version, algorithms,
            capabilities::{self, Flags, Sizes},
            challenge, digests,
            error::{self as error_msg, ErrorCode, NotReady},
            key_exchange,
            measurements::{self, Operation, Signed},
            respond_if_ready, version,
        },
        opaque,
        responder::{Delay, KeyPairs, Measured, MultiKey, Slot, Wait},
        signing,
        transcript::Transcript,
        transport::Kind,
    },
};

const SUITE: Suite = Suite::P384;
const SESSIONS: Flags = Flags(Flags::ENCRYPT.0 | Flags::MAC.0 | Flags::KEY_EX.0 | Flags::HBEAT.0);

/// Who speaks, over MCTP, where nothing is padded.
struct Hand {
    responder: Responder,
    version: Version,
    now: Instant,
    vca: Vec<u8>,
    context: Context,
}

impl Hand {
    fn start(version: Version, change: impl FnOnce(&mut ResponderConfig)) -> Self {
        let mut config = SUITE.responder(version, Transport::Mctp);
        config.versions = VERSIONS.to_vec();
        change(&mut config);
        Self {
            responder: responder(config),
            version,
            now: Instant::START,
            vca: Vec::new(),
            context: Context::new(version),
        }
    }

    /// VERSION is answered.
    fn versioned(version: Version, change: impl FnOnce(&mut ResponderConfig)) -> Self {
        let mut hand = Self::start(version, change);
        hand.in_vca(&version::Request.to_vec());
        hand
    }

    /// CAPABILITIES is answered.
    fn capable(version: Version, change: impl FnOnce(&mut ResponderConfig)) -> Self {
        let mut hand = Self::versioned(version, change);
        hand.in_vca(&hand.get_capabilities());
        hand
    }

    /// ALGORITHMS is answered.
    fn agreed(version: Version, change: impl FnOnce(&mut ResponderConfig)) -> Self {
        let mut hand = Self::capable(version, change);
        let answer = hand.in_vca(&hand.negotiate());
        let message = algorithms::Response::decode_exact(&answer, &hand.context).unwrap();
        let needs = Needs {
            sign: true,
            ..Needs::default()
        };
        let chosen = Offer { ..SUITE.offer() }.accept(&message, needs).unwrap();
        hand.context = chosen.context(version, false);
        hand
    }

    fn get_capabilities(&self) -> Vec<u8> {
        let flags = match self.version {
            Version::V1_0 => Flags(0),
            Version::V1_1 | Version::V1_2 => SESSIONS,
            // Who has chunks may ask for the supported algorithms.
            _ => SESSIONS | Flags::CHUNK,
        };
        let request = capabilities::Request {
            version: self.version,
            ct_exponent: 0,
            extended_flags: 0,
            flags,
            sizes: Some(Sizes {
                transfer: 0x1200,
                message: 0x1200,
            }),
            algorithms_asked: self.version >= Version::V1_3,
        };
        request.to_vec()
    }

    fn negotiate(&self) -> Vec<u8> {
        let request = algorithms::Request {
            version: self.version,
            offer: SUITE.offer().to_set(self.version),
        };
        request.to_vec()
    }

    fn in_vca(&mut self, request: &[u8]) -> Vec<u8> {
        let answer = self.say(request);
        assert_ne!(answer[1], Code::ERROR.0, "{request:02x?} in {}", self.version);
        self.vca.extend_from_slice(request);
        self.vca.extend_from_slice(&answer);
        answer
    }

    fn say(&mut self, message: &[u8]) -> Vec<u8> {
        self.responder
            .handle(self.now, &Transport::Mctp.wrap(Kind::Clear, message));
        let mut unit = Vec::new();
        assert!(self.responder.poll_transmit(&mut unit), "{message:02x?}");
        assert!(!self.responder.poll_transmit(&mut Vec::new()), "one answer only");
        let (kind, answer) = Transport::Mctp.unwrap(&unit).unwrap().unwrap();
        assert_eq!(kind, Kind::Clear);
        answer.to_vec()
    }

    fn refused(&mut self, message: &[u8]) -> (ErrorCode, u8) {
        let answer = self.say(message);
        assert_eq!(answer[1], Code::ERROR.0, "{answer:02x?} to {message:02x?}");
        (ErrorCode(answer[2]), answer[3])
    }

    fn not_ready(&mut self, message: &[u8]) -> NotReady {
        let answer = self.say(message);
        let error = error_msg::Response::decode_exact(&answer, &self.context).unwrap();
        error.not_ready().unwrap_or_else(|| panic!("{answer:02x?}"))
    }

    fn challenge(&self, summary: Summary) -> Vec<u8> {
        let request = challenge::Request {
            version: self.version,
            slot: 0,
            summary,
            nonce: [3; 32],
            context: Some([5; 8]),
        };
        request.to_vec()
    }

    fn get_measurements(&self, operation: Operation, signed: bool) -> Vec<u8> {
        let request = measurements::Request {
            version: self.version,
            operation,
            raw: false,
            fresh: false,
            signed: signed.then_some(Signed {
                nonce: [4; 32],
                slot: 0,
            }),
            context: Some([6; 8]),
        };
        request.to_vec()
    }

    /// Whether a signature at the end of the last message is over these messages and no others.
    fn check(&self, context: signing::Context, messages: &[&[u8]], with_vca: bool) {
        let mut transcript = Transcript::new(&Ring, HashAlg::Sha384, self.version);
        if with_vca {
            transcript.add(&self.vca);
        }
        let (last, before) = messages.split_last().unwrap();
        let (unsigned, signature) = last.split_at(last.len() - 96);
        before.iter().for_each(|message| transcript.add(message));
        transcript.add(unsigned);
        let signed = signing::message(self.version, context, &transcript);
        let key = SUITE.identity().signer.public_key();
        let verified = Ring.verify(SignAlg::EcdsaP384, key, &signed, signature);
        assert_eq!(verified, Ok(()), "{}", self.version);
    }
}

fn nothing(_: &mut ResponderConfig) {}

#[test]
fn a_retry_gets_the_same_answer_and_is_in_no_transcript_twice() {
    for version in VERSIONS {
        let mut hand = Hand::versioned(*version, nothing);
        let request = hand.get_capabilities();
        let first = hand.in_vca(&request);
        assert_eq!(hand.say(&request), first);
        let request = hand.negotiate();
        let first = hand.in_vca(&request);
        assert_eq!(hand.say(&request), first);
        assert_eq!(
            hand.refused(&hand.get_capabilities()).0,
            ErrorCode::UNEXPECTED_REQUEST
        );
        let challenge = hand.challenge(Summary::NONE);
        let answer = hand.say(&challenge);
        hand.check(signing::Context::ChallengeAuth, &[&challenge, &answer], true);
    }
}

#[test]
fn what_is_no_retry_in_any_bit_is_unexpected_or_wrong_and_changes_nothing() {
    for version in VERSIONS {
        let mut hand = Hand::capable(*version, nothing);
        let capabilities = hand.get_capabilities();
        refuse_each_change(&mut hand, &capabilities);
        let negotiate = hand.negotiate();
        hand.in_vca(&negotiate);
        refuse_each_change(&mut hand, &negotiate);
        let challenge = hand.challenge(Summary::NONE);
        let answer = hand.say(&challenge);
        hand.check(signing::Context::ChallengeAuth, &[&challenge, &answer], true);
    }
}

fn refuse_each_change(hand: &mut Hand, request: &[u8]) {
    // But for the code, which makes another request of it.
    for bit in (0..request.len() * 8).filter(|bit| bit / 8 != 1) {
        let mut changed = request.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (code, _) = hand.refused(&changed);
        let wanted = [
            ErrorCode::UNEXPECTED_REQUEST,
            ErrorCode::INVALID_REQUEST,
            ErrorCode::VERSION_MISMATCH,
        ];
        assert!(wanted.contains(&code), "bit {bit}: {code}");
        assert!(code != ErrorCode::VERSION_MISMATCH || bit < 8, "bit {bit}");
    }
}

#[test]
fn get_version_in_another_version_is_a_mismatch_and_resets_nothing() {
    let mut hand = Hand::agreed(Version::V1_2, nothing);
    for version in (0..=255u8).filter(|version| *version != 0x10) {
        let (code, _) = hand.refused(&[version, Code::GET_VERSION.0, 0, 0]);
        assert_eq!(code, ErrorCode::VERSION_MISMATCH, "{version:#x}");
    }
    let request = digests::Request {
        version: Version::V1_2,
    };
    assert_eq!(hand.say(&request.to_vec())[1], Code::DIGESTS.0);
}

#[test]
fn versions_are_offered_as_configured_and_no_other_is_taken() {
    let versions = [Version::V1_1, Version::V1_3];
    let mut hand = Hand::versioned(Version::V1_3, |config| config.versions = versions.to_vec());
    let offered = hand.say(&version::Request.to_vec());
    assert_eq!(offered, [0x10, 4, 0, 0, 0, 2, 0, 0x11, 0, 0x13]);
    for version in VERSIONS {
        let mut request = hand.get_capabilities();
        request[0] = version.0;
        let answer = hand.say(&request);
        let taken = answer[1] == Code::CAPABILITIES.0;
        assert_eq!(taken, *version == Version::V1_3, "{version}: {answer:02x?}");
    }
}

#[test]
fn capabilities_have_what_their_version_has() {
    let sizes = [12, 12, 20, 20, 20];
    for (version, size) in VERSIONS.iter().zip(sizes) {
        let mut hand = Hand::versioned(*version, |config| config.chunk = Some(0x1_0000));
        let answer = hand.in_vca(&hand.get_capabilities());
        let read = capabilities::Response::decode_exact(&answer, &hand.context).unwrap();
        let listed = read.algorithms.map_or(0, <[u8]>::len);
        assert_eq!(answer.len(), size + listed, "{version}");
        assert_eq!(listed > 0, *version >= Version::V1_3);
        let known = [0x3f, 0x1_ffff, 0x3f_ffff, 0x3fff_ffff, u32::MAX];
        let at = VERSIONS.iter().position(|known| known == version).unwrap();
        assert_eq!(read.flags.0 & !known[at], 0);
        if let Some(block) = read.algorithms {
            // The block is a NEGOTIATE_ALGORITHMS without its first two bytes.
            let mut request = [&[version.0, 0xe3][..], block].concat();
            let length = request.len() as u16;
            assert_eq!(block[2..4], (length - 2).to_le_bytes());
            request[4..6].copy_from_slice(&length.to_le_bytes());
            let offer = algorithms::Request::decode_exact(&request, &hand.context)
                .unwrap()
                .offer;
            assert_eq!(offer, SUITE.offer().to_set(*version));
        }
    }
}

#[test]
fn a_wish_for_the_supported_algorithms_of_who_has_no_chunks_is_invalid() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut hand = Hand::versioned(version, |config| config.chunk = Some(0x1_0000));
        let mut request = hand.get_capabilities();
        request[10] &= !2;
        assert_eq!(hand.refused(&request), (ErrorCode::INVALID_REQUEST, 0));
        request[2] = 0;
        hand.in_vca(&request);
    }
}

#[test]
fn bit_streams_are_given_to_who_asks_for_them_where_there_are_any_and_digests_to_others() {
    let streams = |config: &mut ResponderConfig| {
        let first = &mut config.measurements[0];
        first.bit_stream = Some(b"what was hashed".to_vec());
    };
    for version in VERSIONS {
        for wanted in [false, true] {
            let mut hand = Hand::agreed(*version, streams);
            let mut request = hand.get_measurements(Operation::ALL, true);
            request[2] |= u8::from(wanted) << 1;
            let answer = hand.say(&request);
            let context = Context {
                signature_asked: true,
                ..hand.context
            };
            let read = measurements::Response::decode_exact(&answer, &context).unwrap();
            let given = wanted && *version >= Version::V1_2;
            let shown = |at: usize| read.record.blocks[at].dmtf().unwrap();
            let first = shown(0);
            assert_eq!(first.raw, given, "{version}, {wanted}");
            assert_eq!(first.value == b"what was hashed", given, "{version}, {wanted}");
            assert!(!shown(1).raw, "of the second there is only the digest");
            assert!(shown(2).raw, "of the third there is only the stream");
        }
    }
}

#[test]
fn requests_that_came_with_later_versions_are_unsupported() {
    let later = [
        (
            Version::V1_1,
            [
                Code::KEY_EXCHANGE,
                Code::FINISH,
                Code::HEARTBEAT,
                Code::END_SESSION,
            ],
        ),
        (
            Version::V1_2,
            [
                Code::CHUNK_SEND,
                Code::CHUNK_GET,
                Code::GET_CSR,
                Code::SET_CERTIFICATE,
            ],
        ),
        (
            Version::V1_3,
            [
                Code::GET_ENDPOINT_INFO,
                Code::GET_MEASUREMENT_EXTENSION_LOG,
                Code::GET_SUPPORTED_EVENT_TYPES,
                Code::GET_KEY_PAIR_INFO,
            ],
        ),
    ];
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, |config| {
            config.chunk = Some(0x4000);
            config.mel = Some(Vec::new());
        });
        for (_, codes) in later.iter().filter(|(since, _)| version < since) {
            for code in codes {
                let found = hand.refused(&[version.0, code.0, 0, 0]);
                assert_eq!(found, (ErrorCode::UNSUPPORTED_REQUEST, code.0), "{version}");
            }
        }
    }
}

#[test]
fn a_heartbeat_outside_a_session_is_refused_in_the_words_of_its_version() {
    for version in &VERSIONS[1..] {
        let mut hand = Hand::agreed(*version, nothing);
        let wanted = match version {
            &Version::V1_1 => ErrorCode::UNEXPECTED_REQUEST,
            _ => ErrorCode::SESSION_REQUIRED,
        };
        assert_eq!(hand.refused(&[version.0, Code::HEARTBEAT.0, 0, 0]), (wanted, 0));
        let wanted = match version {
            &Version::V1_1 => ErrorCode::INVALID_REQUEST,
            _ => ErrorCode::REQUEST_TOO_LARGE,
        };
        let large = [&[version.0, Code::GET_DIGESTS.0, 0, 0][..], &[0; 0x2000]].concat();
        assert_eq!(hand.refused(&large), (wanted, 0));
    }
}

#[test]
fn a_slot_is_one_of_eight_in_every_request_that_has_one() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, nothing);
        for slot in 1..=255u8 {
            let mut challenge = hand.challenge(Summary::NONE);
            challenge[2] = slot;
            assert_eq!(
                hand.refused(&challenge),
                (ErrorCode::INVALID_REQUEST, 0),
                "{slot}"
            );
            let mut certificate = get_certificate(*version, 0x20);
            certificate[2] = slot & 0x0f;
            if slot & 0x0f != 0 {
                assert_eq!(
                    hand.refused(&certificate),
                    (ErrorCode::INVALID_REQUEST, 0),
                    "{slot}"
                );
            }
            let mut measure = hand.get_measurements(Operation::ALL, true);
            if *version > Version::V1_0 && slot & 0x0f != 0 {
                measure[36] = slot;
                assert_eq!(hand.refused(&measure), (ErrorCode::INVALID_REQUEST, 0), "{slot}");
            }
        }
    }
}

#[test]
fn a_slot_whose_key_is_of_another_algorithm_than_agreed_on_signs_nothing() {
    for version in VERSIONS {
        let other = Suite::P256.identity();
        let mut hand = Hand::agreed(*version, |config| {
            config.slots[1] = Some(Slot::new(other.chain.clone(), other.signer.clone()));
        });
        let invalid = (ErrorCode::INVALID_REQUEST, 0);
        for (slot, signs) in [(0, true), (1, false)] {
            let mut challenge = hand.challenge(Summary::NONE);
            challenge[2] = slot;
            let mut measure = hand.get_measurements(Operation::ALL, true);
            // Before 1.1 measurements are signed with slot 0's key.
            if *version > Version::V1_0 {
                measure[36] = slot;
            }
            let mut requests = vec![challenge];
            if signs || *version > Version::V1_0 {
                requests.push(measure);
            }
            if *version > Version::V1_0 {
                requests.push(key_exchange_for(&hand, slot));
            }
            for request in requests {
                let answer = hand.say(&request);
                let refused = answer[1] == Code::ERROR.0;
                assert_eq!(refused, !signs, "{version} {slot}: {answer:02x?}");
                if refused {
                    assert_eq!((ErrorCode(answer[2]), answer[3]), invalid);
                }
            }
        }
    }
}

#[test]
fn the_size_of_a_chain_can_be_asked_for_alone() {
    let size = SUITE.identity().chain.len() as u16;
    for version in &VERSIONS[3..] {
        let mut hand = Hand::agreed(*version, nothing);
        let mut request = get_certificate(*version, 0xffff);
        request[3] = 1;
        let [low, high] = size.to_le_bytes();
        assert_eq!(hand.say(&request), [version.0, 2, 0, 0, 0, 0, low, high]);
    }
}

#[test]
fn what_is_asked_between_certificates_and_challenge_breaks_no_signature() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, nothing);
        let digests = digests::Request { version: *version }.to_vec();
        let said_digests = hand.say(&digests);
        let certificate = get_certificate(*version, 0x40);
        let said_certificate = hand.say(&certificate);
        // Nobody's vendor-defined request: it is refused, and is no reason to begin anew.
        let foreign = [version.0, 0xfe, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(hand.refused(&foreign), (ErrorCode::UNSUPPORTED_REQUEST, 0xfe));
        let challenge = hand.challenge(Summary::NONE);
        let answer = hand.say(&challenge);
        let all: [&[u8]; 6] = [
            &digests,
            &said_digests,
            &certificate,
            &said_certificate,
            &challenge,
            &answer,
        ];
        hand.check(signing::Context::ChallengeAuth, &all, true);
        // The next begins anew, and so does one after measurements.
        let answer = hand.say(&challenge);
        hand.check(signing::Context::ChallengeAuth, &[&challenge, &answer], true);
        hand.say(&digests);
        hand.say(&hand.get_measurements(Operation::ALL, false));
        let answer = hand.say(&challenge);
        hand.check(signing::Context::ChallengeAuth, &[&challenge, &answer], true);
    }
}

#[test]
fn an_error_among_measurements_begins_their_transcript_anew() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, nothing);
        let with_vca = *version >= Version::V1_2;
        let (one, none) = (
            hand.get_measurements(Operation(1), false),
            hand.get_measurements(Operation(77), false),
        );
        let signed = hand.get_measurements(Operation(2), true);
        let said_one = hand.say(&one);
        let answer = hand.say(&signed);
        hand.check(
            signing::Context::Measurements,
            &[&one, &said_one, &signed, &answer],
            with_vca,
        );
        hand.say(&one);
        assert_eq!(hand.refused(&none), (ErrorCode::INVALID_REQUEST, 0));
        let answer = hand.say(&signed);
        hand.check(signing::Context::Measurements, &[&signed, &answer], with_vca);
    }
}

#[test]
fn measurements_of_a_device_that_does_not_sign_them_are_not_to_be_had_signed() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, |config| config.measured = Measured::Unsigned);
        let signed = hand.get_measurements(Operation::ALL, true);
        let unsupported = (ErrorCode::UNSUPPORTED_REQUEST, Code::GET_MEASUREMENTS.0);
        assert_eq!(hand.refused(&signed), unsupported, "{version}");
        let unsigned = hand.get_measurements(Operation::ALL, false);
        assert_eq!(hand.say(&unsigned)[1], Code::MEASUREMENTS.0);
    }
}

#[test]
fn several_keys_are_agreed_on_as_the_device_has_them() {
    for version in VERSIONS {
        for (modes, one, several) in [
            (MultiKey::No, true, false),
            (MultiKey::Only, false, true),
            (MultiKey::Negotiated, true, true),
        ] {
            for (wanted, goes) in [(0, one), (MULTI_KEY, several)] {
                let mut hand = Hand::capable(*version, |config| config.multi_key = modes);
                let mut offer = SUITE.offer();
                offer.other_params |= wanted;
                let request = algorithms::Request {
                    version: *version,
                    offer: offer.to_set(*version),
                };
                let answer = hand.say(&request.to_vec());
                // Before 1.3 there is no such thing.
                let goes = goes || *version < Version::V1_3;
                assert_eq!(
                    answer[1] == Code::ALGORITHMS.0,
                    goes,
                    "{version} {modes:?} {wanted}"
                );
                if !goes {
                    assert_eq!(answer[2], ErrorCode::INVALID_REQUEST.0);
                }
            }
        }
    }
}

#[test]
fn measurements_whose_format_was_not_agreed_on_are_unexpected() {
    for version in VERSIONS {
        let mut hand = Hand::capable(*version, nothing);
        let mut negotiate = hand.negotiate();
        negotiate[6] = 0; // MeasurementSpecification
        hand.in_vca(&negotiate);
        let measure = hand.get_measurements(Operation::ALL, false);
        assert_eq!(hand.refused(&measure), (ErrorCode::UNEXPECTED_REQUEST, 0));
    }
}

#[test]
fn a_summary_is_the_hash_of_the_blocks_that_are_asked_for() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, nothing);
        let all = hand.say(&hand.get_measurements(Operation::ALL, false));
        let record = measurements::Response::decode_exact(&all, &hand.context)
            .unwrap()
            .record;
        for (summary, blocks) in [(Summary::ALL, 3), (Summary::TCB, 2), (Summary::NONE, 0)] {
            let answer = hand.say(&hand.challenge(summary));
            let context = Context {
                summary_asked: blocks > 0,
                ..hand.context
            };
            let found = challenge::Response::decode_exact(&answer, &context).unwrap();
            let mut bytes = Vec::new();
            let first = measurements::Record {
                blocks: record.blocks[..blocks].to_vec(),
            };
            first.encode(&mut bytes);
            let wanted = digest(&Ring, HashAlg::Sha384, &bytes);
            assert_eq!(
                found.summary,
                (blocks > 0).then_some(wanted.as_ref()),
                "{version} {summary}"
            );
        }
        let mut wrong = hand.challenge(Summary::NONE);
        wrong[3] = 2;
        assert_eq!(hand.refused(&wrong), (ErrorCode::INVALID_REQUEST, 0));
    }
}

#[test]
fn a_summary_of_a_trusted_computing_base_in_which_nothing_is_measured_is_zeros() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, |config| {
            config.measurements.retain(|measurement| measurement.raw);
        });
        let answer = hand.say(&hand.challenge(Summary::TCB));
        let context = Context {
            summary_asked: true,
            ..hand.context
        };
        let found = challenge::Response::decode_exact(&answer, &context).unwrap();
        assert_eq!(found.summary, Some(&[0; 48][..]), "{version}");
    }
}

#[test]
fn a_trusted_computing_base_is_rom_firmware_and_the_configurations_of_both() {
    let version = Version::V1_2;
    for kind in 0..=10 {
        let mut hand = Hand::agreed(version, |config| {
            config.measurements.truncate(1);
            config.measurements[0].kind = measurements::Kind(kind);
        });
        let answer = hand.say(&hand.challenge(Summary::TCB));
        let context = Context {
            summary_asked: true,
            ..hand.context
        };
        let found = challenge::Response::decode_exact(&answer, &context).unwrap();
        assert_eq!(found.summary != Some(&[0; 48][..]), kind <= 3, "{kind}");
    }
}

#[test]
fn a_summary_where_nothing_is_measured_or_no_format_was_agreed_on_is_refused() {
    for version in VERSIONS {
        let mut unmeasured = Hand::agreed(*version, |config| config.measured = Measured::No);
        let mut unformatted = Hand::capable(*version, nothing);
        let mut negotiate = unformatted.negotiate();
        negotiate[6] = 0; // MeasurementSpecification
        unformatted.in_vca(&negotiate);
        for hand in [&mut unmeasured, &mut unformatted] {
            for summary in [Summary::TCB, Summary::ALL] {
                let challenge = hand.challenge(summary);
                assert_eq!(hand.refused(&challenge), (ErrorCode::INVALID_REQUEST, 0));
            }
            let answer = hand.say(&hand.challenge(Summary::NONE));
            assert_eq!(answer[1], Code::CHALLENGE_AUTH.0, "{version}");
        }
    }
}

/// A KEY_EXCHANGE for a slot.
fn key_exchange_for(hand: &Hand, slot: u8) -> Vec<u8> {
    let agreement = Ring.key_agreement(ExchangeAlg::EcdhP384).unwrap();
    let mut offered = Vec::new();
    opaque::encode_supported(hand.version, SECURED_VERSIONS, &mut offered);
    let request = key_exchange::Request {
        version: hand.version,
        summary: Summary::NONE,
        slot,
        session: 5,
        policy: 0,
        random: [3; 32],
        exchange: agreement.public(),
        opaque: &offered,
    };
    request.to_vec()
}

/// A KEY_EXCHANGE for a slot, and its response.
fn exchange_keys(hand: &mut Hand, slot: u8) -> (Vec<u8>, Vec<u8>) {
    let request = key_exchange_for(hand, slot);
    let answer = hand.say(&request);
    assert_eq!(answer[1], Code::KEY_EXCHANGE_RSP.0, "{answer:02x?}");
    (request, answer)
}

#[test]
fn a_key_exchange_is_signed_over_the_chain_and_with_several_keys_over_the_first_digests_too() {
    let other = SUITE.new_identity("other", 0);
    for version in &VERSIONS[1..] {
        for several in [MultiKey::No, MultiKey::Negotiated] {
            let mut hand = Hand::capable(*version, |config| {
                config.multi_key = several;
                config.key_pairs = Some(KeyPairs::default());
                config.slots[3] = Some(Slot::new(other.chain.clone(), other.signer.clone()));
            });
            let with_digests = several == MultiKey::Negotiated && *version >= Version::V1_3;
            let mut offer = SUITE.offer();
            if with_digests {
                offer.other_params |= MULTI_KEY;
            }
            let negotiate = algorithms::Request {
                version: *version,
                offer: offer.to_set(*version),
            };
            let answer = hand.in_vca(&negotiate.to_vec());
            let message = algorithms::Response::decode_exact(&answer, &hand.context).unwrap();
            hand.context = offer
                .accept(&message, Needs::SESSION)
                .unwrap()
                .context(*version, false);
            let digests = hand.say(&digests::Request { version: *version }.to_vec());
            assert_eq!(
                hand.say(&digests::Request { version: *version }.to_vec()),
                digests
            );
            let (request, answer) = exchange_keys(&mut hand, 3);
            let response = key_exchange::Response::decode_exact(&answer, &hand.context).unwrap();
            let tail = response.signature.len() + response.verify_data.unwrap().len();
            let mut th = Transcript::new(&Ring, HashAlg::Sha384, *version);
            th.add(&hand.vca);
            if with_digests {
                th.add(&digests);
            }
            th.add(digest(&Ring, HashAlg::Sha384, &other.chain).as_ref());
            th.add(&request);
            th.add(&answer[..answer.len() - tail]);
            let signed = signing::message(*version, signing::Context::KeyExchangeRsp, &th);
            let key = other.signer.public_key();
            let verified = Ring.verify(SignAlg::EcdsaP384, key, &signed, response.signature);
            assert_eq!(verified, Ok(()), "{version} {several:?}");
        }
    }
}
