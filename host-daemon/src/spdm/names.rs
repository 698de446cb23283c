//! Names of bits and codes (DSP0274, DSP0277, PCIe §6.30, §11.3), for people.

use tdisp::spdm::msg::Version;

/// Names of bits, by the bit's number.
pub type Bits = &'static [(u32, &'static str)];

/// Names of the bits that are set; bits without a name by number.
pub fn bits(value: u64, names: &[(u32, &str)]) -> String {
    let mut rest = value;
    let mut found = Vec::new();
    for (bit, name) in names {
        if value >> bit & 1 == 1 {
            found.push((*name).to_owned());
            rest &= !(1 << bit);
        }
    }
    found.extend(
        (0..64)
            .filter(|bit| rest >> bit & 1 == 1)
            .map(|bit| format!("bit {bit}")),
    );
    if found.is_empty() {
        "none".into()
    } else {
        found.join(" ")
    }
}

/// The name of a value.
pub fn value(value: u64, names: &[(u64, &str)]) -> String {
    let found = names.iter().find(|(known, _)| *known == value);
    found.map_or_else(|| "unknown".into(), |(_, name)| (*name).into())
}

/// Capability flags, for people.
pub fn capabilities(flags: u32, of_requester: bool) -> String {
    let found = capability_list(flags, of_requester);
    if found.is_empty() {
        "none".into()
    } else {
        found.join(" ")
    }
}

/// Capability flags. Pairs of bits are names of their own, which may have spaces.
pub fn capability_list(flags: u32, of_requester: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (bit, name) in CAPABILITIES {
        if flags >> bit & 1 == 1 && !(of_requester && matches!(bit, 0 | 5)) {
            found.push((*name).to_owned());
        }
    }
    for (bit, names) in CAPABILITY_PAIRS {
        match flags >> bit & 3 {
            0 => {}
            // A requester has the pre-shared key or has not; the context is the responder's.
            1 if of_requester && *bit == 10 => found.push("PSK".to_owned()),
            mode => found.push(names[mode as usize - 1].to_owned()),
        }
    }
    found
}

const CAPABILITIES: &[(u32, &str)] = &[
    (0, "CACHE"),
    (1, "CERT"),
    (2, "CHAL"),
    (5, "MEAS_FRESH"),
    (6, "ENCRYPT"),
    (7, "MAC"),
    (8, "MUT_AUTH"),
    (9, "KEY_EX"),
    (12, "ENCAP"),
    (13, "HBEAT"),
    (14, "KEY_UPD"),
    (15, "HANDSHAKE_IN_THE_CLEAR"),
    (16, "PUB_KEY_ID"),
    (17, "CHUNK"),
    (18, "ALIAS_CERT"),
    (19, "SET_CERT"),
    (20, "CSR"),
    (21, "CERT_INSTALL_RESET"),
    (24, "MEL"),
    (25, "EVENT"),
    (28, "GET_KEY_PAIR_INFO"),
    (29, "SET_KEY_PAIR_INFO"),
    (30, "SET_KEY_PAIR_RESET"),
    (31, "LARGE_RESP"),
];

const CAPABILITY_PAIRS: &[(u32, [&str; 3])] = &[
    (3, ["MEAS(unsigned)", "MEAS(signed)", "MEAS(reserved 3)"]),
    (
        10,
        ["PSK(without context)", "PSK(with context)", "PSK(reserved 3)"],
    ),
    (
        22,
        ["EP_INFO(unsigned)", "EP_INFO(signed)", "EP_INFO(reserved 3)"],
    ),
    (
        26,
        [
            "MULTI_KEY(only)",
            "MULTI_KEY(negotiated)",
            "MULTI_KEY(reserved 3)",
        ],
    ),
];

/// BaseAsymAlgo and ReqBaseAsymAlg.
pub const ASYM: &[(u32, &str)] = &[
    (0, "RSASSA_2048"),
    (1, "RSAPSS_2048"),
    (2, "RSASSA_3072"),
    (3, "RSAPSS_3072"),
    (4, "ECDSA_P256"),
    (5, "RSASSA_4096"),
    (6, "RSAPSS_4096"),
    (7, "ECDSA_P384"),
    (8, "ECDSA_P521"),
    (9, "SM2"),
    (10, "ED25519"),
    (11, "ED448"),
];

/// PqcAsymAlgo (1.4).
pub const PQC_ASYM: &[(u32, &str)] = &[
    (0, "ML_DSA_44"),
    (1, "ML_DSA_65"),
    (2, "ML_DSA_87"),
    (3, "SLH_DSA_SHA2_128S"),
    (4, "SLH_DSA_SHAKE_128S"),
    (5, "SLH_DSA_SHA2_128F"),
    (6, "SLH_DSA_SHAKE_128F"),
    (7, "SLH_DSA_SHA2_192S"),
    (8, "SLH_DSA_SHAKE_192S"),
    (9, "SLH_DSA_SHA2_192F"),
    (10, "SLH_DSA_SHAKE_192F"),
    (11, "SLH_DSA_SHA2_256S"),
    (12, "SLH_DSA_SHAKE_256S"),
    (13, "SLH_DSA_SHA2_256F"),
    (14, "SLH_DSA_SHAKE_256F"),
];

/// BaseHashAlgo.
pub const HASH: &[(u32, &str)] = &[
    (0, "SHA_256"),
    (1, "SHA_384"),
    (2, "SHA_512"),
    (3, "SHA3_256"),
    (4, "SHA3_384"),
    (5, "SHA3_512"),
    (6, "SM3_256"),
];

/// MeasurementHashAlgo.
pub const MEASUREMENT_HASH: &[(u32, &str)] = &[
    (0, "RAW_ONLY"),
    (1, "SHA_256"),
    (2, "SHA_384"),
    (3, "SHA_512"),
    (4, "SHA3_256"),
    (5, "SHA3_384"),
    (6, "SHA3_512"),
    (7, "SM3_256"),
];

/// DHE structure.
pub const DHE: &[(u32, &str)] = &[
    (0, "FFDHE_2048"),
    (1, "FFDHE_3072"),
    (2, "FFDHE_4096"),
    (3, "SECP_256R1"),
    (4, "SECP_384R1"),
    (5, "SECP_521R1"),
    (6, "SM2"),
];

/// AEAD structure.
pub const AEAD: &[(u32, &str)] = &[
    (0, "AES_128_GCM"),
    (1, "AES_256_GCM"),
    (2, "CHACHA20_POLY1305"),
    (3, "SM4_GCM"),
];

/// KEM structure (1.4).
pub const KEM: &[(u32, &str)] = &[(0, "ML_KEM_512"), (1, "ML_KEM_768"), (2, "ML_KEM_1024")];

/// Types of algorithm structures, and the names of their bits.
pub const TABLES: &[(u8, &str, Bits)] = &[
    (2, "DHE", DHE),
    (3, "AEAD", AEAD),
    (4, "ReqBaseAsym", ASYM),
    (5, "KeySchedule", &[(0, "SPDM")]),
    (6, "ReqPqcAsym", PQC_ASYM),
    (7, "KEM", KEM),
];

/// OtherParams.
pub const OTHER_PARAMS: &[(u32, &str)] = &[
    (0, "OpaqueDataFmt0"),
    (1, "OpaqueDataFmt1"),
    (4, "MULTI_KEY_CONN"),
];

/// MeasurementSpecification and MELspecification.
pub const DMTF: &[(u32, &str)] = &[(0, "DMTF")];

/// MeasurementSummaryHashType.
pub const SUMMARY: &[(u64, &str)] = &[(0, "no summary"), (1, "TCB"), (0xff, "all")];

/// MutAuthRequested.
pub const MUTUAL: &[(u32, &str)] = &[
    (0, "requested, no encapsulated request"),
    (1, "requested, with encapsulated requests"),
    (2, "requested, beginning with an implicit GET_DIGESTS"),
];

/// CertificateInfo.
pub const MODEL: &[(u64, &str)] = &[
    (0, "no model said"),
    (1, "device certificate"),
    (2, "alias certificate"),
    (3, "generic certificate"),
];

/// KeyUsageMask.
pub const KEY_USAGE: &[(u32, &str)] = &[
    (0, "KeyEx"),
    (1, "Challenge"),
    (2, "Measurement"),
    (3, "EndpointInfo"),
    (14, "Standards"),
    (15, "Vendor"),
];

/// Registries and standards bodies.
pub const REGISTRY: &[(u64, &str)] = &[
    (0, "DMTF"),
    (1, "TCG"),
    (2, "USB"),
    (3, "PCI-SIG"),
    (4, "IANA"),
    (5, "HDBaseT"),
    (6, "MIPI"),
    (7, "CXL"),
    (8, "JEDEC"),
    (9, "VESA"),
    (10, "IANA CBOR"),
    (11, "DMTF DSP"),
];

/// Event types of the DMTF.
pub const EVENTS: &[(u64, &str)] = &[
    (1, "event lost"),
    (2, "measurement changed"),
    (3, "measurement pre-update"),
    (4, "certificate changed"),
];

/// TDISP's lock flags.
pub const LOCK_FLAGS: &[(u32, &str)] = &[
    (0, "NO_FW_UPDATE"),
    (1, "SYS_CACHE_LINE_SIZE"),
    (2, "LOCK_MSIX"),
    (3, "BIND_P2P"),
    (4, "ALL_REQUEST_REDIRECT"),
];

/// INTERFACE_INFO of a TDISP report.
pub const INTERFACE_INFO: &[(u32, &str)] = &[
    (0, "NO_FW_UPDATE"),
    (1, "DMA_WITHOUT_PASID"),
    (2, "DMA_WITH_PASID"),
    (3, "ATS"),
    (4, "PRS"),
];

/// Attributes of a range in a TDISP report.
pub const RANGE: &[(u32, &str)] = &[
    (0, "MSIX_TABLE"),
    (1, "MSIX_PBA"),
    (2, "NON_TEE"),
    (3, "UPDATABLE"),
];

/// A version as people write it.
pub fn version(version: Version) -> String {
    format!("{}.{}", version.0 >> 4, version.0 & 0xf)
}

/// A version number entry: major, minor, update, alpha.
pub fn entry(entry: u16) -> String {
    let mut text = format!("{}.{}", entry >> 12, entry >> 8 & 0xf);
    if entry >> 4 & 0xf != 0 {
        text += &format!(".{}", entry >> 4 & 0xf);
    }
    if entry & 0xf != 0 {
        text += &format!(" alpha {}", entry & 0xf);
    }
    text
}

/// Slots whose bits are set.
pub fn slots(mask: u64) -> String {
    let set: Vec<_> = (0..8)
        .filter(|slot| mask >> slot & 1 == 1)
        .map(|slot| slot.to_string())
        .collect();
    match set.len() {
        0 => "no slot".into(),
        1 => format!("slot {}", set[0]),
        _ => format!("slots {}", set.join(" ")),
    }
}

/// A slot, or a public key that was provisioned.
pub fn slot(value: u64, key: u64) -> String {
    match value {
        _ if value == key => "provisioned public key".into(),
        0..8 => format!("slot {value}"),
        _ => "no slot".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_names_and_what_has_no_name_as_its_number() {
        assert_eq!(bits(0x83, AEAD), "AES_128_GCM AES_256_GCM bit 7");
        assert_eq!(bits(0, AEAD), "none");
        assert_eq!(capabilities(0x0000_0802, false), "CERT PSK(with context)");
        assert_eq!(value(9, SUMMARY), "unknown");
        assert_eq!(entry(0x1212), "1.2.1 alpha 2");
        assert_eq!(slots(0b101), "slots 0 2");
    }
}
