//! What capability flags mean together: which exist in a version, and which are of no use without others.

use super::msg::{Version, capabilities::Flags};

/// The flags that a version knows. The others are reserved in it: 0 on send, not looked at on receive.
pub(super) const fn known(version: Version) -> Flags {
    Flags(match version {
        Version::V1_0 => 0x0000_003f,
        Version::V1_1 => 0x0001_ffff,
        Version::V1_2 => 0x003f_ffff,
        Version::V1_3 => 0x3fff_ffff,
        _ => 0xffff_ffff,
    })
}

/// A responder's flags without those that the rest makes useless or contradictory (DSP0274 "Responder flag fields
/// definitions"): what a device shows is consistent whatever it is made of, and no requester that keeps to the rules ends the
/// connection over it.
pub(super) fn consistent(version: Version, mut flags: Flags) -> Flags {
    let identity = Flags::CERT | Flags::PUB_KEY_ID;
    if flags.contains(identity) {
        flags = flags.without(Flags::PUB_KEY_ID);
    }
    if !flags.any(identity) {
        flags = flags.without(Flags::CHAL | Flags::KEY_EX | Flags::MUT_AUTH | Flags::EP_INFO_SIG);
        if flags.any(Flags::MEAS_SIG) {
            flags = flags.without(Flags::MEAS_SIG) | Flags::MEAS_NO_SIG;
        }
    }
    if !flags.any(Flags::GET_KEY_PAIR_INFO) {
        flags = flags.without(Flags::MULTI_KEY_MASK);
    }
    if !flags.any(Flags::MEAS_MASK) {
        flags = flags.without(Flags::MEAS_FRESH | Flags::MEL);
    }
    if !flags.any(Flags::MAC) {
        flags = flags.without(Flags::ENCRYPT | Flags::KEY_EX | Flags::PSK_MASK);
    }
    if !flags.any(Flags::KEY_EX) {
        flags = flags.without(Flags::HANDSHAKE_IN_THE_CLEAR);
    }
    if !flags.any(Flags::KEY_EX | Flags::PSK_MASK) {
        flags = flags.without(Flags::ENCRYPT | Flags::MAC | Flags::HBEAT | Flags::KEY_UPD | Flags::EVENT);
    }
    if !flags.any(Flags::KEY_EX | Flags::CHAL) || version == Version::V1_1 && !flags.any(Flags::ENCAP) {
        flags = flags.without(Flags::MUT_AUTH);
    }
    without_idle_identity(version, flags)
}

/// The same without an identity that has no use, and what goes with it. In 1.0 the one use is CHALLENGE, but for measurements.
fn without_idle_identity(version: Version, mut flags: Flags) -> Flags {
    let uses = match version {
        Version::V1_0 => Flags::CHAL | Flags::MEAS_SIG,
        _ => Flags::CHAL | Flags::KEY_EX | Flags::MEAS_SIG | Flags::EP_INFO_SIG,
    };
    if !flags.any(uses) {
        flags = flags.without(Flags::CERT | Flags::PUB_KEY_ID);
    }
    if !flags.any(Flags::CERT) {
        flags = flags.without(Flags::MULTI_KEY_MASK | Flags::ALIAS_CERT | Flags::SET_CERT);
    }
    if flags.any(Flags::PUB_KEY_ID) {
        flags = flags.without(Flags::GET_KEY_PAIR_INFO | Flags::SET_KEY_PAIR_INFO);
    }
    if !flags.any(Flags::SET_CERT) {
        flags = flags.without(Flags::CSR | Flags::CERT_INSTALL_RESET);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spdm::msg::{
        Context, Payload,
        capabilities::{Response, Sizes},
    };

    /// What libspdm's requester wants of CAPABILITIES beyond what ours does.
    fn rules(version: Version, flags: Flags) -> [(bool, &'static str); 7] {
        let has = |bits: Flags| flags.any(bits);
        let identity = Flags::CERT | Flags::PUB_KEY_ID;
        let uses = Flags::CHAL | Flags::KEY_EX | Flags::MEAS_SIG | Flags::EP_INFO_SIG;
        let key_pairs = Flags::GET_KEY_PAIR_INFO | Flags::SET_KEY_PAIR_INFO;
        let signed = has(Flags::MEAS_SIG);
        [
            (
                version != Version::V1_0 || signed || has(Flags::CERT) == has(Flags::CHAL),
                "in 1.0 CERT_CAP where there is CHAL_CAP, and no other",
            ),
            (
                version == Version::V1_0 || has(uses) || !has(identity),
                "a use for CERT_CAP or PUB_KEY_ID_CAP",
            ),
            (
                version != Version::V1_1 || has(Flags::ENCAP) || !has(Flags::MUT_AUTH),
                "ENCAP_CAP where there is MUT_AUTH_CAP in 1.1",
            ),
            (
                has(Flags::SET_CERT) || !has(Flags::CSR | Flags::CERT_INSTALL_RESET),
                "SET_CERT_CAP where there is CSR_CAP",
            ),
            (
                has(Flags::GET_KEY_PAIR_INFO) || !has(Flags::MULTI_KEY_MASK),
                "GET_KEY_PAIR_INFO_CAP where there is MULTI_KEY_CAP",
            ),
            (
                !has(Flags::PUB_KEY_ID) || !has(key_pairs),
                "no information on key pairs where there is PUB_KEY_ID_CAP",
            ),
            (
                has(Flags::MEAS_MASK) || !has(Flags::MEAS_FRESH),
                "MEAS_CAP where there is MEAS_FRESH_CAP",
            ),
        ]
    }

    #[test]
    fn whatever_bits_are_taken_away_the_rest_is_what_a_requester_accepts() {
        let transfer = 0x1200;
        let versions = [0x10, 0x11, 0x12, 0x13, 0x14].map(Version);
        // Each single bit alone missing, each pair missing, and each alone there.
        let bits = (0..32).map(|bit| 1u32 << bit);
        let pairs = bits.clone().flat_map(|a| (0..32).map(move |b| !(a | 1 << b)));
        let all = 0x7777_57f7 | Flags::MEAS_SIG.0;
        for mask in pairs.chain(bits) {
            for version in versions {
                let flags = consistent(version, Flags(all & mask).and(known(version)));
                let broken = rules(version, flags).into_iter().find(|(kept, _)| !kept);
                assert_eq!(broken.map(|(_, rule)| rule), None, "{mask:#x} in {version}");
                let response = Response {
                    version,
                    ct_exponent: 0,
                    extended_flags: 0,
                    flags,
                    sizes: Some(Sizes {
                        transfer,
                        message: transfer,
                    }),
                    algorithms: None,
                    algorithms_told: false,
                };
                let read =
                    Response::decode_exact(&response.to_vec(), &Context::new(version)).map(|read| read.flags);
                assert_eq!(read, Ok(flags), "{mask:#x} in {version}");
            }
        }
    }
}
