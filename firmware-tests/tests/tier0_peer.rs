//! Our SPDM against DMTF's libspdm, live, both ways: forms of a conversation by versions, each over DOE and MCTP, in
//! two suites or more.
//!
//! `./x peer` builds libspdm and runs this; without it there is one test here, which is skipped. The tables at the end have
//! a row a form.

#![allow(clippy::unwrap_used, reason = "a broken world ends the test")]

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

use case::{CHACHA, Case, EC, Form, RSA};
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

fn main() {
    let arguments = Arguments::from_args();
    let Ok(libspdm) = Libspdm::find() else {
        let alone = test("libspdm judges requester and responder", || {
            Libspdm::find().unwrap();
        });
        libtest_mimic::run(&arguments, vec![alone]).exit();
    };
    let asks = Table::new(format!("libspdm {} asks tidelock-device", libspdm.version()));
    let answers = Table::new(format!("libspdm {} answers tidelock", libspdm.version()));
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
const ASKS: [Form; 18] = [
    Form { name: "identity, measurements, a session if there are any", since: Version::V1_0, suites: EC, ours: "", theirs: "", shows: "CHALLENGE_AUTH" },
    Form { name: "mutual authentication at CHALLENGE", since: Version::V1_1, suites: EC, ours: "--mutual-auth basic", theirs: "--authenticates", shows: "ENCAPSULATED_RESPONSE_ACK" },
    Form { name: "mutual authentication by encapsulated requests", since: Version::V1_1, suites: EC, ours: "--mutual-auth encap,required", theirs: "--authenticates", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "mutual authentication, the first request with the response", since: Version::V1_1, suites: EC, ours: "--mutual-auth digests,required", theirs: "--authenticates", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "mutual authentication by a signature alone", since: Version::V1_1, suites: EC, ours: "--mutual-auth raw,required", theirs: "--authenticates", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "mutual authentication at CHALLENGE and in the session", since: Version::V1_1, suites: EC, ours: "--mutual-auth basic,encap,required", theirs: "--authenticates", shows: "ENCAPSULATED_RESPONSE_ACK" },
    Form { name: "a handshake in clear", since: Version::V1_1, suites: EC, ours: "--capabilities +clear", theirs: "--clear", shows: "FINISH_RSP" },
    Form { name: "a handshake in clear with mutual authentication", since: Version::V1_1, suites: EC, ours: "--capabilities +clear --mutual-auth encap,required", theirs: "--clear --authenticates", shows: "ENCAPSULATED_RESPONSE_ACK" },
    Form { name: "a pre-shared key with context", since: Version::V1_1, suites: EC, ours: "--psk spdm-emu", theirs: "--psk", shows: "PSK_EXCHANGE_RSP" },
    Form { name: "a pre-shared key without context", since: Version::V1_1, suites: EC, ours: "--psk spdm-emu --capabilities -psk-context", theirs: "--psk", shows: "PSK_EXCHANGE_RSP" },
    Form { name: "ChaCha20-Poly1305", since: Version::V1_1, suites: CHACHA, ours: "", theirs: "", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "another slot than 0", since: Version::V1_0, suites: EC, ours: "--slots 0,1,7", theirs: "--slot 7", shows: "CHALLENGE_AUTH" },
    Form { name: "several keys, with mutual authentication", since: Version::V1_3, suites: EC, ours: "--capabilities +multi-key-only,+key-pair-info --mutual-auth basic,encap,required", theirs: "--multi-key --authenticates", shows: "ENCAPSULATED_RESPONSE_ACK" },
    Form { name: "secured messages of DSP0277 1.0", since: Version::V1_1, suites: EC, ours: "", theirs: "--secured 1.0", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "secured messages of DSP0277 1.1", since: Version::V1_1, suites: EC, ours: "", theirs: "--secured 1.1", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "TDISP in the session", since: Version::V1_1, suites: EC, ours: "", theirs: "--tdisp", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "CSR, SET_CERTIFICATE, key pairs, log, events", since: Version::V1_2, suites: EC, ours: "--capabilities +csr,+set-cert,+mel,+key-pair-info,+event", theirs: "--more", shows: "KEY_EXCHANGE_RSP" },
    Form { name: "chunks of 256 bytes", since: Version::V1_2, suites: EC, ours: "--transfer-size 256", theirs: "--transfer-size 256", shows: "CHUNK_RESPONSE" },
];

fn libspdm_asks(case: Case) {
    let device = Device::serve(case, case.form.ours);
    let said = Judge::ask(case, &device, &device.root()).expect("libspdm is content");
    let last = match case.version {
        Version::V1_0 => "signed MEASUREMENTS",
        _ => "END_SESSION",
    };
    assert_eq!(said.lines().last(), Some(last), "{case}");
    assert!(device.log().contains(case.form.shows), "{case}: {}", device.log());
}

#[rustfmt::skip] // a table is read by its columns
const ANSWERS: [Form; 23] = [
    Form { name: "identify, certs and measure", since: Version::V1_0, suites: EC, ours: "", theirs: "", shows: "" },
    Form { name: "measure in a session", since: Version::V1_1, suites: EC, ours: "--session", theirs: "", shows: "MEASUREMENTS over L1" },
    Form { name: "mutual authentication at CHALLENGE", since: Version::V1_1, suites: EC, ours: "--session --identity", theirs: "--mutual basic", shows: "requseter" },
    Form { name: "mutual authentication by encapsulated requests", since: Version::V1_1, suites: EC, ours: "--session --identity", theirs: "--mutual encap", shows: "requseter" },
    Form { name: "mutual authentication, the first request with the response", since: Version::V1_1, suites: EC, ours: "--session --identity", theirs: "--mutual digests", shows: "requseter" },
    Form { name: "mutual authentication by a signature alone", since: Version::V1_1, suites: EC, ours: "--session --identity", theirs: "--mutual raw", shows: "requseter" },
    Form { name: "a pre-shared key with context", since: Version::V1_1, suites: EC, ours: "--session --psk", theirs: "--psk", shows: "PSK_FINISH_RSP" },
    Form { name: "a pre-shared key without context", since: Version::V1_1, suites: EC, ours: "--session --psk", theirs: "--psk --no-context", shows: "PSK_EXCHANGE_RSP" },
    Form { name: "mutual authentication with who takes 256 bytes at a time", since: Version::V1_2, suites: EC, ours: "--session --identity", theirs: "--mutual encap --transfer-size 256", shows: "AEAD: number 7" },
    Form { name: "ChaCha20-Poly1305", since: Version::V1_1, suites: CHACHA, ours: "--session", theirs: "", shows: "MEASUREMENTS over L1" },
    Form { name: "RSA signatures", since: Version::V1_1, suites: RSA, ours: "--session", theirs: "", shows: "MEASUREMENTS over L1: RSA" },
    Form { name: "secured messages of DSP0277 1.0", since: Version::V1_1, suites: EC, ours: "--session", theirs: "--secured 1.0", shows: "MEASUREMENTS over L1" },
    Form { name: "secured messages of DSP0277 1.1", since: Version::V1_1, suites: EC, ours: "--session", theirs: "--secured 1.1", shows: "MEASUREMENTS over L1" },
    Form { name: "another slot than 0", since: Version::V1_1, suites: EC, ours: "--session --slot 3", theirs: "--slot 3", shows: "MEASUREMENTS over L1" },
    Form { name: "an alias certificate", since: Version::V1_2, suites: EC, ours: "--session", theirs: "--alias", shows: "certificate 4 of the chain" },
    Form { name: "several keys, with mutual authentication", since: Version::V1_3, suites: EC, ours: "--session --identity", theirs: "--multi-key --mutual encap", shows: "requseter" },
    Form { name: "measurements in full", since: Version::V1_1, suites: EC, ours: "--session --raw", theirs: "", shows: "MEASUREMENTS over L1" },
    Form { name: "answers that are put off, as busy and as not ready", since: Version::V1_1, suites: EC, ours: "--session", theirs: "--slow", shows: "RESPOND_IF_READY" },
    Form { name: "KEY_UPDATE and HEARTBEAT", since: Version::V1_1, suites: EC, ours: "machine", theirs: "", shows: "" },
    Form { name: "KEY_UPDATE and HEARTBEAT after a handshake in clear", since: Version::V1_1, suites: EC, ours: "machine", theirs: "--clear", shows: "" },
    Form { name: "KEY_UPDATE and HEARTBEAT, chunks of 256 bytes both ways", since: Version::V1_2, suites: EC, ours: "machine", theirs: "--transfer-size 256", shows: "" },
    Form { name: "KEY_UPDATE and HEARTBEAT, new keys for libspdm too", since: Version::V1_1, suites: EC, ours: "machine", theirs: "--asks-keys", shows: "" },
    Form { name: "KEY_UPDATE and HEARTBEAT with a provisioned key", since: Version::V1_1, suites: EC, ours: "machine", theirs: "--public-key", shows: "" },
];

fn libspdm_answers(case: Case) {
    let verbs: &[&str] = match case.form.ours {
        "machine" => return Machine::connect(case, &case.root()).goes_all_the_way(),
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

fn libspdm_refuses_a_device() {
    for case in Case::all(
        Version::V1_2,
        Form {
            theirs: "",
            ..ASKS[0]
        },
    ) {
        let device = Device::serve(case, case.form.ours);
        let said = Judge::ask(case, &device, &case.other_root()).unwrap_err();
        assert!(said.contains("CERTIFICATE: libspdm's status"), "{case}: {said}");
    }
}

fn a_device_refuses_libspdm() {
    for case in Case::all(Version::V1_2, ASKS[2]) {
        let device = Device::serve_knowing(case, case.form.ours, &case.other_root());
        let said = Judge::ask(case, &device, &device.root()).unwrap_err();
        assert!(said.contains("a session: libspdm's status"), "{case}: {said}");
    }
}

fn a_requester_refuses_libspdm() {
    for case in Case::all(Version::V1_2, ANSWERS[0]) {
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
    for case in Case::all(Version::V1_2, ANSWERS[0]).filter(mctp) {
        let connect = || Machine::connect(case, &case.root());
        let answers = connect().counts_answers();
        assert!(answers >= 8, "{case}: {answers} answers");
        (0..answers).for_each(|answer| connect().refuses_it_without_a_bit_of(answer));
    }
}
