//! `tidelock-device serve` for other people's requesters: over TCP, in every version and on both transports, and what it does
//! with those who mean ill. The program itself is started once; the rest speaks with what it runs.

#![allow(clippy::unwrap_used, reason = "a broken world ends the test")]

use clap::Parser;
use firmware_tests::CRYPTOGRAPHY;
use firmware_tests::device::responder::options::Protocol;
use firmware_tests::device::responder::standalone::Standalone;
use firmware_tests::device::socket::{Command, Frame};
use firmware_tests::identity::{self, Identity};
use firmware_tests::lie::Lie;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as Clock};
use tdisp::clock::Instant;
use tdisp::crypto::{HashAlg, Ring, Secret, SignAlg, digest};
use tdisp::spdm::msg::Version;
use tdisp::spdm::requester::PreShared;
use tdisp::spdm::responder::{MultiKey, Slot};
use tdisp::spdm::{Error, Event, Goal, Identity as Own, Requester, RequesterConfig, Transport, Trust};

#[path = "responder/suite.rs"]
mod suite;

/// What a command line says.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    protocol: Protocol,
}

fn protocol(line: &str) -> Protocol {
    let words = ["serve"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).unwrap().protocol
}

/// One identity an algorithm: keys take their time.
fn identity(alg: SignAlg) -> &'static Identity {
    static KEYS: [OnceLock<Identity>; SignAlg::ALL.len()] = [const { OnceLock::new() }; SignAlg::ALL.len()];
    let at = SignAlg::ALL.iter().position(|known| *known == alg).unwrap();
    KEYS[at].get_or_init(|| identity::new(alg).unwrap())
}

/// A card that is served on, until the test program ends.
fn serve(line: &str, lies: &[&str]) -> SocketAddr {
    let protocol = protocol(line);
    let identity = identity(protocol.sign().unwrap()).clone();
    let lies: Vec<Lie> = lies.iter().map(|lie| lie.parse().unwrap()).collect();
    let card = Standalone::new(identity, protocol, lies).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || card.serve(&listener));
    address
}

/// A requester's connection.
struct Client {
    stream: TcpStream,
    transport: Transport,
    requester: Requester,
}

impl Client {
    fn new(address: SocketAddr, config: RequesterConfig) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            stream,
            transport: config.transport,
            requester: Requester::new(config, Arc::new(CRYPTOGRAPHY)),
        }
    }

    fn say(&mut self, command: Command, payload: &[u8]) -> Option<Frame> {
        let frame = Frame {
            command,
            payload: payload.to_vec(),
        };
        frame.write(&mut self.stream, self.transport).unwrap();
        Frame::read(&mut self.stream, self.transport).unwrap()
    }

    /// Carries messages until nothing moves; what the requester told.
    fn run(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut unit = Vec::new();
        while self.requester.poll_transmit(&mut unit) {
            let answer = self.say(Command::NORMAL, &unit).expect("an answer");
            self.requester.handle(Instant::START, &answer.payload);
            unit.clear();
            events.extend(std::iter::from_fn(|| self.requester.poll_event()));
        }
        events
    }

    #[track_caller]
    fn connect(&mut self) -> Event {
        self.requester.connect(Instant::START);
        self.run().pop().expect("an event")
    }

    /// What a request of the PCI-SIG's is answered with.
    #[track_caller]
    fn vendor(&mut self, payload: &[u8]) -> Vec<u8> {
        self.requester.vendor(Instant::START, payload).unwrap();
        match self.run().pop() {
            Some(Event::Vendor(answer)) => answer,
            other => panic!("{other:02x?}"),
        }
    }

    /// The code of the answer to GET_DEVICE_INTERFACE_STATE, and its last byte.
    #[track_caller]
    fn state_of(&mut self, interface: u16) -> (u8, u8) {
        let [low, high] = interface.to_le_bytes();
        let mut payload = vec![1, 0x10, 0x85, 0, 0, low, high];
        payload.extend([0; 10]);
        let answer = self.vendor(&payload);
        (answer[2], *answer.last().unwrap())
    }

    fn bye(mut self) {
        let answer = self.say(Command::SHUTDOWN, &[]);
        assert_eq!(answer.map(|frame| frame.command), Some(Command::SHUTDOWN));
    }
}

/// A requester for the card that `line` makes.
fn asking(line: &str) -> RequesterConfig {
    let protocol = protocol(line);
    let identity = identity(protocol.sign().unwrap());
    let offer = match identity.alg {
        SignAlg::EcdsaP384 => Default::default(),
        _ => protocol.suite[0].clone(),
    };
    let offer = firmware_tests::device::responder::suite::Suite::offer(&[offer], Default::default());
    RequesterConfig {
        versions: protocol.spdm.clone(),
        transport: protocol.transport,
        roots: Trust::Pinned(vec![digest(&Ring, offer.hash[0], &identity.vendor.root)]),
        goal: match protocol.spdm[..] {
            [Version::V1_0] => Goal::Identity,
            _ => Goal::Session,
        },
        offer,
        ..RequesterConfig::default()
    }
}

/// Connects, measures, and ends the session if there is one.
#[track_caller]
fn goes_all_the_way(line: &str, address: SocketAddr, config: RequesterConfig) {
    let by_psk = config.goal == Goal::PskSession;
    let mut client = Client::new(address, config);
    let hello = client.say(Command::TEST, b"Client Hello!\0").unwrap();
    assert_eq!(hello.command, Command::TEST);
    let ready = client.connect();
    assert!(
        matches!(ready, Event::SessionReady { .. } | Event::Challenged),
        "{line}: {ready:?}"
    );
    // Who opens a session on a pre-shared key has asked for no certificate to check a signature with.
    if !by_psk {
        client.requester.measure(Instant::START, None).unwrap();
        let measured = client.run().pop();
        assert!(
            matches!(measured, Some(Event::Measurements(_))),
            "{line}: {measured:?}"
        );
    }
    if client.requester.session().is_some() {
        client.requester.end_session(Instant::START).unwrap();
        let ended = client.run().pop();
        assert!(matches!(ended, Some(Event::SessionEnded)), "{line}: {ended:?}");
    }
    client.bye();
}

const SUITES: [&str; 3] = [
    "",
    "--suite ecdsa-p256-sha256-secp256r1-aes128gcm",
    "--suite ecdsa-p256-sha256-secp256r1-chacha20poly1305",
];

#[test]
fn every_version_suite_and_transport_goes_all_the_way_connection_after_connection() {
    for transport in ["doe", "mctp"] {
        for suite in SUITES {
            let all = format!("--transport {transport} {suite} --spdm 1.0,1.1,1.2,1.3,1.4");
            let address = serve(&all, &[]);
            for version in ["1.0", "1.1", "1.2", "1.3", "1.4"] {
                let one = format!("--transport {transport} {suite} --spdm {version}");
                goes_all_the_way(&one, address, asking(&one));
            }
        }
    }
}

#[test]
fn ml_dsa_and_ml_kem_go_all_the_way_in_chunks() {
    for line in [
        "--suite ml-dsa-44-ml-kem-512 --spdm 1.4 --capabilities +csr,+key-pair-info",
        "--suite ml-dsa-65-ml-kem-768 --spdm 1.4 --transport mctp",
        "--suite ml-dsa-87-ml-kem-1024 --spdm 1.4 --transfer-size 256",
        "--suite ml-dsa-87-secp384r1 --spdm 1.4",
    ] {
        let config = RequesterConfig {
            chunk: Some(0x2_0000),
            ..asking(line)
        };
        goes_all_the_way(line, serve(line, &[]), config);
    }
}

#[test]
fn a_handshake_in_clear_and_small_pieces_go_all_the_way() {
    for line in [
        "--spdm 1.1 --capabilities +clear",
        "--spdm 1.4 --transfer-size 256 --heartbeat 60",
    ] {
        let mut config = asking(line);
        config.handshake_in_clear = line.contains("+clear");
        if line.contains("--transfer-size") {
            config.transfer_size = 256;
            config.chunk = Some(0x1_0000);
        }
        goes_all_the_way(line, serve(line, &[]), config);
    }
}

#[test]
fn a_pre_shared_key_opens_a_session_and_one_with_another_hint_does_not() {
    for transport in ["doe", "mctp"] {
        for version in ["1.1", "1.2", "1.3", "1.4"] {
            for context in ["", "--capabilities -psk-context"] {
                let line = format!(
                    "--transport {transport} --spdm {version} --psk 00112233445566778899aabbccddeeff:lab {context}"
                );
                let address = serve(&line, &[]);
                let key = Secret::new((0..16).map(|byte| byte * 0x11).collect());
                let config = |hint: &[u8]| RequesterConfig {
                    goal: Goal::PskSession,
                    psk: Some(PreShared {
                        key: key.clone(),
                        hint: hint.to_vec(),
                    }),
                    ..asking(&line)
                };
                goes_all_the_way(&line, address, config(b"lab"));
                let refused = Client::new(address, config(b"other")).connect();
                assert!(
                    matches!(refused, Event::Failed(Error::Peer { .. })),
                    "{refused:?}"
                );
            }
        }
    }
}

#[test]
fn a_requester_authenticates_itself_and_one_with_an_unknown_root_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (known, unknown) = (
        identity::of_requester(SignAlg::EcdsaP384).unwrap(),
        identity::of_requester(SignAlg::EcdsaP384).unwrap(),
    );
    let root = folder.path().join("root.der");
    let chain = folder.path().join("chain.der");
    std::fs::write(&root, &known.vendor.root).unwrap();
    std::fs::write(&chain, known.vendor.certificates().concat()).unwrap();
    let files = format!(
        "--requester-root {} --requester-chain {}",
        root.display(),
        chain.display()
    );
    for way in ["basic", "encap", "digests", "raw", "basic,encap"] {
        for (transport, version) in [("doe", "1.1"), ("doe", "1.2"), ("mctp", "1.3"), ("doe", "1.4")] {
            let line = format!("--transport {transport} --spdm {version} --mutual-auth {way} {files}");
            let address = serve(&line, &[]);
            let config = |own: &Identity| {
                let mut config = asking(&line);
                config.offer.requester_sign = vec![SignAlg::EcdsaP384];
                let signer = Arc::new(identity::signer(own).unwrap());
                let mut slots = [const { None }; 8];
                slots[0] = Some(Slot::new(own.vendor.object(), signer));
                config.identity = Some(Own {
                    slots,
                    public_key: None,
                    multi_key: MultiKey::No,
                });
                config
            };
            goes_all_the_way(&line, address, config(&known));
            let refused = Client::new(address, config(&unknown)).connect();
            assert!(matches!(refused, Event::Failed(_)), "{line}: {refused:?}");
            // Who cannot authenticate itself is let in, unless it is said that nobody is.
            goes_all_the_way(&line, address, asking(&line));
            let required = serve(&format!("{line} --mutual-auth required"), &[]);
            if way != "basic" {
                let refused = Client::new(required, asking(&line)).connect();
                assert!(matches!(refused, Event::Failed(_)), "{line}: {refused:?}");
            }
        }
    }
}

#[test]
fn ide_km_and_tdisp_answer_in_a_session_and_find_the_functions_placed() {
    let line = "--spdm 1.2";
    let mut client = Client::new(serve(line, &[]), asking(line));
    client.connect();
    assert_eq!(client.vendor(&QUERY)[..2], [0, 1]);
    let (code, unlocked) = client.state_of(0x101);
    assert_eq!((code, unlocked), (5, 0));
}

/// Requesters that ask for interfaces and ports of their own: DMTF/spdm-emu for 0xbeef and port 1, ccc-spdm-tools/spdm-rs for
/// 0x1234.
#[test]
fn interfaces_and_ports_are_those_that_are_told() {
    const ERROR: u8 = 0x7f;
    const MAX_PORT_INDEX: usize = 7;
    let state = 5;
    let line = "--spdm 1.2 --tdi 0xbeef,0x1234 --ide-ports 2";
    let mut client = Client::new(serve(line, &[]), asking(line));
    client.connect();
    for port in [0, 1] {
        let answer = client.vendor(&[0, 0, 0, port]);
        assert_eq!((answer[3], answer[MAX_PORT_INDEX]), (port, 1), "{answer:02x?}");
    }
    for (interface, wanted) in [(0xbeef, state), (0x1234, state), (0x101, ERROR)] {
        assert_eq!(client.state_of(interface).0, wanted, "{interface:x}");
    }
}

/// An IDE_KM QUERY of port 0.
const QUERY: [u8; 4] = [0, 0, 0, 0];

#[test]
fn a_connection_finds_the_card_as_after_power_on_but_after_continue_as_it_was() {
    let line = "--spdm 1.2";
    let address = serve(line, &[]);
    // GET_CAPABILITIES without GET_VERSION: only a card that was spoken with takes it.
    let capabilities = |client: &mut Client| {
        let mut unit = vec![
            1, 0, 1, 0, 7, 0, 0, 0, 0x12, 0xe1, 0, 0, 0, 0, 0, 0, 0xc6, 0x62, 0, 0,
        ];
        unit.extend(0x1200u32.to_le_bytes().repeat(2));
        client.say(Command::NORMAL, &unit).unwrap().payload[9]
    };
    let version = [1, 0, 1, 0, 3, 0, 0, 0, 0x10, 0x84, 0, 0];
    let mut first = Client::new(address, asking(line));
    first.say(Command::NORMAL, &version).unwrap();
    assert_eq!(
        first.say(Command::CONTINUE, &[]).unwrap().command,
        Command::CONTINUE
    );
    drop(first);
    let mut second = Client::new(address, asking(line));
    assert_eq!(capabilities(&mut second), 0x61, "it goes on");
    second.bye();
    assert_eq!(
        capabilities(&mut Client::new(address, asking(line))),
        0x7f,
        "it begins anew"
    );
}

#[test]
fn a_second_requester_waits_until_the_first_has_left() {
    let line = "--spdm 1.2";
    let address = serve(line, &[]);
    let mut first = Client::new(address, asking(line));
    first.say(Command::TEST, b"hello").unwrap();
    let second = std::thread::spawn(move || goes_all_the_way(line, address, asking(line)));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!second.is_finished());
    assert!(matches!(first.connect(), Event::SessionReady { .. }));
    first.bye();
    second.join().unwrap();
}

/// Sends bytes as they are; everything that comes back until the card hangs up.
fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn frame(command: u32, transport: u32, size: u32, payload: &[u8]) -> Vec<u8> {
    let head = [command, transport, size].map(u32::to_be_bytes).concat();
    [&head, payload].concat()
}

#[test]
fn frames_that_mean_ill_end_their_connection_and_no_other() {
    let line = "--spdm 1.2";
    let address = serve(line, &[]);
    for (what, bytes) in [
        ("a size beyond all memory", frame(1, 2, u32::MAX, &[])),
        ("a size beyond the largest", frame(1, 2, 0x10_0001, &[])),
        ("another transport", frame(1, 1, 0, &[])),
        ("no transport", frame(0xdead, 0, 0, &[])),
        ("a header cut short", frame(1, 2, 4, &[])[..7].to_vec()),
        ("a payload cut short", frame(1, 2, 12, &[1, 0, 1])),
        ("nothing", Vec::new()),
    ] {
        assert!(raw(address, &bytes).is_empty(), "{what}");
    }
    // What is no object is not answered, and the next one is.
    let version = [1, 0, 1, 0, 3, 0, 0, 0, 0x10, 0x84, 0, 0];
    let mut bytes = frame(1, 2, 0, &[]);
    bytes.extend(frame(1, 2, 3, &[1, 0, 1]));
    bytes.extend(frame(1, 2, 12, &[1, 0, 1, 0, 9, 0, 0, 0, 0x10, 0x84, 0, 0]));
    bytes.extend(frame(1, 2, 12, &version));
    let answer = raw(address, &bytes);
    assert_eq!(
        (answer[..4].to_vec(), answer[21]),
        (1u32.to_be_bytes().to_vec(), 0x04)
    );
    goes_all_the_way(line, address, asking(line));
}

#[test]
fn a_frame_that_comes_byte_by_byte_ends_in_its_time() {
    let address = serve("--spdm 1.2", &[]);
    let mut stream = TcpStream::connect(address).unwrap();
    let began = Clock::now();
    // Far more bytes than there is time for.
    let sent = frame(1, 2, 4096, &[0; 4096]);
    for byte in sent {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(15), "it waits on and on");
    }
    goes_all_the_way("--spdm 1.2", address, asking("--spdm 1.2"));
}

#[test]
fn a_card_that_lies_about_its_root_is_found_out() {
    let line = "--spdm 1.3";
    let refused = Client::new(serve(line, &["other-root"]), asking(line)).connect();
    assert!(matches!(refused, Event::Failed(_)), "{refused:?}");
}

#[test]
fn what_cannot_be_is_said_before_anybody_connects() {
    let unfit = |line: &str| {
        let protocol = protocol(line);
        let identity = identity(SignAlg::EcdsaP384).clone();
        let card = Standalone::new(identity, protocol, Vec::new());
        card.err().expect("it cannot be").to_string()
    };
    for (line, why) in [
        ("--suite ecdsa-p256-sha256", "--suite wants ECDSA P-256"),
        (
            "--suite ecdsa-p384,ecdsa-p256",
            "--suite names several signature algorithms",
        ),
        ("--suite sha384,sha256", "--suite names several hashes"),
        (
            "--suite ecdsa-p384-sha256",
            "ECDSA P-384 does not sign with SHA-256",
        ),
        ("--mutual-auth encap", "--mutual-auth wants --requester-root"),
    ] {
        let error = unfit(line);
        assert!(error.starts_with(why), "{line}: {error}");
    }
    for line in [
        "--spdm 1.5",
        "--transport tcp",
        "--slots 8",
        "--capabilities csr",
        "--psk xyz",
    ] {
        let words = ["serve"].into_iter().chain(line.split_whitespace());
        assert!(Line::try_parse_from(words).is_err(), "{line}");
    }
}

#[test]
fn the_program_serves_with_an_identity_of_its_own_and_says_where_its_root_is() {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_tidelock-device"))
        .args(["serve", "--listen", "127.0.0.1:0", "--spdm", "1.2"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(program.stdout.take().unwrap()));
    let address: SocketAddr = lines.next().unwrap().unwrap()["listening on ".len()..]
        .parse()
        .unwrap();
    let root = lines.next().unwrap().unwrap()["root certificate ".len()..].to_owned();
    let root = std::fs::read(root).unwrap();
    let config = RequesterConfig {
        roots: Trust::Pinned(vec![digest(&Ring, HashAlg::Sha384, &root)]),
        ..RequesterConfig::default()
    };
    goes_all_the_way("the program", address, config);
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn what_functions_on_the_bus_do_not_have_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (identity, sockets, platform) = (path("card"), path("sockets"), path("platform.sock"));
    for (option, value) in [("--tdi", "0xbeef"), ("--transport", "mctp")] {
        let refused = std::process::Command::new(env!("CARGO_BIN_EXE_tidelock-device"))
            .args(["serve", "--listen", "127.0.0.1:0", option, value])
            .args(["--identity", &identity])
            .args(["--vfio-user", &sockets])
            .args(["--platform", &platform])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            said.contains(option) && said.contains("without --vfio-user"),
            "{said}"
        );
        assert!(!std::path::Path::new(&sockets).exists());
    }
}

#[test]
fn the_program_goes_on_when_nobody_reads_what_it_prints() {
    let program = || std::process::Command::new(env!("CARGO_BIN_EXE_tidelock-device"));
    let unread = || std::io::pipe().unwrap().1;
    let directory = tempfile::tempdir().unwrap();
    let card = directory.path().join("card");
    for words in [["provision"].as_slice(), &["reference", "--identity"]] {
        let output = program()
            .args(words)
            .arg(&card)
            .stdout(unread())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    }
    // Nobody reads which port it is, so that it is chosen here.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut served = program()
        .args(["serve", "--listen", &address.to_string(), "--identity"])
        .arg(&card)
        .stdout(unread())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = Clock::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody listens");
        assert_eq!(served.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(20));
    }
    // It prints once it listens.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(served.try_wait().unwrap(), None);
    served.kill().unwrap();
    served.wait().unwrap();
}
