//! A device that is not ready, busy, or has lost what it knew.

use super::*;

const TEN_MS: Duration = Duration::from_millis(10);

fn slow(config: &mut ResponderConfig) {
    config.delays = vec![Delay {
        code: Code::CHALLENGE,
        how: Wait::NotReady {
            exponent: 13,
            multiplier: 3,
        },
    }];
}

fn again(version: Version, not_ready: NotReady) -> Vec<u8> {
    let request = respond_if_ready::Request {
        version,
        code: not_ready.code,
        token: not_ready.token,
    };
    request.to_vec()
}

#[test]
fn what_is_not_ready_is_answered_to_who_asks_again_with_its_code_and_token() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, slow);
        let challenge = hand.challenge(Summary::NONE);
        let not_ready = hand.not_ready(&challenge);
        assert_eq!(
            (not_ready.code, not_ready.exponent, not_ready.multiplier),
            (Code::CHALLENGE, 13, 3)
        );
        let early = hand.not_ready(&again(*version, not_ready));
        assert_eq!(early, not_ready, "it is too early");
        hand.now = hand.now.after(TEN_MS);
        for (code, token) in [
            (Code::GET_DIGESTS, not_ready.token),
            (Code::CHALLENGE, not_ready.token ^ 1),
        ] {
            let wrong = NotReady {
                code,
                token,
                ..not_ready
            };
            assert_eq!(
                hand.refused(&again(*version, wrong)),
                (ErrorCode::INVALID_REQUEST, 0)
            );
        }
        let answer = hand.say(&again(*version, not_ready));
        hand.check(signing::Context::ChallengeAuth, &[&challenge, &answer], true);
        let spent = hand.refused(&again(*version, not_ready));
        assert_eq!(spent, (ErrorCode::UNEXPECTED_REQUEST, 0));
        assert_ne!(hand.not_ready(&challenge).token, not_ready.token);
    }
}

#[test]
fn a_device_is_busy_as_often_as_it_is_asked_the_same_in_a_row() {
    let mut hand = Hand::agreed(Version::V1_2, |config| {
        let delay = |code| Delay {
            code,
            how: Wait::Busy(2),
        };
        config.delays = vec![delay(Code::GET_DIGESTS), delay(Code::GET_CERTIFICATE)];
    });
    let digests = digests::Request {
        version: Version::V1_2,
    }
    .to_vec();
    let certificate = get_certificate(Version::V1_2, 0x20);
    let mut busy = |message: &[u8]| {
        let answer = hand.say(message);
        answer[1..3] == [Code::ERROR.0, ErrorCode::BUSY.0]
    };
    assert!(busy(&digests));
    assert!(busy(&certificate), "another request");
    assert_eq!(
        [busy(&digests), busy(&digests), busy(&digests)],
        [true, true, false]
    );
    for _ in 0..2 {
        assert_eq!(
            [busy(&certificate), busy(&certificate), busy(&certificate)],
            [true, true, false],
            "and so it is when it is asked again"
        );
    }
}

#[test]
fn what_is_not_ready_is_kept_for_twice_its_delay_at_least() {
    for multiplier in [0, 1, 2] {
        let mut hand = Hand::agreed(Version::V1_2, |config| {
            config.delays = vec![Delay {
                code: Code::CHALLENGE,
                how: Wait::NotReady {
                    exponent: 13,
                    multiplier,
                },
            }];
        });
        let challenge = hand.challenge(Summary::NONE);
        assert_eq!(hand.not_ready(&challenge).multiplier, 2);
    }
}

#[test]
fn what_is_not_ready_is_forgotten_after_another_request_and_after_its_time() {
    let version = Version::V1_2;
    let mut hand = Hand::agreed(version, slow);
    let never = NotReady {
        exponent: 0,
        code: Code::CHALLENGE,
        token: 1,
        multiplier: 1,
    };
    let unexpected = (ErrorCode::UNEXPECTED_REQUEST, 0);
    assert_eq!(
        hand.refused(&again(version, never)),
        unexpected,
        "nothing was asked for"
    );
    let challenge = hand.challenge(Summary::NONE);
    let not_ready = hand.not_ready(&challenge);
    hand.say(&digests::Request { version }.to_vec());
    hand.now = hand.now.after(TEN_MS);
    assert_eq!(hand.refused(&again(version, not_ready)), unexpected);
    let not_ready = hand.not_ready(&challenge);
    hand.now = hand.now.after(TEN_MS * 4);
    assert_eq!(hand.refused(&again(version, not_ready)), unexpected);
    let not_ready = hand.not_ready(&challenge);
    hand.in_vca(&version::Request.to_vec());
    let gone = hand.refused(&again(version, not_ready));
    assert_eq!(gone, unexpected, "a new connection has nothing to be asked for");
}

#[test]
fn a_device_that_lost_its_state_says_so_to_everything_but_get_version() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, nothing);
        hand.responder.resynch();
        for _ in 0..2 {
            let answer = hand.say(&digests::Request { version: *version }.to_vec());
            assert_eq!(answer, [version.0, 0x7f, ErrorCode::REQUEST_RESYNCH.0, 0]);
        }
        hand.in_vca(&version::Request.to_vec());
        let (code, _) = hand.refused(&digests::Request { version: *version }.to_vec());
        assert_eq!(code, ErrorCode::UNEXPECTED_REQUEST);
    }
}

#[test]
fn what_is_not_ready_is_kept_until_its_time_is_over_and_no_longer() {
    let version = Version::V1_2;
    let last = Duration::from_micros((1 + 3) << 13);
    for (after, there) in [(last, true), (last + Duration::from_nanos(1), false)] {
        let mut hand = Hand::agreed(version, slow);
        let not_ready = hand.not_ready(&hand.challenge(Summary::NONE));
        hand.now = hand.now.after(after);
        let answer = hand.say(&again(version, not_ready));
        assert_eq!(answer[1] == Code::CHALLENGE_AUTH.0, there, "{answer:02x?}");
    }
}

#[test]
fn a_device_that_was_reset_expects_get_version_alone() {
    for version in VERSIONS {
        let mut hand = Hand::agreed(*version, nothing);
        hand.responder.reset();
        for message in [hand.negotiate(), digests::Request { version: *version }.to_vec()] {
            assert_eq!(hand.refused(&message).0, ErrorCode::UNEXPECTED_REQUEST);
        }
        hand.in_vca(&version::Request.to_vec());
        hand.in_vca(&hand.get_capabilities());
    }
}
