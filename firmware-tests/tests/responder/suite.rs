//! What a conformance suite says on one connection, in the order of the DMTF's SPDM-Responder-Validator: group after group,
//! the next case beginning with GET_VERSION wherever the last one stopped. Sessions and handshakes are left open as they
//! are; none of them may be in the way of what follows. The requester is the one that judges the responder in
//! `tdisp/tests/conformance`, where each case is looked at by itself.

use super::{identity, serve};
use client::{
    CERT, CHAL, CHUNK, Client, ENCAP, HANDSHAKE_IN_CLEAR, Heard, KEY_EX, MUT_AUTH, SESSION_FLAGS, Wire,
};
use crypto::P384;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tdisp::crypto::SignAlg;

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the suite of tdisp has more uses for it"
)]
#[path = "../../../tdisp/tests/conformance/client.rs"]
mod client;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the suite of tdisp has more uses for it"
)]
#[path = "../../../tdisp/tests/conformance/crypto.rs"]
mod crypto;

const INVALID: u8 = 0x01;
const UNEXPECTED: u8 = 0x04;
const DECRYPT: u8 = 0x06;
const SESSION_REQUIRED: u8 = 0x0b;
const VERSION_MISMATCH: u8 = 0x41;

/// One connection, in the emulators' framing: each word and the payload in a send of its own.
struct Line {
    stream: TcpStream,
    transport: u32,
}

impl Line {
    fn connect(address: SocketAddr, mctp: bool) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let transport = if mctp { 1 } else { 2 };
        let mut line = Self { stream, transport };
        assert_eq!(line.frame(0xdead, b"Client Hello!\0"), b"Server Hello!\0");
        line
    }

    /// Who hears nothing waits for ever, and so does the suite: that is a failure.
    fn frame(&mut self, command: u32, payload: &[u8]) -> Vec<u8> {
        for word in [command, self.transport, payload.len() as u32] {
            self.stream.write_all(&word.to_be_bytes()).unwrap();
        }
        self.stream.write_all(payload).unwrap();
        let mut head = [0; 12];
        self.stream.read_exact(&mut head).expect("an answer");
        assert_eq!(
            head[..8],
            [command, self.transport].map(u32::to_be_bytes).concat()
        );
        let size = u32::from_be_bytes(head[8..].try_into().unwrap());
        let mut answer = vec![0; size as usize];
        self.stream.read_exact(&mut answer).unwrap();
        answer
    }

    fn again(&self) -> Self {
        Self {
            stream: self.stream.try_clone().unwrap(),
            transport: self.transport,
        }
    }
}

impl Wire for Line {
    fn exchange(&mut self, unit: &[u8]) -> Option<Vec<u8>> {
        Some(self.frame(1, unit))
    }
}

/// The suite in one version.
struct Suite<'a> {
    line: &'a Line,
    version: u8,
}

impl Suite<'_> {
    /// A requester that has said nothing yet: the responder still is where the last one stopped.
    fn client(&self) -> Client {
        let line = self.line.again();
        let mctp = line.transport == 1;
        let mut client = Client::new(Box::new(line), mctp, self.version, &P384);
        client.flags = match self.version {
            0x10 => 0,
            0x11 => SESSION_FLAGS | ENCAP,
            _ => SESSION_FLAGS | ENCAP | CHUNK,
        };
        client
    }

    fn agreed(&self) -> Client {
        let mut client = self.client();
        client.negotiate();
        client
    }

    fn shaking(&self, flags: u32) -> Client {
        let mut client = self.client();
        client.flags |= flags;
        client.negotiate();
        client.shake(0, 0);
        client
    }

    fn in_session(&self) -> Client {
        let mut client = self.shaking(0);
        client.finish();
        client
    }

    /// ERROR in the version of the connection.
    #[track_caller]
    fn refuses(&self, heard: &Heard, code: u8) {
        refused(heard, self.version, code);
    }

    /// What of a request comes in the two versions beside the agreed one.
    #[track_caller]
    fn mismatches(&self, client: &mut Client, message: &[u8]) {
        for other in [self.version - 1, self.version + 1] {
            let message = [&[other], &message[1..]].concat();
            let heard = match client.session.is_some() {
                true => client.secured(&message),
                false => client.clear(&message),
            };
            self.refuses(&heard, VERSION_MISMATCH);
        }
    }

    /// What the error is for a request that came without its session.
    fn outside(&self) -> u8 {
        match self.version >= 0x12 {
            true => SESSION_REQUIRED,
            false => UNEXPECTED,
        }
    }
}

#[track_caller]
fn refused(heard: &Heard, version: u8, code: u8) {
    let (Heard::Clear(error) | Heard::Secured(error)) = heard else {
        panic!("no answer");
    };
    assert_eq!(error[..4], [version, 0x7f, code, 0], "{heard:02x?}");
}

/// What is said in one group.
type Group = fn(&Suite<'_>);

/// The groups, by their numbers.
const GROUPS: [(u8, Group); 12] = [
    (1, version),
    (2, capabilities),
    (3, algorithms),
    (4, digests),
    (5, certificate),
    (6, challenge_auth),
    (7, measurements),
    (8, key_exchange_rsp),
    (9, finish_rsp),
    (12, heartbeat_ack),
    (13, key_update_ack),
    (16, end_session_ack),
];

/// The first that is of sessions, which came with 1.1.
const FIRST_OF_SESSIONS: u8 = 8;

fn version(suite: &Suite<'_>) {
    suite.client().say_version();
}

fn capabilities(suite: &Suite<'_>) {
    let mut client = suite.client();
    client.say_version();
    for other in [0x0f, 0x15] {
        refused(&client.clear(&[other, 0xe1, 0, 0]), 0x10, VERSION_MISMATCH);
    }
    if suite.version >= 0x11 {
        let usual = client.flags;
        for flags in [CERT | CHAL | KEY_EX, CERT | CHAL | SESSION_FLAGS & !KEY_EX] {
            client.flags = flags;
            let heard = client.clear(&client.get_capabilities());
            suite.refuses(&heard, INVALID);
        }
        client.flags = usual;
    }
    client.say_capabilities();
    let mut second = client.get_capabilities();
    second[3] = 1;
    let heard = client.clear(&second);
    suite.refuses(&heard, UNEXPECTED);
}

fn algorithms(suite: &Suite<'_>) {
    let mut client = suite.client();
    client.say_version();
    client.say_capabilities();
    let message = client.negotiate_algorithms();
    suite.mismatches(&mut client, &message);
    let mut wrong = message.clone();
    wrong[28] = 21;
    let heard = client.clear(&wrong);
    suite.refuses(&heard, INVALID);
    client.say_algorithms();
    let mut second = message;
    second[3] = 1;
    let heard = client.clear(&second);
    suite.refuses(&heard, UNEXPECTED);
}

fn digests(suite: &Suite<'_>) {
    let mut client = suite.agreed();
    client.digests();
    suite.mismatches(&mut client, &[0, 0x81, 0, 0]);
}

fn certificate(suite: &Suite<'_>) {
    let mut client = suite.agreed();
    let digest = client.digests()[0].1.clone();
    let chain = client.certificate(0);
    assert_eq!(P384.hash(&chain), digest);
    let message = client.get_certificate(0, 0, 0x400);
    suite.mismatches(&mut client, &message);
    for slot in 1..=15 {
        let heard = client.clear(&client.get_certificate(slot, 0, 0x400));
        suite.refuses(&heard, INVALID);
    }
    let heard = client.clear(&client.get_certificate(0, 0xffff, 0x400));
    suite.refuses(&heard, INVALID);
}

fn challenge_auth(suite: &Suite<'_>) {
    let mut client = suite.agreed();
    client.certificate(0);
    for summary in [0, 1, 0xff] {
        for (again, digests, certificate) in [
            (false, true, true),
            (false, false, false),
            (false, true, false),
            (false, false, true),
            (true, true, true),
            (true, false, false),
            (true, true, false),
            (true, false, true),
        ] {
            client.negotiate();
            if again {
                client.challenged(0, summary);
            }
            if digests {
                client.digests();
            }
            if certificate {
                client.certificate(0);
            }
            client.challenged(0, summary);
        }
    }
    let message = client.challenge(0, 0);
    suite.mismatches(&mut client, &message);
    for slot in 1..=15 {
        let heard = client.clear(&client.challenge(slot, 0));
        suite.refuses(&heard, INVALID);
    }
    for summary in [2, 0xfe] {
        let heard = client.clear(&client.challenge(0, summary));
        suite.refuses(&heard, INVALID);
    }
}

/// How many there are, all of them, and each by itself; the last is signed.
#[track_caller]
fn measured(client: &mut Client) {
    for (signed, operation) in [(Some(0), 0), (Some(0), 0xff), (None, 1), (Some(0), 2)] {
        let message = client.get_measurements(signed, operation);
        let heard = match client.session.is_some() {
            true => client.secured(&message),
            false => client.clear(&message),
        };
        let (Heard::Clear(answer) | Heard::Secured(answer)) = &heard else {
            panic!("no answer");
        };
        assert_eq!(answer[..2], [client.version, 0x60], "{heard:02x?}");
        assert_eq!(answer[2] > 0, operation == 0, "how many there are");
    }
}

fn measurements(suite: &Suite<'_>) {
    let mut client = suite.agreed();
    measured(&mut client);
    let message = client.get_measurements(None, 0);
    suite.mismatches(&mut client, &message);
    if suite.version == 0x10 {
        return;
    }
    for slot in 1..15 {
        let heard = client.clear(&client.get_measurements(Some(slot), 0));
        suite.refuses(&heard, INVALID);
    }
    measured(&mut suite.in_session());
    let mut client = suite.shaking(0);
    let heard = client.secured(&client.get_measurements(None, 0));
    suite.refuses(&heard, UNEXPECTED);
}

fn key_exchange_rsp(suite: &Suite<'_>) {
    for flags in [0, HANDSHAKE_IN_CLEAR] {
        for summary in [0, 1, 0xff] {
            let mut client = suite.client();
            client.flags |= flags;
            client.negotiate();
            client.shake(0, summary);
        }
    }
    let mut client = suite.agreed();
    let message = client.key_exchange_request(0, 0);
    suite.mismatches(&mut client, &message);
    for slot in 1..=15 {
        let heard = client.clear(&client.key_exchange_request(slot, 0));
        suite.refuses(&heard, INVALID);
    }
    for summary in [2, 0xfe] {
        let heard = client.clear(&client.key_exchange_request(0, summary));
        suite.refuses(&heard, INVALID);
    }
    let mut client = suite.in_session();
    let heard = client.secured(&client.key_exchange_request(0, 0));
    suite.refuses(&heard, UNEXPECTED);
}

fn finish_rsp(suite: &Suite<'_>) {
    for flags in [0, HANDSHAKE_IN_CLEAR] {
        suite.shaking(flags).finish();
    }
    let mut client = suite.shaking(0);
    let proofless = client.finish_with(0, 0, &[0; 48]);
    suite.mismatches(&mut client, &proofless);
    for slot in 1..=15 {
        let heard = client.secured(&client.finish_with(1, slot, &[0; 48]));
        suite.refuses(&heard, INVALID);
    }
    let heard = client.secured(&client.finish_with(0, 0, &[]));
    suite.refuses(&heard, INVALID);
    // A wrong proof, in the session and in clear, and a right one where it does not belong.
    let heard = suite.shaking(0).secured(&proofless);
    suite.refuses(&heard, DECRYPT);
    let heard = suite.shaking(HANDSHAKE_IN_CLEAR).clear(&proofless);
    suite.refuses(&heard, DECRYPT);
    let mut client = suite.shaking(0);
    let right = client.right_finish();
    let heard = client.clear(&right);
    suite.refuses(&heard, suite.outside());
    let heard = suite.in_session().secured(&proofless);
    suite.refuses(&heard, UNEXPECTED);
}

/// A request of sessions without a body: in another version, in a handshake, and beside a session.
fn of_sessions(suite: &Suite<'_>, code: u8, param1: u8) {
    let mut client = suite.in_session();
    let message = client.simple(code, param1, 0);
    suite.mismatches(&mut client, &message);
    let heard = client.clear(&message);
    suite.refuses(&heard, suite.outside());
    let heard = suite.shaking(0).secured(&message);
    suite.refuses(&heard, UNEXPECTED);
}

fn heartbeat_ack(suite: &Suite<'_>) {
    let mut client = suite.in_session();
    client.secured_answer(&client.simple(0xe8, 0, 0));
    of_sessions(suite, 0xe8, 0);
}

fn key_update_ack(suite: &Suite<'_>) {
    let mut client = suite.in_session();
    for operation in [1, 2] {
        client.update(operation);
        client.secured_answer(&client.simple(0xe9, 3, 0));
    }
    for operation in [0, 4] {
        let heard = client.secured(&client.simple(0xe9, operation, 0));
        suite.refuses(&heard, INVALID);
    }
    of_sessions(suite, 0xe9, 1);
}

fn end_session_ack(suite: &Suite<'_>) {
    let mut client = suite.in_session();
    client.secured_answer(&client.simple(0xec, 0, 0));
    of_sessions(suite, 0xec, 0);
}

/// Every group in every version, twice over, on one connection with the card that `options` make.
fn run(options: &str) {
    for mctp in [false, true] {
        let transport = if mctp { "mctp" } else { "doe" };
        let all = "--spdm 1.0,1.1,1.2,1.3,1.4 --heartbeat 240 --capabilities +clear";
        let address = serve(&format!("--transport {transport} {all} {options}"), &[]);
        let mut line = Line::connect(address, mctp);
        for version in [0x10, 0x11, 0x12, 0x13, 0x14].repeat(2) {
            let suite = Suite { line: &line, version };
            let groups = GROUPS
                .iter()
                .filter(|(group, _)| version > 0x10 || *group < FIRST_OF_SESSIONS);
            groups.for_each(|(_, group)| group(&suite));
        }
        assert_eq!(line.frame(0xfffe, &[]), [0u8; 0], "the suite's farewell");
    }
}

#[test]
fn the_groups_of_a_conformance_suite_follow_one_another_on_one_connection() {
    run("--psk 00112233445566778899aabbccddeeff:lab");
}

#[test]
fn a_card_that_authenticates_requesters_asks_nothing_of_a_suite_that_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.der");
    std::fs::write(&root, &identity(SignAlg::EcdsaP384).vendor.root).unwrap();
    for way in ["basic,encap", "basic,digests"] {
        run(&format!(
            "--mutual-auth {way} --requester-root {}",
            root.display()
        ));
    }
    assert_eq!(SESSION_FLAGS & MUT_AUTH, 0, "the suite cannot");
}
