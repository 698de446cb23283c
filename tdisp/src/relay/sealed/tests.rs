#[path = "../../../tests/providers/mod.rs"]
mod providers;

use super::*;
use crate::{
    crypto::Ring,
    relay::{
        Rid, TdiId,
        guest::{self, Binding, Status},
    },
};
use alloc::vec;
use proptest::prelude::*;
use providers::{Drawing, RingBut};

fn key(byte: u8) -> Secret {
    Secret::new(vec![byte; 32])
}

fn pair() -> (Guest, Tsm) {
    let (opening, open) = Guest::begin(&key(7), Arc::new(Ring)).unwrap();
    let mut tsm = Tsm::new(key(7), Arc::new(Ring)).unwrap();
    let Incoming::Opened(opened) = tsm.receive(&open).unwrap() else {
        panic!("an Open opens")
    };
    (opening.opened(&opened).unwrap(), tsm)
}

fn ask(guest: &mut Guest, tsm: &mut Tsm) -> Vec<u8> {
    let request = guest.seal(&question()).unwrap();
    assert_eq!(tsm.receive(&request).unwrap(), Incoming::Request(question()));
    tsm.seal(&answer()).unwrap()
}

fn question() -> Request {
    Request::TdiInfo { guest: Rid(0x0101) }
}

fn answer() -> Response {
    Response::TdiInfo(TdiInfo::absent(Rid(0x0101), Binding::UNBOUND))
}

#[test]
fn requests_and_responses_pass_and_what_the_tsm_said_is_vouched() {
    let (mut guest, mut tsm) = pair();
    for _ in 0..3 {
        let response = ask(&mut guest, &mut tsm);
        let vouched = guest.open(&response).unwrap().tdi_info().unwrap();
        assert_eq!(vouched.status, Binding::UNBOUND);
    }
}

#[test]
fn a_replayed_response_closes_the_channel() {
    let (mut guest, mut tsm) = pair();
    let old = ask(&mut guest, &mut tsm);
    guest.open(&old).unwrap();
    ask(&mut guest, &mut tsm);
    let error = guest.open(&old).unwrap_err();
    assert_eq!(
        alloc::format!("{error}"),
        "the channel to the TSM brought message 0, wanted 1: it was repeated, lost or reordered"
    );
    assert_eq!(guest.seal(&question()), Err(Error::Closed));
}

#[test]
fn a_replayed_request_closes_the_channel() {
    let (mut guest, mut tsm) = pair();
    let request = guest.seal(&question()).unwrap();
    tsm.receive(&request).unwrap();
    tsm.seal(&answer()).unwrap();
    assert_eq!(
        tsm.receive(&request),
        Err(Error::Sequence { found: 0, wanted: 1 })
    );
    assert_eq!(tsm.receive(&request), Err(Error::Closed));
    assert_eq!(tsm.seal(&answer()), Err(Error::Closed));
}

#[test]
fn a_replay_under_the_next_number_is_forged() {
    let (mut guest, mut tsm) = pair();
    let mut response = ask(&mut guest, &mut tsm);
    guest.open(&response).unwrap();
    ask(&mut guest, &mut tsm);
    response[4] = 1;
    assert_eq!(guest.open(&response), Err(Error::Forged));
    assert!(!guest.is_open());
}

#[test]
fn a_lost_response_closes_the_channel() {
    let (mut guest, mut tsm) = pair();
    ask(&mut guest, &mut tsm);
    assert_eq!(guest.seal(&question()), Err(Error::Busy), "one request at a time");
    tsm.asked = true;
    let late = tsm.seal(&answer()).unwrap();
    assert_eq!(guest.open(&late), Err(Error::Sequence { found: 1, wanted: 0 }));
}

#[test]
fn a_reflected_message_closes_the_channel() {
    let (mut guest, _) = pair();
    let mut request = guest.seal(&question()).unwrap();
    let reflected = guest.open(&request);
    assert_eq!(
        reflected,
        Err(Error::Kind {
            found: Kind::REQUEST,
            wanted: Kind::RESPONSE
        })
    );
    assert!(!guest.is_open());

    let (mut guest, _) = pair();
    request = guest.seal(&question()).unwrap();
    request[1] = Kind::RESPONSE.0;
    assert_eq!(
        guest.open(&request),
        Err(Error::Forged),
        "each direction has its own key"
    );
}

#[test]
fn a_response_that_nobody_asked_for_closes_the_channel() {
    let (mut guest, mut tsm) = pair();
    tsm.asked = true;
    let response = tsm.seal(&answer()).unwrap();
    let wanted = Kind::RESPONSE;
    assert_eq!(
        guest.open(&response),
        Err(Error::Kind {
            found: wanted,
            wanted
        })
    );
    assert!(!guest.is_open());
}

#[test]
fn an_answer_to_another_question_closes_the_channel() {
    for wrong in [
        Response::Done,
        Response::TdiInfo(TdiInfo::absent(Rid(0x0102), Binding::BOUND)),
    ] {
        let (mut guest, mut tsm) = pair();
        tsm.receive(&guest.seal(&question()).unwrap()).unwrap();
        let response = tsm.seal(&wrong).unwrap();
        assert_eq!(guest.open(&response), Err(Error::WrongAnswer));
        assert!(!guest.is_open());
    }
}

#[test]
fn a_refusal_is_vouched_too() {
    let (mut guest, mut tsm) = pair();
    let stop = Request::Stop { tdi: TdiId(9) };
    tsm.receive(&guest.seal(&stop).unwrap()).unwrap();
    let refused = Response::Refused {
        status: Status::INVALID_TDI,
        reason: "no such TDI".into(),
    };
    let response = tsm.seal(&refused).unwrap();
    assert_eq!(*guest.open(&response).unwrap(), refused);
}

#[test]
fn a_message_of_another_vm_or_another_channel_is_forged() {
    let (mut guest, _) = pair();
    let (mut same_key, mut other_channel) = pair();
    guest.seal(&question()).unwrap();
    let response = ask(&mut same_key, &mut other_channel);
    assert_eq!(guest.open(&response), Err(Error::Forged));

    let (_, open) = Guest::begin(&key(8), Arc::new(Ring)).unwrap();
    let (_, mut tsm) = pair();
    assert_eq!(tsm.receive(&open), Err(Error::Forged));
    assert!(tsm.channel.is_none(), "a forged Open is a forged message");
}

#[test]
fn an_opened_message_that_is_not_the_tsms_is_refused() {
    let begin = || Guest::begin(&key(7), Arc::new(Ring)).unwrap();
    let mut tsm = Tsm::new(key(7), Arc::new(Ring)).unwrap();
    let (opening, open) = begin();
    let Incoming::Opened(opened) = tsm.receive(&open).unwrap() else {
        panic!("an Open opens")
    };
    for byte in 0..opened.len() {
        let mut altered = opened.clone();
        altered[byte] ^= 1;
        let opening = Opening {
            provider: Arc::new(Ring),
            key: key(7),
            random: opening.random,
        };
        assert!(opening.opened(&altered).is_err(), "byte {byte}");
    }
    let (other, _) = begin();
    assert_eq!(
        other.opened(&opened).unwrap_err(),
        Error::Forged,
        "it answers another Open"
    );
    assert!(begin().0.opened(&open).is_err(), "the Open itself, sent back");
}

#[test]
fn a_new_open_replaces_the_old_channel() {
    let (mut old, mut tsm) = pair();
    let (opening, open) = Guest::begin(&key(7), Arc::new(Ring)).unwrap();
    let Incoming::Opened(opened) = tsm.receive(&open).unwrap() else {
        panic!("an Open opens")
    };
    let mut new = opening.opened(&opened).unwrap();
    let response = ask(&mut new, &mut tsm);
    assert!(new.open(&response).is_ok());
    let request = old.seal(&question()).unwrap();
    assert!(tsm.receive(&request).is_err());
}

#[test]
fn a_replayed_open_gives_the_host_no_channel_to_use() {
    let (mut guest, mut tsm) = pair();
    let (_, open) = Guest::begin(&key(7), Arc::new(Ring)).unwrap();
    tsm.receive(&open).unwrap();
    let request = guest.seal(&question()).unwrap();
    assert_eq!(tsm.receive(&request), Err(Error::Forged));
}

#[test]
fn a_second_request_before_the_answer_closes_the_channel() {
    let (mut guest, mut tsm) = pair();
    tsm.receive(&guest.seal(&question()).unwrap()).unwrap();
    guest.asked = None;
    let second = guest.seal(&question()).unwrap();
    assert_eq!(tsm.receive(&second), Err(Error::Busy));
    assert_eq!(tsm.seal(&answer()), Err(Error::Closed));
}

#[test]
fn nothing_is_answered_before_it_is_asked() {
    let (_, mut tsm) = pair();
    assert_eq!(tsm.seal(&answer()), Err(Error::NothingAsked));
}

#[test]
fn a_short_key_is_no_key() {
    let short = Secret::new(vec![1; 31]);
    let error = Guest::begin(&short, Arc::new(Ring)).unwrap_err();
    assert_eq!(error, Error::WeakKey { found: 31 });
    assert!(Tsm::new(short, Arc::new(Ring)).is_err());
}

#[test]
fn the_last_sequence_number_closes_the_channel() {
    let (mut guest, mut tsm) = pair();
    guest.channel.as_mut().unwrap().sending.sequence = u64::MAX;
    assert_eq!(guest.seal(&question()), Err(Error::Exhausted));
    assert_eq!(guest.seal(&question()), Err(Error::Closed));
    ask_nothing(&mut tsm);
}

fn ask_nothing(tsm: &mut Tsm) {
    assert_eq!(tsm.seal(&answer()), Err(Error::NothingAsked));
}

#[test]
fn case_07_a_random_source_that_fails_opens_no_channel() {
    let error = Guest::begin(&key(7), Arc::new(RingBut(Drawing(None)))).unwrap_err();
    assert_eq!(
        alloc::format!("{error}"),
        "the channel to the TSM failed: the random source failed"
    );
}

/// The bytes were computed from the module's documentation by another implementation, in Python: HMAC and HKDF from
/// `hmac` and `hashlib`, AES-GCM from `cryptography`.
#[test]
fn the_channels_bytes_are_those_that_another_implementation_computes() {
    let key = || Secret::new((0..32).collect());
    let (opening, open) = Guest::begin(&key(), Arc::new(RingBut(Drawing(Some(vec![0x11]))))).unwrap();
    assert_eq!(hex(&open), OPEN);
    let mut tsm = Tsm::new(key(), Arc::new(RingBut(Drawing(Some(vec![0x22]))))).unwrap();
    let Incoming::Opened(opened) = tsm.receive(&open).unwrap() else {
        panic!("an Open opens")
    };
    assert_eq!(hex(&opened), OPENED);
    let mut guest = opening.opened(&opened).unwrap();
    let stop = Request::Stop {
        tdi: TdiId(0x0102_0304_0506_0708),
    };
    for [request, response] in EXCHANGES {
        let sealed = guest.seal(&stop).unwrap();
        assert_eq!(hex(&sealed), request);
        tsm.receive(&sealed).unwrap();
        let sealed = tsm.seal(&Response::Done).unwrap();
        assert_eq!(hex(&sealed), response);
        guest.open(&sealed).unwrap();
    }
}

fn hex(bytes: &[u8]) -> alloc::string::String {
    bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
}

const OPEN: &str = "0201000000000000000000001111111111111111111111111111111111111111111111111111111111111111580daf61e57df2dbe391a60a32afd481e7682314c1a4ace3fbdf13741bd7ce978204e445585c85073e57d6d4c7f0d742";
const OPENED: &str = "0202000000000000000000002222222222222222222222222222222222222222222222222222222222222222f5054a4608810a299a509816dd8ef08a6d4aff70f1f2cefb60866b51dfdc105e91e600a29abe2bde7d392dd57221331a";
const EXCHANGES: [[&str; 2]; 2] = [
    [
        "020300000000000000000000dde0e584fc5a3edbdfff33bd5e4a3a592b1c105d2d3f968fe7",
        "0204000000000000000000001963e845f314dc795c7ae9f7865022723d",
    ],
    [
        "020300000100000000000000ae18216d3f7d898932e63a89bb98642171afd1795a3541adb8",
        "0204000001000000000000003b70f388d9ea3170cb7aed93ae529e6ea8",
    ],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_message_with_any_bit_flipped_or_any_end_missing_closes_the_channel(at: prop::sample::Index, bit in 0u8..9) {
        let spoil = |message: &mut Vec<u8>| {
            let at = at.index(message.len());
            if bit == 8 { message.truncate(at) } else { message[at] ^= 1 << bit }
        };
        let (mut guest, mut tsm) = pair();
        let mut response = ask(&mut guest, &mut tsm);
        spoil(&mut response);
        prop_assert!(guest.open(&response).is_err());
        prop_assert!(!guest.is_open());
        let (mut guest, mut tsm) = pair();
        let mut request = guest.seal(&question()).unwrap();
        spoil(&mut request);
        prop_assert!(tsm.receive(&request).is_err());
        prop_assert!(tsm.channel.is_none());
    }

    #[test]
    fn every_request_and_response_passes_the_channel(
        request in guest::tests::requests(),
        response in guest::tests::responses(),
    ) {
        let (mut guest, mut tsm) = pair();
        let sealed = guest.seal(&request).unwrap();
        prop_assert_eq!(tsm.receive(&sealed).unwrap(), Incoming::Request(request.clone()));
        let sealed = tsm.seal(&response).unwrap();
        match guest.open(&sealed) {
            Ok(vouched) => prop_assert_eq!(vouched.into_inner(), response),
            Err(error) => {
                prop_assert_eq!(error, Error::WrongAnswer);
                prop_assert!(!response.answers(&request));
            }
        }
    }

    #[test]
    fn no_bytes_make_either_end_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let (mut guest, mut tsm) = pair();
        let _ = guest.open(&bytes);
        let _ = tsm.receive(&bytes);
    }
}

/// A response to what was asked before would be one to nobody's question.
#[test]
fn a_new_channel_has_nothing_left_to_answer_of_the_old_one() {
    let (mut old, mut tsm) = pair();
    tsm.receive(&old.seal(&question()).unwrap()).unwrap();
    let (opening, open) = Guest::begin(&key(7), Arc::new(Ring)).unwrap();
    let Incoming::Opened(opened) = tsm.receive(&open).unwrap() else {
        panic!("an Open opens")
    };
    let mut new = opening.opened(&opened).unwrap();
    assert_eq!(tsm.seal(&answer()), Err(Error::NothingAsked));
    let response = ask(&mut new, &mut tsm);
    assert!(new.open(&response).is_ok() && new.is_open());
    assert!(new.open(&response).is_err() && !new.is_open());
}

/// Guest and TSM are not replaced together. Whoever changes what goes in the channel counts its version up.
#[test]
fn an_end_of_the_version_before_is_told_so_and_what_is_said_has_the_size_that_it_has_in_this_one() {
    let (opening, mut open) = Guest::begin(&key(7), Arc::new(Ring)).unwrap();
    let mut tsm = Tsm::new(key(7), Arc::new(Ring)).unwrap();
    let Incoming::Opened(mut opened) = tsm.receive(&open).unwrap() else {
        panic!("an Open opens")
    };
    let before = Error::Malformed(DecodeError::Invalid {
        what: "channel version",
        found: 1,
        wanted: "2",
    });
    (open[0], opened[0]) = (1, 1);
    assert_eq!(tsm.receive(&open).unwrap_err(), before);
    assert_eq!(opening.opened(&opened).unwrap_err(), before);
    let mut said = Vec::new();
    answer().encode(&mut said);
    assert_eq!((VERSION, said.len()), (2, 210));
}
