//! Our SPDM against DMTF's libspdm, live, both ways: forms of a conversation by versions, each over DOE and MCTP, in
//! two suites or more.
//!
//! `./x peer` builds libspdm and runs this; without it there is one test here, which is skipped. The tables at the end have
//! a row a form.

#![allow(clippy::unwrap_used, reason = "a broken world ends the test")]

#[path = "peer/card.rs"]
mod card;
#[path = "peer/case.rs"]
mod case;
#[path = "peer/device.rs"]
mod device;
#[path = "peer/judge.rs"]
mod judge;
#[path = "peer/machine.rs"]
mod machine;
#[path = "peer/table.rs"]
mod table;
#[path = "peer/tidelock.rs"]
mod tidelock;

use card::Card;
use case::{CHACHA, Case, EC, Form, RSA, form};
use device::Device;
use firmware_tests::libspdm::Libspdm;
use firmware_tests::need::{Need, trial};
use judge::Judge;
use libtest_mimic::{Arguments, Trial};
use machine::Machine;
use table::Table;
use tdisp::spdm::Transport;
use tdisp::spdm::msg::Version;
use tidelock::Talk;

const V1_0: Version = Version::V1_0;
const V1_1: Version = Version::V1_1;
const V1_2: Version = Version::V1_2;
const V1_3: Version = Version::V1_3;

/// Who asks by libspdm's sample keys, as their certificate spells it.
const ASKER: &str = "requseter cert";

fn main() {
    let arguments = Arguments::from_args();
    let Ok(libspdm) = Libspdm::find() else {
        let alone = test("libspdm judges requester and responder", || {
            Libspdm::find().unwrap();
        });
        libtest_mimic::run(&arguments, vec![alone]).exit();
    };
    let asks = Table::new(format!("libspdm {} asks ours", libspdm.version()));
    let answers = Table::new(format!("libspdm {} answers ours", libspdm.version()));
    let mut tests = vec![
        test(
            "libspdm refuses a device whose root it does not know",
            libspdm_refuses_a_device,
        ),
        test(
            "a device refuses libspdm where it does not know its root",
            a_device_refuses_libspdm,
        ),
        test(
            "a requester refuses libspdm where it does not know its root",
            a_requester_refuses_libspdm,
        ),
        test(
            "a requester notices a bit that any answer of libspdm's lost on its way",
            a_requester_notices_a_lost_bit,
        ),
    ];
    tests.extend(asks.tests(&ASKS, libspdm_asks));
    tests.extend(answers.tests(&ANSWERS, libspdm_answers));
    let conclusion = libtest_mimic::run(&arguments, tests);
    print!("{asks}{answers}");
    conclusion.exit();
}

fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    let needs = [
        Need::Libspdm,
        Need::Program("tidelock-device"),
        Need::Program("tidelock"),
    ];
    trial(name, &needs, move || {
        run();
        Ok(())
    })
}

#[rustfmt::skip] // a table is read by its columns
const ASKS: [Form; 24] = [
    // Its form, since when, suites; what our side is told, what libspdm is; what must be seen.
    form("identity, measurements, a session if there are any",         V1_0, EC,     "",                                                                                 "",                            "CHALLENGE_AUTH"),
    form("mutual authentication at CHALLENGE",                         V1_1, EC,     "--mutual-auth basic",                                                              "--authenticates",             "ENCAPSULATED_RESPONSE_ACK"),
    form("mutual authentication by encapsulated requests",             V1_1, EC,     "--mutual-auth encap,required",                                                     "--authenticates",             "KEY_EXCHANGE_RSP"),
    form("mutual authentication, the first request with the response", V1_1, EC,     "--mutual-auth digests,required",                                                   "--authenticates",             "KEY_EXCHANGE_RSP"),
    form("mutual authentication by a signature alone",                 V1_1, EC,     "--mutual-auth raw,required",                                                       "--authenticates",             "KEY_EXCHANGE_RSP"),
    form("mutual authentication at CHALLENGE and in the session",      V1_1, EC,     "--mutual-auth basic,encap,required",                                               "--authenticates",             "ENCAPSULATED_RESPONSE_ACK"),
    form("a handshake in clear",                                       V1_1, EC,     "--capabilities +clear",                                                            "--clear",                     "FINISH_RSP"),
    form("a handshake in clear with mutual authentication",            V1_1, EC,     "--capabilities +clear --mutual-auth encap,required",                               "--clear --authenticates",     "ENCAPSULATED_RESPONSE_ACK"),
    form("a pre-shared key with context",                              V1_1, EC,     "--psk spdm-emu",                                                                   "--psk",                       "PSK_EXCHANGE_RSP"),
    form("a pre-shared key without context",                           V1_1, EC,     "--psk spdm-emu --capabilities -psk-context",                                       "--psk",                       "PSK_EXCHANGE_RSP"),
    form("ChaCha20-Poly1305",                                          V1_1, CHACHA, "",                                                                                 "",                            "KEY_EXCHANGE_RSP"),
    form("another slot than 0",                                        V1_0, EC,     "--slots 0,1,7",                                                                    "--slot 7",                    "CHALLENGE_AUTH"),
    form("several keys, with mutual authentication",                   V1_3, EC,     "--capabilities +multi-key-only,+key-pair-info --mutual-auth basic,encap,required", "--multi-key --authenticates", "ENCAPSULATED_RESPONSE_ACK"),
    form("secured messages of DSP0277 1.0",                            V1_1, EC,     "",                                                                                 "--secured 1.0",               "KEY_EXCHANGE_RSP"),
    form("secured messages of DSP0277 1.1",                            V1_1, EC,     "",                                                                                 "--secured 1.1",               "KEY_EXCHANGE_RSP"),
    form("a pre-shared key where other handshakes go in clear",        V1_1, EC,     "--psk spdm-emu --capabilities +clear",                                             "--psk --clear",               "PSK_EXCHANGE_RSP"),
    form("two sessions side by side, one of them in clear at first",   V1_1, EC,     "--psk spdm-emu --capabilities +clear",                                             "--psk --clear --beside",      "FINISH_RSP"),
    form("all of it twice, the second time with a session still up",   V1_1, EC,     "--mutual-auth basic,encap,required",                                               "--authenticates --twice",     "ENCAPSULATED_RESPONSE_ACK"),
    form("TDISP in the session",                                       V1_1, EC,     "",                                                                                 "--tdisp",                     "KEY_EXCHANGE_RSP"),
    form("CSR, SET_CERTIFICATE, key pairs, log, events",               V1_2, EC,     "--capabilities +csr,+set-cert,+mel,+key-pair-info,+event",                         "--more",                      "KEY_EXCHANGE_RSP"),
    form("chunks of 256 bytes",                                        V1_2, EC,     "--transfer-size 256",                                                              "--transfer-size 256",         "CHUNK_RESPONSE"),
    form("chunks of 64 bytes, of large requests too",                  V1_2, EC,     "--transfer-size 64 --capabilities +csr,+set-cert,+mel,+key-pair-info,+event",      "--more --transfer-size 64",   "CHUNK_RESPONSE"),
    form("new keys that the device asks for",                          V1_1, EC,     "card",                                                                             "--answers",                   ""),
    form("a provisioned key, and new keys that the device asks for",   V1_1, EC,     "card public-key",                                                                  "--answers",                   ""),
];

fn libspdm_asks(case: Case) {
    let said = match case.form.ours {
        "card" => Card::serve(case).is_asked("--root", "root.der"),
        "card public-key" => Card::serve(case).is_asked("--peer-key", "key.der"),
        _ => device_is_asked(case),
    };
    let last = match case.version {
        V1_0 => "signed MEASUREMENTS",
        _ => "END_SESSION",
    };
    assert_eq!(said.lines().last(), Some(last), "{case}");
}

fn device_is_asked(case: Case) -> String {
    let device = Device::serve(case, case.form.ours);
    let said = Judge::ask(case, device.port(), "--root", &device.root()).expect("libspdm is content");
    assert!(device.log().contains(case.form.shows), "{case}: {}", device.log());
    said
}

#[rustfmt::skip] // a table is read by its columns
const ANSWERS: [Form; 26] = [
    // Its form, since when, suites; what our side is told, what libspdm is; what must be seen.
    form("identify, certs and measure",                                V1_0, EC,     "",                     "",                                   ""),
    form("measure in a session",                                       V1_1, EC,     "--session",            "",                                   "MEASUREMENTS over L1"),
    form("mutual authentication at CHALLENGE",                         V1_1, EC,     "--session --identity", "--mutual basic",                     ASKER),
    form("mutual authentication by encapsulated requests",             V1_1, EC,     "--session --identity", "--mutual encap",                     ASKER),
    form("mutual authentication, the first request with the response", V1_1, EC,     "--session --identity", "--mutual digests",                   ASKER),
    form("mutual authentication by a signature alone",                 V1_1, EC,     "--session --identity", "--mutual raw",                       ASKER),
    form("a pre-shared key with context",                              V1_1, EC,     "--session --psk",      "--psk",                              "PSK_FINISH_RSP"),
    form("a pre-shared key without context",                           V1_1, EC,     "--session --psk",      "--psk --no-context",                 "PSK_EXCHANGE_RSP"),
    form("mutual authentication with who takes 256 bytes at a time",   V1_2, EC,     "--session --identity", "--mutual encap --transfer-size 256", "AEAD: number 7"),
    form("ChaCha20-Poly1305",                                          V1_1, CHACHA, "--session",            "",                                   "MEASUREMENTS over L1"),
    form("RSA signatures",                                             V1_1, RSA,    "--session",            "",                                   "MEASUREMENTS over L1: RSA"),
    form("secured messages of DSP0277 1.0",                            V1_1, EC,     "--session",            "--secured 1.0",                      "MEASUREMENTS over L1"),
    form("secured messages of DSP0277 1.1",                            V1_1, EC,     "--session",            "--secured 1.1",                      "MEASUREMENTS over L1"),
    form("another slot than 0",                                        V1_1, EC,     "--session --slot 3",   "--slot 3",                           "MEASUREMENTS over L1"),
    form("an alias certificate",                                       V1_2, EC,     "--session",            "--alias",                            "certificate 4 of the chain"),
    form("several keys, with mutual authentication",                   V1_3, EC,     "--session --identity", "--multi-key --mutual encap",         ASKER),
    form("measurements in full",                                       V1_2, EC,     "--session --raw",      "",                                   "MEASUREMENTS over L1"),
    form("answers that are put off, as busy and as not ready",         V1_1, EC,     "--session",            "--slow",                             "RESPOND_IF_READY"),
    form("KEY_UPDATE and HEARTBEAT",                                   V1_1, EC,     "machine",              "",                                   ""),
    form("KEY_UPDATE and HEARTBEAT after a handshake in clear",        V1_1, EC,     "machine",              "--clear",                            ""),
    form("KEY_UPDATE and HEARTBEAT, chunks of 256 bytes both ways",    V1_2, EC,     "machine",              "--transfer-size 256",                ""),
    form("KEY_UPDATE and HEARTBEAT, new keys for libspdm too",         V1_1, EC,     "machine",              "--asks-keys",                        ""),
    form("KEY_UPDATE and HEARTBEAT with a provisioned key",            V1_1, EC,     "machine",              "--public-key",                       ""),
    form("KEY_UPDATE and HEARTBEAT, twice with a session still up",    V1_1, EC,     "machine twice",        "",                                   ""),
    form("other slots, again and again, beside a session and in it",   V1_1, EC,     "machine slots",        "--slot 3",                           ""),
    form("other slots of several keys, beside a session and in it",    V1_3, EC,     "machine slots",        "--multi-key --slot 3",               ""),
];

fn libspdm_answers(case: Case) {
    let verbs: &[&str] = match case.form.ours {
        ours if ours.starts_with("machine") => {
            return Machine::connect(case, &case.root()).goes_all_the_way();
        }
        "" => &["identify", "certs", "measure"],
        _ => &["measure"],
    };
    for verb in verbs {
        let talk = Talk::with(Judge::serve(case, &case.root()), verb, &case.root());
        assert!(talk.done(), "{case}: {}", talk.said());
        let decoded = talk.decoded();
        assert!(decoded.contains(case.form.shows), "{case}: {decoded}");
    }
}

const PLAIN: Form = form("", V1_2, EC, "", "", "");

fn libspdm_refuses_a_device() {
    for case in Case::all(V1_2, PLAIN) {
        let device = Device::serve(case, case.form.ours);
        let said = Judge::ask(case, device.port(), "--root", &case.other_root()).unwrap_err();
        assert!(said.contains("CERTIFICATE: libspdm's status"), "{case}: {said}");
    }
}

fn a_device_refuses_libspdm() {
    let authenticated = Form {
        ours: "--mutual-auth encap,required",
        theirs: "--authenticates",
        ..PLAIN
    };
    for case in Case::all(V1_2, authenticated) {
        let device = Device::serve_knowing(case, case.form.ours, &case.other_root());
        let said = Judge::ask(case, device.port(), "--root", &device.root()).unwrap_err();
        assert!(said.contains("a session: libspdm's status"), "{case}: {said}");
    }
}

fn a_requester_refuses_libspdm() {
    for case in Case::all(V1_2, PLAIN) {
        let talk = Talk::with(Judge::serve(case, &case.root()), "measure", &case.other_root());
        assert!(
            !talk.done() && talk.said().contains("is refused"),
            "{case}: {}",
            talk.said()
        );
        Machine::connect(case, &case.other_root()).refuses();
    }
}

fn a_requester_notices_a_lost_bit() {
    // Over DOE the last bits are of no message, but fill a data object.
    let mctp = |case: &Case| case.transport == Transport::Mctp;
    for case in Case::all(V1_2, PLAIN).filter(mctp) {
        let connect = || Machine::connect(case, &case.root());
        let answers = connect().counts_answers();
        assert!(answers >= 8, "{case}: {answers} answers");
        (0..answers).for_each(|answer| connect().refuses_it_without_a_bit_of(answer));
    }
}
