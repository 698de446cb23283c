//! What a device has not, or its version does not know.

use super::{INVALID, error_of, live, live_with};
use crate::harness::responder_config;
use tdisp::spdm::{
    ResponderConfig,
    msg::{Version, error::ErrorCode},
};

#[test]
fn what_a_device_has_not_or_a_version_does_not_know_is_unsupported() {
    let codes = [0xed, 0xee, 0xfc, 0xfd, 0xef, 0x87, 0xe2, 0xf0, 0xf1, 0x85, 0x86];
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        let config = ResponderConfig {
            versions: vec![version],
            ..responder_config()
        };
        let mut bare = live_with(version, config);
        for code in codes {
            let message = [&[version.0, code, 0, 0][..], &[0; 60]].concat();
            let unsupported = Some((ErrorCode::UNSUPPORTED_REQUEST, code));
            // Of events of the requester's, which are no capability of the responder's, the message is looked at first.
            let in_session = error_of(&bare.secured(&message).unwrap());
            assert!(
                in_session == unsupported || code == 0xf1 && in_session == INVALID,
                "{code:#x} {in_session:?}"
            );
            let clear = error_of(&bare.clear(&message).unwrap());
            let session = Some((ErrorCode::SESSION_REQUIRED, 0));
            assert!(
                clear == unsupported || code == 0xf1 && clear == session,
                "{code:#x} {clear:?}"
            );
        }
    }
    let mut old = live(Version::V1_2);
    for code in [0xfc, 0xfd, 0xef, 0x87, 0xe2, 0xf0, 0xf1] {
        let message = [&[0x12, code, 0, 0][..], &[0; 60]].concat();
        let answer = old.secured(&message).unwrap();
        assert_eq!(error_of(&answer), Some((ErrorCode::UNSUPPORTED_REQUEST, code)));
    }
}
