//! Conversations of this workspace's own requester and responder, recorded with their secrets and decoded: suites,
//! versions, transports and ways to authenticate that the recordings of others do not have.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../../tdisp/tests/known/mod.rs"]
mod known;

use std::{path::Path, sync::Arc, time::Duration};

use host_daemon::spdm::{
    check::Kind,
    decode::follow,
    device::keylog::KeyLog,
    hex,
    pcap::{Capture, LINK_DOE, LINK_MCTP, Writer},
    record::CRYPTOGRAPHY,
    secrets::Secrets,
};
use known::OpenSsl;
use serde_json::{Value, json};
use tdisp::{
    clock::Instant,
    crypto::{AeadAlg, ExchangeAlg, HashAlg, RingSigner, Secret, SignAlg},
    spdm::{
        Event, Identity, Measurement, Requester, RequesterConfig, Responder, ResponderConfig, Transport,
        Trust,
        algorithms::{MeasurementHash, Offer},
        msg::{Version, key_exchange, measurements::Kind as Measured},
        requester::{Measure, PreShared},
        responder::{self, KeyPairs, MultiKey, Mutual, Psk, Slot},
    },
};

/// What a conversation is like.
#[derive(Clone, Copy)]
struct Scene {
    version: Version,
    transport: Transport,
    key: &'static str,
    certificates: &'static str,
    sign: SignAlg,
    hash: HashAlg,
    exchange: ExchangeAlg,
    aead: AeadAlg,
    clear: bool,
    /// How a session is authenticated by the requester, and whether CHALLENGE is.
    mutual: key_exchange::Mutual,
    challenged: bool,
    /// A session on a pre-shared key follows; with the responder's context or without.
    psk: Option<bool>,
    multi_key: bool,
    /// Bytes of the largest message in one piece.
    transfer_size: u32,
    /// Who is in the slots is asked again while a session is up.
    again: bool,
}

const USUAL: Scene = Scene {
    version: Version::V1_2,
    transport: Transport::Doe,
    key: "P384",
    certificates: "ECDSA P384 Sha384",
    sign: SignAlg::EcdsaP384,
    hash: HashAlg::Sha384,
    exchange: ExchangeAlg::EcdhP384,
    aead: AeadAlg::Aes256Gcm,
    clear: false,
    mutual: key_exchange::Mutual::NONE,
    challenged: false,
    psk: None,
    multi_key: false,
    transfer_size: 0x1200,
    again: false,
};

const PSK: &[u8] = b"a key of both";

impl Scene {
    fn chain(&self) -> Vec<u8> {
        let issued = OpenSsl::read().issued(self.certificates);
        issued.chain(self.version, self.hash)
    }

    fn slot(&self) -> Slot {
        let signer = RingSigner::from_pkcs8(self.sign, &OpenSsl::read().key(self.key).pkcs8).unwrap();
        Slot::new(self.chain(), Arc::new(signer))
    }

    fn offer(&self) -> Offer {
        Offer {
            sign: vec![self.sign],
            hash: vec![self.hash],
            exchange: vec![self.exchange],
            aead: vec![self.aead],
            requester_sign: vec![self.sign],
            ..Offer::default()
        }
    }

    fn is_mutual(&self) -> bool {
        self.challenged || self.mutual != key_exchange::Mutual::NONE
    }

    fn chunk(&self) -> Option<u32> {
        (self.transfer_size < USUAL.transfer_size).then_some(USUAL.transfer_size)
    }

    fn requester(&self) -> RequesterConfig {
        let mut identity = Identity::default();
        identity.slots[0] = Some(self.slot());
        RequesterConfig {
            versions: vec![self.version],
            transport: self.transport,
            roots: Trust::RelyingPartyDecides,
            offer: self.offer(),
            handshake_in_clear: self.clear,
            identity: self.is_mutual().then_some(identity),
            psk: self.psk.map(|_| PreShared {
                hint: b"hint".to_vec(),
                key: Secret::new(PSK.to_vec()),
            }),
            multi_key: self.multi_key,
            transfer_size: self.transfer_size,
            chunk: self.chunk(),
            ..RequesterConfig::default()
        }
    }

    fn responder(&self) -> ResponderConfig {
        let measurements = vec![Measurement {
            index: 1,
            kind: Measured::FIRMWARE,
            raw: false,
            value: vec![0x22; self.hash.size()],
            bit_stream: None,
        }];
        let slot = self.slot();
        let find = |_: &[u8]| Some(Secret::new(PSK.to_vec()));
        ResponderConfig {
            versions: vec![self.version],
            transport: self.transport,
            offer: self.offer(),
            measurement_hash: MeasurementHash::Hash(self.hash),
            handshake_in_clear: self.clear,
            mutual: self.is_mutual().then(|| Mutual {
                challenge: self.challenged,
                session: self.mutual,
                chain: Some((0, self.chain())),
                required: false,
                ..Mutual::new(Trust::RelyingPartyDecides)
            }),
            psk: self.psk.map(|context| Psk {
                keys: Arc::new(find),
                context,
            }),
            multi_key: if self.multi_key {
                MultiKey::Negotiated
            } else {
                MultiKey::No
            },
            key_pairs: self.multi_key.then(KeyPairs::default),
            transfer_size: self.transfer_size,
            chunk: self.chunk(),
            ..ResponderConfig::new(slot.chain, slot.signer, measurements)
        }
    }

    /// Has the conversation; the file and its secrets.
    fn record(&self) -> (Vec<u8>, Value) {
        let (provider, log) = KeyLog::new(CRYPTOGRAPHY);
        let mut talk = Talk {
            requester: Requester::new(self.requester(), Arc::new(provider)),
            responder: Responder::new(self.responder(), Arc::new(CRYPTOGRAPHY)),
            transport: self.transport,
            events: Vec::new(),
            units: Vec::new(),
        };
        talk.requester.connect(NOW);
        talk.rest();
        let mut sessions = Vec::new();
        if self.again {
            talk.about_slots();
        }
        if self.version > Version::V1_0 {
            let id = talk.in_session();
            let dhe = log.take().pop().unwrap();
            sessions.push(json!({"session_id": id, "dhe": hex(dhe.expose())}));
        }
        if self.psk.is_some() {
            talk.requester.open_psk_session(NOW).unwrap();
            talk.rest();
            let id = talk.in_session();
            sessions.push(json!({"session_id": id, "psk": hex(PSK)}));
        }
        // With a provisioned chain the requester shows none.
        let chains = json!({"requester": {"0": hex(&self.chain())}});
        (talk.file(), json!({"sessions": sessions, "chains": chains}))
    }

    /// Everything must be there, agree, and have been checked.
    fn check(&self, what: &str, signatures: usize) {
        let (file, secrets) = self.record();
        let capture = Capture::read(&file).unwrap();
        let secrets = Secrets::read(&secrets.to_string()).unwrap();
        let mut entries = Vec::new();
        let done = follow(&capture, Some(&secrets), |entry| {
            entries.push(entry.clone());
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(ledger) = done;
        assert!(ledger.first().is_none(), "{what}: {}", ledger.first().unwrap());
        let count = |kind| ledger.checked.get(&kind).copied().unwrap_or(0);
        let summary = ledger.summary();
        assert_eq!(count(Kind::Signature), signatures, "{what}: {summary}");
        assert_eq!(
            ledger.odd,
            0,
            "{what}: {:?}",
            entries.iter().flat_map(|e| &e.notes).collect::<Vec<_>>()
        );
        let sealed = ledger
            .not_checked
            .iter()
            .filter(|((kind, _), _)| *kind != Kind::Message);
        assert_eq!(sealed.count(), 0, "{what}: {summary}");
        if self.version > Version::V1_0 {
            assert!(
                count(Kind::Record) > 6 && count(Kind::Key) > 0,
                "{what}: {summary}"
            );
        }
        let other = entries
            .iter()
            .flat_map(|entry| &entry.checks)
            .find(|check| format!("{:?}", check.outcome).contains("another transcript"));
        assert!(other.is_none(), "{what}: {other:?}");
    }
}

const NOW: Instant = Instant::START;

struct Talk {
    requester: Requester,
    responder: Responder,
    transport: Transport,
    events: Vec<Event>,
    units: Vec<Vec<u8>>,
}

impl Talk {
    /// Carries units until nobody has anything to say.
    fn rest(&mut self) {
        loop {
            let mut unit = Vec::new();
            if !self.requester.poll_transmit(&mut unit) {
                break;
            }
            self.units.push(unit.clone());
            self.responder.handle(NOW, &unit);
            while let Some(event) = self.responder.poll_event() {
                if let responder::Event::VendorRequest { .. } = event {
                    self.responder.respond_vendor(NOW, Some(&[0, 1, 2]));
                }
            }
            let mut answer = Vec::new();
            assert!(
                self.responder.poll_transmit(&mut answer),
                "no answer to {unit:02x?}"
            );
            self.units.push(answer.clone());
            self.requester.handle(NOW, &answer);
        }
        while let Some(event) = self.requester.poll_event() {
            assert!(!matches!(event, Event::Failed(_)), "{event:?}");
            self.events.push(event);
        }
    }

    /// Asks about slots, in the session and beside it, and of those that are empty too.
    fn about_slots(&mut self) {
        let session = self.requester.session().expect("a session");
        for slot in [1, 0, 2, 3, 0] {
            self.requester.certificates(NOW, session, slot).unwrap();
            self.rest();
            self.requester.identify(NOW, slot).unwrap();
            self.rest();
        }
        let challenged = self.events.iter().filter(|event| **event == Event::Challenged);
        assert_eq!(challenged.count(), 3);
        self.requester.measure_in(NOW, None, Measure::all(None)).unwrap();
        self.rest();
    }

    /// Says in a session whatever there is to say, and ends it; its ID.
    fn in_session(&mut self) -> u32 {
        let id = self.requester.session().expect("a session");
        self.requester.vendor(NOW, &[1, 2, 3]).unwrap();
        self.rest();
        self.requester.update_keys(NOW).unwrap();
        self.rest();
        self.requester.vendor(NOW, &[1, 2, 3]).unwrap();
        self.rest();
        self.requester.update_own_keys_in(NOW, id).unwrap();
        self.rest();
        self.requester.measure(NOW, None).unwrap();
        self.rest();
        self.requester.end_session(NOW).unwrap();
        self.rest();
        id
    }

    fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let (link, header): (_, &[u8]) = match self.transport {
            Transport::Doe => (LINK_DOE, &[]),
            Transport::Mctp => (LINK_MCTP, &[0, 0, 0, 0xc0]),
        };
        let mut writer = Writer::begin(&mut file, link).unwrap();
        for unit in &self.units {
            writer.packet(Duration::ZERO, &[header, unit].concat()).unwrap();
        }
        file
    }
}

const SESSIONS: [Version; 4] = [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4];

/// CHALLENGE_AUTH, KEY_EXCHANGE_RSP, MEASUREMENTS in the session.
const SIGNED: usize = 3;

#[test]
fn every_version_over_both_transports_with_the_handshake_encrypted_and_in_clear() {
    for version in SESSIONS {
        for transport in [Transport::Doe, Transport::Mctp] {
            for clear in [false, true] {
                let scene = Scene {
                    version,
                    transport,
                    clear,
                    ..USUAL
                };
                scene.check(&format!("{version} {transport:?} clear {clear}"), SIGNED);
            }
        }
    }
}

#[test]
fn slots_that_are_asked_about_again_and_again_beside_a_session_and_in_it() {
    for version in SESSIONS {
        for multi_key in [false, true] {
            let scene = Scene {
                version,
                multi_key,
                again: true,
                ..USUAL
            };
            // Two more of CHALLENGE_AUTH, and of MEASUREMENTS outside the session.
            scene.check(&format!("{version} several keys {multi_key}"), SIGNED + 3);
        }
    }
}

#[test]
fn every_suite() {
    let keys = [
        (
            "P256",
            "ECDSA P256 Sha256",
            SignAlg::EcdsaP256,
            vec![HashAlg::Sha256],
        ),
        (
            "P384",
            "ECDSA P384 Sha384",
            SignAlg::EcdsaP384,
            vec![HashAlg::Sha384],
        ),
        (
            "Rsa2048",
            "RSASSA 2048 Sha256",
            SignAlg::RsaSsa2048,
            HashAlg::ALL.to_vec(),
        ),
        (
            "Rsa3072",
            "RSAPSS 3072 Sha384",
            SignAlg::RsaPss3072,
            HashAlg::ALL.to_vec(),
        ),
        (
            "Rsa4096",
            "RSAPSS 4096 Sha512",
            SignAlg::RsaPss4096,
            vec![HashAlg::Sha512],
        ),
    ];
    for (key, certificates, sign, hashes) in keys {
        for (hash, aead) in hashes.into_iter().zip(AeadAlg::ALL.into_iter().cycle()) {
            for exchange in [ExchangeAlg::EcdhP256, ExchangeAlg::EcdhP384] {
                let scene = Scene {
                    key,
                    certificates,
                    sign,
                    hash,
                    exchange,
                    aead,
                    ..USUAL
                };
                scene.check(&format!("{sign} {hash} {exchange} {aead:?}"), SIGNED);
            }
        }
    }
}

#[test]
fn every_cipher_and_post_quantum_exchange() {
    for aead in AeadAlg::ALL {
        Scene { aead, ..USUAL }.check(&format!("{aead:?}"), SIGNED);
    }
    for exchange in [
        ExchangeAlg::MlKem512,
        ExchangeAlg::MlKem768,
        ExchangeAlg::MlKem1024,
    ] {
        let scene = Scene {
            version: Version::V1_4,
            exchange,
            ..USUAL
        };
        scene.check(&format!("{exchange}"), SIGNED);
    }
}

#[test]
fn a_requester_that_authenticates_itself_in_every_way() {
    use key_exchange::Mutual;
    for version in SESSIONS {
        for transport in [Transport::Doe, Transport::Mctp] {
            for clear in [false, true] {
                for mutual in [Mutual::SIGNATURE, Mutual::ENCAPSULATED, Mutual::GET_DIGESTS] {
                    let scene = Scene {
                        version,
                        transport,
                        clear,
                        mutual,
                        ..USUAL
                    };
                    scene.check(
                        &format!("{version} {transport:?} {mutual} clear {clear}"),
                        SIGNED + 1,
                    );
                }
            }
            let scene = Scene {
                version,
                transport,
                challenged: true,
                ..USUAL
            };
            scene.check(&format!("{version} {transport:?} challenged"), SIGNED + 1);
        }
    }
}

#[test]
fn sessions_on_a_pre_shared_key() {
    for version in SESSIONS {
        for transport in [Transport::Doe, Transport::Mctp] {
            for context in [false, true] {
                let scene = Scene {
                    version,
                    transport,
                    psk: Some(context),
                    ..USUAL
                };
                scene.check(&format!("{version} {transport:?} context {context}"), SIGNED + 1);
            }
        }
    }
}

#[test]
fn several_keys_and_large_messages() {
    for version in [Version::V1_3, Version::V1_4] {
        let scene = Scene {
            version,
            multi_key: true,
            ..USUAL
        };
        scene.check(&format!("{version} several keys"), SIGNED);
    }
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        for transport in [Transport::Doe, Transport::Mctp] {
            // With 42 bytes at once the algorithms come in chunks too.
            for transfer_size in [42, 64] {
                let scene = Scene {
                    version,
                    transport,
                    transfer_size,
                    ..USUAL
                };
                scene.check(
                    &format!("{version} {transport:?} in chunks of {transfer_size}"),
                    SIGNED,
                );
            }
        }
    }
}

/// With `TIDELOCK_BLESS` the corpus of `./x fuzz recording` is written anew, by these: what is random in them differs each
/// time, so that nothing is compared.
#[test]
fn recordings_to_begin_fuzzing_with_agree_with_their_secrets() {
    let scenes = [
        ("doe-1.2", USUAL),
        (
            "mctp-1.1-in-clear",
            Scene {
                version: Version::V1_1,
                transport: Transport::Mctp,
                clear: true,
                ..USUAL
            },
        ),
        (
            "doe-1.3-mutual",
            Scene {
                version: Version::V1_3,
                mutual: key_exchange::Mutual::ENCAPSULATED,
                ..USUAL
            },
        ),
        (
            "doe-1.4-psk",
            Scene {
                version: Version::V1_4,
                psk: Some(true),
                ..USUAL
            },
        ),
        (
            "doe-1.4-chunks",
            Scene {
                version: Version::V1_4,
                transfer_size: 256,
                ..USUAL
            },
        ),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/recording");
    for (name, scene) in scenes {
        let (file, secrets) = scene.record();
        let text = secrets.to_string();
        let secrets = Secrets::read(&text).unwrap();
        let capture = Capture::read(&file).unwrap();
        let Ok(ledger) = follow(&capture, Some(&secrets), |_| {
            Ok::<(), std::convert::Infallible>(())
        });
        assert!(ledger.first().is_none(), "{name}: {:?}", ledger.first());
        if std::env::var_os("TIDELOCK_BLESS").is_some() {
            let size = u16::try_from(text.len()).unwrap().to_le_bytes();
            std::fs::write(folder.join(name), [&size, text.as_bytes(), &file].concat()).unwrap();
        }
    }
}
