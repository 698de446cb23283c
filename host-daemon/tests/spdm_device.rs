//! `tidelock spdm identify`, `certs` and `measure` against a responder behind a socket; and what they save is decoded.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod ended;
#[path = "device/slots.rs"]
mod slots;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    thread,
    time::Instant,
};

use ended::check;
use host_daemon::spdm::hex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
};
use serde_json::Value;
use tdisp::{
    clock,
    crypto::{AeadAlg, HashAlg, Ring, RingSigner, Secret, SignAlg, digest},
    doe::{Object, ObjectType, discovery},
    spdm::{
        Measurement, Responder, ResponderConfig, Transport, Trust, VERSIONS,
        algorithms::Offer,
        msg::{Code, Version, capabilities::Flags, certificate::Chain, key_exchange, measurements::Kind},
        responder::{Delay, Measured, Mutual, Psk, Wait},
    },
};

/// A device: a chain with its key, and what it measures.
struct Device {
    config: ResponderConfig,
    root: Vec<u8>,
}

fn authority(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    params
}

impl Device {
    fn new() -> Self {
        Self::of(&PKCS_ECDSA_P384_SHA384, SignAlg::EcdsaP384, HashAlg::Sha384)
    }

    fn of(kind: &'static SignatureAlgorithm, sign: SignAlg, hash: HashAlg) -> Self {
        let key = || KeyPair::generate_for(kind).unwrap();
        let (root, root_key, leaf_key) = (authority("test root", true), key(), key());
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let leaf = authority("test device", false);
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(root, root_key)).unwrap();
        let mut chain = Vec::new();
        Chain {
            root_hash: digest(&Ring, hash, &root_der).as_ref(),
            certificates: &[&root_der[..], leaf.der()].concat(),
        }
        .encode(Version::V1_2, &mut chain);
        let signer = RingSigner::from_pkcs8(sign, &leaf_key.serialize_der()).unwrap();
        let measurements = vec![
            Measurement {
                index: 1,
                kind: Kind::FIRMWARE,
                raw: false,
                value: vec![0x22; 48],
                bit_stream: None,
            },
            Measurement {
                index: 5,
                kind: Kind::FIRMWARE_SECURITY_VERSION,
                raw: true,
                value: vec![7, 0, 0, 0, 0, 0, 0, 0],
                bit_stream: None,
            },
        ];
        let mut config = ResponderConfig::new(chain, Arc::new(signer), measurements);
        config.versions = VERSIONS.to_vec();
        config.offer = Offer {
            sign: vec![sign],
            hash: vec![hash],
            ..Offer::default()
        };
        Self {
            config,
            root: root_der,
        }
    }

    /// Serves connections for as long as the test lasts; the address.
    fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = self.config.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // The client hangs up when it has heard enough.
                let _ = converse(stream, config.clone());
            }
        });
        address
    }
}

/// The DMTF emulators' framing, from the device's side.
fn converse(mut stream: TcpStream, config: ResponderConfig) -> std::io::Result<()> {
    let (transport, start) = (config.transport, Instant::now());
    let number = if transport == Transport::Doe { 2u32 } else { 1 };
    let mut responder = Responder::new(config, Arc::new(Ring));
    loop {
        let mut header = [0; 12];
        stream.read_exact(&mut header)?;
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(word(4), number, "transport");
        let mut payload = vec![0; word(8) as usize];
        stream.read_exact(&mut payload)?;
        let answer = match word(0) {
            0xdead => b"Server Hello!\0".to_vec(),
            1 if transport == Transport::Doe && payload[2] == 0 => discovered(payload[8]),
            1 => {
                responder.handle(clock::Instant::at(start.elapsed()), &payload);
                let mut answer = Vec::new();
                if !responder.poll_transmit(&mut answer) {
                    continue;
                }
                answer
            }
            _ => Vec::new(),
        };
        let words = [word(0), number, answer.len() as u32]
            .map(u32::to_be_bytes)
            .concat();
        stream.write_all(&[words, answer].concat())?;
    }
}

fn discovered(index: u8) -> Vec<u8> {
    let (mut body, mut object) = (Vec::new(), Vec::new());
    discovery::Response {
        vendor: 1,
        kind: ObjectType(index),
        next: (index + 1) % 3,
    }
    .encode(&mut body);
    Object::new(ObjectType::DISCOVERY, &body).encode(&mut object);
    object
}

/// By the names that an operator gives them.
const TRANSPORTS: [(&str, Transport); 2] = [("doe", Transport::Doe), ("mctp", Transport::Mctp)];

struct Desk {
    directory: tempfile::TempDir,
    root: PathBuf,
    address: String,
}

impl Desk {
    fn with(device: &Device) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root.der");
        std::fs::write(&root, &device.root).unwrap();
        Self {
            root,
            directory,
            address: device.serve(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What comes of `tidelock spdm WORDS --connect …` to who trusts the device's root.
    #[track_caller]
    fn check(&self, words: &str, code: i32, wanted: &[&str]) {
        check(&self.ask(words, Some(&self.root)), code, wanted);
    }

    /// `tidelock spdm WORDS --connect …`
    fn ask(&self, words: &str, root: Option<&Path>) -> Output {
        let mut command = tidelock(words);
        command.args(["--connect", &self.address, "--timeout", "5"]);
        if let Some(root) = root {
            command.arg("--root").arg(root);
        }
        command.output().unwrap()
    }
}

fn tidelock(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
    command.arg("spdm").args(words.split(' '));
    command
}

/// `decode` recomputes all of a conversation with a session's secrets, and prints these.
fn deciphers(trace: &Path, secrets: &Path, wanted: &[&str]) {
    let words = format!(
        "decode {} --brief --secrets {}",
        trace.display(),
        secrets.display()
    );
    check(&tidelock(&words).output().unwrap(), 0, wanted);
}

#[test]
fn a_device_is_identified_in_every_version_and_over_both_transports() {
    let mut device = Device::new();
    for (name, transport) in TRANSPORTS {
        device.config.transport = transport;
        let desk = Desk::with(&device);
        for version in ["1.0", "1.1", "1.2", "1.3", "1.4"] {
            let words = format!("identify --transport {name} --spdm {version}");
            let wanted = [
                &format!("SPDM           {version}, of 1.0 1.1 1.2 1.3 1.4")[..],
                "signature ECDSA_P384, hash SHA_384",
                "certificates   slot 0",
                "CN=test device",
                "vouched for by CN=test root",
                "challenge      verified: ECDSA P-384, slot 0, CN=test device",
            ];
            desk.check(&words, 0, &wanted);
            let words = format!("measure --transport {name} --spdm {version}");
            let wanted = [
                "  1  firmware, digest",
                "  5  firmware security version, raw",
                "  7",
                "signature      verified",
            ];
            desk.check(&words, 0, &wanted);
        }
    }
}

#[test]
fn a_suite_narrows_what_is_offered() {
    let device = Device::of(&PKCS_ECDSA_P256_SHA256, SignAlg::EcdsaP256, HashAlg::Sha256);
    let desk = Desk::with(&device);
    desk.check(
        "identify --suite ecdsa-p256-sha256",
        0,
        &["signature ECDSA_P256, hash SHA_256"],
    );
    desk.check("identify --suite ecdsa-p384", 1, &["not understood"]);
    check(
        &desk.ask("identify --suite md5", None),
        2,
        &["`md5` in the suite `md5` is no algorithm here"],
    );
}

#[test]
fn without_a_root_nobody_vouches_and_with_another_the_chain_is_refused() {
    let desk = Desk::with(&Device::new());
    let wanted = ["nobody vouches for this root", "give the vendor's with --root"];
    check(&desk.ask("identify", None), 5, &wanted);
    check(&desk.ask("certs", None), 5, &["nobody vouches"]);
    let other = desk.path("other.der");
    std::fs::write(&other, Device::new().root).unwrap();
    check(
        &desk.ask("identify", Some(&other)),
        1,
        &[
            "REFUSED",
            "the certificate chain in slot 0 is refused: it leads to the root",
            "(CN=test root); wanted",
            "give it with --root",
        ],
    );
    check(
        &desk.ask("identify", Some(Path::new("/nowhere"))),
        1,
        &["/nowhere"],
    );
}

#[test]
fn certificates_are_written_as_der_and_pem_and_a_root_in_pem_serves_too() {
    let device = Device::new();
    let desk = Desk::with(&device);
    let out = desk.path("chain");
    let words = format!("certs --out {}", out.display());
    desk.check(&words, 0, &["CN=test device", "key        EC 384", "vouched for"]);
    assert_eq!(std::fs::read(out.join("slot0-0.der")).unwrap(), device.root);
    assert!(out.join("slot0-1.der").is_file() && out.join("slot0.chain").is_file());
    check(
        &desk.ask("identify", Some(&out.join("slot0-0.pem"))),
        0,
        &["vouched for by CN=test root"],
    );
}

#[test]
fn what_was_said_is_saved_decoded_and_replayed() {
    let mut device = Device::new();
    for (name, transport) in TRANSPORTS {
        device.config.transport = transport;
        let desk = Desk::with(&device);
        let trace = desk.path("trace.pcap");
        let words = format!("measure --transport {name} --save {}", trace.display());
        desk.check(&words, 0, &["verified"]);
        let decoded = tidelock(&format!("decode {} --brief", trace.display()))
            .output()
            .unwrap();
        check(
            &decoded,
            0,
            &[
                "CHALLENGE_AUTH over M1: ECDSA P-384",
                "checked: 2 signatures",
                "not checked: nothing",
            ],
        );
        for command in ["identify", "certs", "measure"] {
            let words = format!(
                "{command} --replay {} --root {}",
                trace.display(),
                desk.root.display()
            );
            check(
                &tidelock(&words).output().unwrap(),
                0,
                &["vouched for by CN=test root"],
            );
        }
    }
}

#[test]
fn a_program_reads_the_same_as_json() {
    let desk = Desk::with(&Device::new());
    let output = desk.ask("measure --json --index 5", Some(&desk.root));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["measurements"][0]["index"], 5);
    assert_eq!(json["measurements"][0]["value"], "0700000000000000");
    assert_eq!(json["measurements_signature"]["verified"], true);
    assert_eq!(json["chains"][0]["vouched"]["by"], "CN=test root");
    assert_eq!(json["algorithms"]["hash"], "SHA_384");
    assert_eq!(
        json["supported_algorithms"],
        Value::Null,
        "the device has no chunks"
    );
    assert_eq!(json["measurements"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["algorithms"]["measurement_hash"], "SHA_384");
    let capabilities = json["capabilities"]["names"].as_array().unwrap();
    assert!(capabilities.contains(&"MEAS(signed)".into()), "{capabilities:?}");
    named(&json);
}

/// Each name in the JSON stands in the documentation.
#[track_caller]
fn named(json: &Value) {
    const PAGE: &str = include_str!("../../docs/debugging-spdm.md");
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert!(
                    PAGE.contains(&format!("`{name}`")),
                    "docs/debugging-spdm.md does not name `{name}`"
                );
                named(value);
            }
        }
        Value::Array(list) => list.iter().for_each(named),
        _ => {}
    }
}

#[test]
fn the_names_of_capabilities_are_whole_in_json_even_where_they_have_spaces() {
    let mut device = Device::new();
    device.config.psk = Some(Psk {
        keys: Arc::new(|_: &[u8]| None),
        context: true,
    });
    let desk = Desk::with(&device);
    let output = desk.ask("identify --json", Some(&desk.root));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = json["capabilities"]["names"].as_array().unwrap();
    assert!(names.contains(&"PSK(with context)".into()), "{names:?}");
}

#[test]
fn help_says_of_each_command_what_it_is_for_and_names_every_algorithm() {
    let output = tidelock("measure --help").output().unwrap();
    let wanted = [
        "Which device:",
        "How to talk to it:",
        "Sessions:",
        "What to keep:",
        "rsapss-4096",
        "Exit codes:",
        "Examples:",
    ];
    check(&output, 0, &wanted);
    let text = String::from_utf8(output.stdout).unwrap();
    // What is the daemon's comes last.
    let place = |word: &str| text.find(word).unwrap();
    assert!(place("--index") < place("--socket"), "{text}");
}

#[test]
fn what_a_device_could_do_is_shown_beside_what_was_chosen() {
    let mut device = Device::new();
    device.config.chunk = Some(0x1_0000);
    device.config.offer.aead = vec![AeadAlg::Aes256Gcm, AeadAlg::ChaCha20Poly1305];
    let desk = Desk::with(&device);
    let shown = ["could do", "AES_256_GCM CHACHA20_POLY1305"];
    desk.check("identify", 0, &shown);
    let output = desk.ask("identify --json", Some(&desk.root));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json["supported_algorithms"]["aead"],
        "AES_256_GCM CHACHA20_POLY1305"
    );
    assert_eq!(json["algorithms"]["aead"], "AES_256_GCM");
}

#[test]
fn bit_streams_are_asked_for_with_raw() {
    let mut device = Device::new();
    device.config.measurements[0].bit_stream = Some(b"firmware".to_vec());
    let desk = Desk::with(&device);
    desk.check("measure --raw", 0, &[&hex(b"firmware")]);
    desk.check("measure", 0, &[&hex(&[0x22; 48])]);
}

#[test]
fn a_device_that_lacks_things_is_asked_for_what_it_has() {
    let mut device = Device::new();
    device.config.capabilities = Flags(!Flags::CHAL.0);
    let desk = Desk::with(&device);
    desk.check("certs", 0, &["CN=test device"]);
    desk.check(
        "identify",
        1,
        &["no CHALLENGE", "has shown its chain, but not that it has the key"],
    );
    desk.check("measure", 0, &["signature      verified"]);
    device.config.capabilities = Flags(u32::MAX);
    device.config.measured = Measured::Unsigned;
    let desk = Desk::with(&device);
    desk.check("measure", 1, &["  1  firmware, digest", "not signed"]);
    device.config.measured = Measured::No;
    let desk = Desk::with(&device);
    desk.check(
        "measure",
        1,
        &["the device has no measurements (MEAS_CAP); `identify` shows"],
    );
}

#[test]
fn what_the_device_or_the_version_has_not_is_told_by_its_name() {
    let mut device = Device::new();
    let desk = Desk::with(&device);
    let key = desk.path("key");
    std::fs::write(&key, "00").unwrap();
    let psk = format!("identify --session --psk {}", key.display());
    for (words, wanted) in [
        (
            "identify --session --spdm 1.0",
            "SPDM 1.0 is spoken, and has no sessions (--session); wanted 1.1 or later",
        ),
        (
            "measure --fresh --spdm 1.2",
            "SPDM 1.2 is spoken, and has no choice of fresh measurements (--fresh); wanted 1.3 or later",
        ),
        (
            "measure --raw --spdm 1.0,1.1",
            "SPDM 1.1 is spoken, and has no raw measurements (--raw); wanted 1.2 or later",
        ),
        (
            &psk,
            "the device has no sessions on pre-shared keys (PSK_CAP); `identify` shows",
        ),
    ] {
        check(&desk.ask(words, Some(&desk.root)), 1, &[wanted]);
    }
    device.config.capabilities = Flags(!Flags::KEY_EX.0);
    let desk = Desk::with(&device);
    check(
        &desk.ask("measure --session", Some(&desk.root)),
        1,
        &[
            "the device has no sessions on its key (KEY_EX_CAP)",
            "--psk opens one",
        ],
    );
}

#[test]
fn a_device_with_small_buffers_is_spoken_with_in_chunks() {
    let mut device = Device::new();
    device.config.transfer_size = 128;
    device.config.chunk = Some(0x1_0000);
    let desk = Desk::with(&device);
    for version in ["1.2", "1.3", "1.4"] {
        let words = format!("measure --session --spdm {version}");
        check(
            &desk.ask(&words, Some(&desk.root)),
            0,
            &["session, key exchange verified", "signature      verified"],
        );
    }
}

/// Two recordings as one, in which somebody else answers from the second connection on.
fn joined(desk: &Desk, [first, second]: [&Path; 2]) -> PathBuf {
    const HEADER_SIZE: usize = 24;
    let both = [
        &std::fs::read(first).unwrap()[..],
        &std::fs::read(second).unwrap()[HEADER_SIZE..],
    ];
    let path = desk.path("joined.pcap");
    std::fs::write(&path, both.concat()).unwrap();
    path
}

#[test]
fn a_chain_that_somebody_else_showed_is_not_proven_by_the_key_of_another() {
    let mut vendors = Device::new();
    vendors.config.capabilities = Flags(!Flags::CHAL.0);
    let mut others = Device::new();
    others.config.slots[1] = others.config.slots[0].clone();
    let (desk, other) = (Desk::with(&vendors), Desk::with(&others));
    let [shown, proven] = [desk.path("shown.pcap"), desk.path("proven.pcap")];
    let words = format!("certs --save {}", shown.display());
    check(&desk.ask(&words, Some(&desk.root)), 0, &["vouched for"]);
    let words = format!("identify --slot 1 --save {}", proven.display());
    check(&other.ask(&words, Some(&other.root)), 0, &["verified"]);
    let replay = |path: &Path, slot: u8, root: &Path| {
        let (path, root) = (path.display(), root.display());
        let words = format!("identify --replay {path} --slot {slot} --root {root}");
        tidelock(&words).output().unwrap()
    };
    let both = joined(&desk, [&shown, &proven]);
    let wanted = "no signature that could be checked, with the key of this chain";
    check(&replay(&both, 0, &desk.root), 1, &[wanted]);
    check(&replay(&both, 1, &other.root), 0, &["verified"]);
    // Nor by one that was in its slot before.
    let words = format!("identify --save {}", proven.display());
    check(&other.ask(&words, Some(&other.root)), 0, &["verified"]);
    let both = joined(&desk, [&proven, &shown]);
    check(&replay(&both, 0, &desk.root), 1, &[wanted]);
}

#[test]
fn measurements_are_signed_only_where_a_signature_is_over_them() {
    let mut device = Device::new();
    let signs = Desk::with(&device);
    device.config.measured = Measured::Unsigned;
    let (desk, root) = (Desk::with(&device), &signs.root);
    let [unsigned, signed] = [desk.path("unsigned.pcap"), desk.path("signed.pcap")];
    let words = format!("measure --index 1 --save {}", unsigned.display());
    check(&desk.ask(&words, Some(root)), 1, &["not signed"]);
    let words = format!("measure --index 5 --save {}", signed.display());
    check(&signs.ask(&words, Some(root)), 0, &["verified"]);
    let both = joined(&desk, [&unsigned, &signed]);
    let words = format!("measure --replay {} --root {}", both.display(), root.display());
    let wanted = [
        "  1  firmware, digest",
        "  (not signed)",
        "could have made up measurements that are not signed",
    ];
    check(&tidelock(&words).output().unwrap(), 1, &wanted);
    let json = tidelock(&format!("{words} --json")).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let signed = |at: usize| json["measurements"][at]["signed"].as_bool();
    assert_eq!([signed(0), signed(1)], [Some(false), Some(true)], "{json}");
}

/// A peer over MCTP that greets well, and then answers everything with `answer`, or hangs up.
fn peer(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = move |mut stream: TcpStream| -> std::io::Result<()> {
        loop {
            let mut header = [0; 12];
            stream.read_exact(&mut header)?;
            let mut payload = vec![0; usize::from(header[11])];
            stream.read_exact(&mut payload)?;
            let payload = match (header[2], answer) {
                (0xde, _) => &b"Server Hello!\0"[..],
                (_, Some(answer)) => answer,
                (_, None) => return Ok(()),
            };
            let size = (payload.len() as u32).to_be_bytes();
            stream.write_all(&[&header[..8], &size, payload].concat())?;
        }
    };
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let _ = serve(stream);
        }
    });
    address
}

#[test]
fn a_device_that_is_busy_for_ever_is_asked_as_often_as_is_wanted() {
    let busy = peer(Some(&[5, 0x10, 0x7f, 3, 0]));
    for (retries, wanted) in [(0, "not ready 1 times"), (2, "not ready 3 times")] {
        let words = format!("identify --transport mctp --retries {retries} --connect {busy}");
        let output = tidelock(&words).output().unwrap();
        check(&output, 1, &["waiting for VERSION", wanted, "raise the retries"]);
    }
}

#[test]
fn a_conversation_that_ends_early_names_the_message_and_what_would_keep_it() {
    let hangs_up = peer(None);
    let words = format!("identify --transport mctp --connect {hangs_up}");
    let wanted = "tidelock: at GET_VERSION: the device hung up during an exchange; wanted an answer; \
                  --save FILE.pcap keeps what was said";
    check(&tidelock(&words).output().unwrap(), 3, &[wanted]);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.pcap");
    let words = format!("{words} --save {}", trace.display());
    let wanted = "`tidelock spdm decode` shows what was said";
    check(&tidelock(&words).output().unwrap(), 3, &[wanted]);
    let decoded = tidelock(&format!("decode --brief {}", trace.display()));
    check(&{ decoded }.output().unwrap(), 0, &["1 -> GET_VERSION"]);
}

#[test]
fn a_device_that_is_not_there_or_answers_nothing_is_told_apart_from_one_that_refuses() {
    check(
        &tidelock("identify --connect 127.0.0.1:1").output().unwrap(),
        3,
        &["cannot be reached"],
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let words = format!(
        "identify --timeout 1 --connect {}",
        listener.local_addr().unwrap()
    );
    check(
        &tidelock(&words).output().unwrap(),
        3,
        &[
            "no answer to the hello in 1000 ms; does it speak DOE in the DMTF emulators' framing?",
            "--transport",
        ],
    );
    check(&tidelock("identify").output().unwrap(), 2, &["--connect"]);
    check(
        &tidelock("identify --connect x --doe 0000:01:00.0")
            .output()
            .unwrap(),
        2,
        &["cannot be used with"],
    );
}

#[test]
fn a_session_is_opened_measured_in_saved_and_decoded_with_its_secrets() {
    let mut device = Device::new();
    for (name, transport) in TRANSPORTS {
        device.config.transport = transport;
        let desk = Desk::with(&device);
        let (trace, secrets) = (desk.path("trace.pcap"), desk.path("trace.json"));
        let words = format!(
            "measure --session --transport {name} --save {} --save-secrets {}",
            trace.display(),
            secrets.display()
        );
        let wanted = [
            "session, key exchange verified",
            "signature      verified",
            "  1  firmware, digest",
        ];
        desk.check(&words, 0, &wanted);
        let wanted = [
            "MEASUREMENTS over L1: ECDSA P-384",
            "2 verify data",
            "not checked: nothing",
        ];
        deciphers(&trace, &secrets, &wanted);
        let replay = format!(
            "measure --replay {} --root {}",
            trace.display(),
            desk.root.display()
        );
        let wanted = ["  1  firmware, digest", "signature      verified"];
        let with = format!("{replay} --secrets {}", secrets.display());
        check(&tidelock(&with).output().unwrap(), 0, &wanted);
        check(&tidelock(&replay).output().unwrap(), 1, &["no measurements"]);
        let file = std::fs::read(&trace).unwrap();
        let cut = desk.path("cut.pcap");
        std::fs::write(&cut, &file[..file.len() - 1]).unwrap();
        let words = with.replacen("trace.pcap", "cut.pcap", 1);
        check(
            &tidelock(&words).output().unwrap(),
            1,
            &["the file ends inside a packet"],
        );
        let words = format!("decode {} --quiet", trace.display());
        check(&tidelock(&words).output().unwrap(), 0, &["no secrets of session"]);
    }
}

#[test]
fn a_session_on_a_pre_shared_key_needs_the_same_key_on_both_sides() {
    let mut device = Device::new();
    let find = |hint: &[u8]| (hint == b"ours").then(|| Secret::new(b"shared".to_vec()));
    device.config.psk = Some(Psk {
        keys: Arc::new(find),
        context: true,
    });
    let desk = Desk::with(&device);
    let key = desk.path("key");
    let words = format!("measure --session --psk {} --psk-hint ours", key.display());
    for good in ["shared", "736861726564\n"] {
        std::fs::write(&key, good).unwrap();
        let wanted = ["session, psk exchange verified", "signature      verified"];
        desk.check(&words, 0, &wanted);
        desk.check(&words.replace("ours", "0x6f757273"), 0, &wanted);
    }
    let odd = words.replace("ours", "0x6f7");
    check(
        &desk.ask(&odd, None),
        2,
        &["wanted two hexadecimal digits a byte"],
    );
    std::fs::write(&key, "other").unwrap();
    desk.check(&words, 1, &["not understood"]);
    std::fs::write(&key, "").unwrap();
    desk.check(&words, 1, &["wanted a pre-shared key"]);
}

/// This side's certificates with their key in PEM, what is missing without the key, and the chain object.
fn ours() -> ([String; 2], Vec<u8>) {
    let (root, root_key, key) = (
        authority("our root", true),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
    );
    let root_made = root.self_signed(&root_key).unwrap();
    let leaf = authority("our tool", false)
        .signed_by(&key, &Issuer::new(root, root_key))
        .unwrap();
    let mut chain = Vec::new();
    Chain {
        root_hash: digest(&Ring, HashAlg::Sha384, root_made.der()).as_ref(),
        certificates: &[&root_made.der()[..], leaf.der()].concat(),
    }
    .encode(Version::V1_2, &mut chain);
    let whole = [root_made.pem(), leaf.pem(), key.serialize_pem()].concat();
    ([whole, leaf.pem()], chain)
}

#[test]
fn a_device_that_knows_who_asks_wants_a_signature_only_and_decode_is_told_whose() {
    let ([pem, _], chain) = ours();
    let mut device = Device::new();
    device.config.offer.requester_sign = vec![SignAlg::EcdsaP384];
    device.config.mutual = Some(Mutual {
        session: key_exchange::Mutual::SIGNATURE,
        chain: Some((0, chain)),
        ..Mutual::new(Trust::RelyingPartyDecides)
    });
    let desk = Desk::with(&device);
    let (identity, trace, secrets) = (
        desk.path("identity.pem"),
        desk.path("trace.pcap"),
        desk.path("trace.json"),
    );
    std::fs::write(&identity, pem).unwrap();
    let words = format!(
        "measure --session --identity {} --save {} --save-secrets {}",
        identity.display(),
        trace.display(),
        secrets.display()
    );
    check(
        &desk.ask(&words, Some(&desk.root)),
        0,
        &["session, key exchange verified", "signature      verified"],
    );
    let wanted = [
        "FINISH over TH: ECDSA P-384, slot 0, CN=our tool",
        "4 signatures",
        "2 verify data",
    ];
    deciphers(&trace, &secrets, &wanted);
}

#[test]
fn a_device_that_wants_to_know_who_asks_is_told() {
    let mut device = Device::new();
    device.config.offer.requester_sign = vec![SignAlg::EcdsaP384];
    device.config.mutual = Some(Mutual::new(Trust::RelyingPartyDecides));
    let desk = Desk::with(&device);
    let ([pem, without_key], _) = ours();
    let identity = desk.path("identity.pem");
    std::fs::write(&identity, pem).unwrap();
    let (trace, secrets) = (desk.path("trace.pcap"), desk.path("trace.json"));
    let words = format!(
        "identify --session --identity {} --save {} --save-secrets {}",
        identity.display(),
        trace.display(),
        secrets.display()
    );
    desk.check(&words, 0, &["session, key exchange verified"]);
    let wanted = [
        "FINISH over TH: ECDSA P-384, slot 0, CN=our tool",
        "not checked: nothing",
    ];
    deciphers(&trace, &secrets, &wanted);
    desk.check("identify --session", 1, &["not understood"]);
    std::fs::write(&identity, without_key).unwrap();
    let words = format!("identify --session --identity {}", identity.display());
    desk.check(&words, 1, &["it has no PRIVATE KEY"]);
}

#[test]
fn a_request_that_is_put_off_is_in_a_transcript_once() {
    let mut device = Device::new();
    let put_off =
        |how| [Code::KEY_EXCHANGE, Code::FINISH, Code::GET_MEASUREMENTS].map(|code| Delay { code, how });
    let not_ready = Wait::NotReady {
        exponent: 10,
        multiplier: 255,
    };
    for how in [Wait::Busy(2), not_ready] {
        device.config.delays = put_off(how).to_vec();
        let desk = Desk::with(&device);
        let (trace, secrets) = (desk.path("trace.pcap"), desk.path("trace.json"));
        let words = format!(
            "measure --session --save {} --save-secrets {}",
            trace.display(),
            secrets.display()
        );
        desk.check(&words, 0, &["signature      verified"]);
        let wanted = ["<- ERROR [", "END_SESSION", "not checked: nothing"];
        deciphers(&trace, &secrets, &wanted);
    }
}
