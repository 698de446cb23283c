//! What the card's firmware measures of itself, and what its vendor publishes for it.
//!
//! | index | of | what is hashed (SHA-384) |
//! |---|---|---|
//! | 1 | immutable ROM | the ROM's name |
//! | 2 | firmware | the firmware's name and version |
//! | 3 | hardware configuration | the configuration space of every function, as after power-on |
//! | 4 | firmware configuration | the virtio features offered and the queues' largest size |
//! | 16 + N | firmware configuration | the personality of function N: what it is, and its registers |
//!
//! The values follow from what the card is, so a policy that pins them notices a card built differently. Each function
//! has an index of its own, so that one can be refused while its neighbour is accepted.

use super::function::{Layout, manager_layout, network_layout};
use super::peer::guest_mac;
use super::virtio::queue::SIZE_MAX;
use super::virtio::registers::OFFERED;
use crate::lie::Lie;
use tdisp::crypto::{Digest, HashAlg, Ring, digest};
use tdisp::spdm::msg::measurements::Kind;

/// Index of function 0's personality; function N's is N more.
pub const PERSONALITY: u8 = 16;
/// The firmware's name and version.
const FIRMWARE: &[u8] = b"tidelock emulated TEE-IO NIC, firmware 1.0.0";
/// The ROM's name.
const ROM: &[u8] = b"tidelock emulated TEE-IO NIC, ROM A0";

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Its index in SPDM.
    pub index: u8,
    /// What it is of, in SPDM's terms.
    pub kind: Kind,
    /// What it is of, for people.
    pub name: String,
    /// SHA-384 of `bit_stream`.
    pub value: Digest,
    /// What is hashed.
    pub bit_stream: Vec<u8>,
}

impl Measured {
    /// Makes it of other bytes.
    fn set(&mut self, bit_stream: Vec<u8>) {
        self.value = digest(&Ring, HashAlg::Sha384, &bit_stream);
        self.bit_stream = bit_stream;
    }
}

/// The published measurements: what an honest card shows.
pub fn reference() -> Vec<Measured> {
    let measured = |index, kind, name: &str, parts: &[&[u8]]| {
        let bit_stream = parts.concat();
        Measured {
            index,
            kind,
            name: name.to_owned(),
            value: digest(&Ring, HashAlg::Sha384, &bit_stream),
            bit_stream,
        }
    };
    let (manager, network) = (manager_layout(), network_layout());
    let hardware: [&[u8]; 3] = [bytes(&manager), bytes(&network), bytes(&network)];
    let features = OFFERED.to_le_bytes();
    let mut all = vec![
        measured(1, Kind::ROM, "immutable ROM", &[ROM]),
        measured(2, Kind::FIRMWARE, "firmware", &[FIRMWARE]),
        measured(
            3,
            Kind::HARDWARE_CONFIGURATION,
            "hardware configuration",
            &hardware,
        ),
        measured(
            4,
            Kind::FIRMWARE_CONFIGURATION,
            "firmware configuration",
            &[&features, &SIZE_MAX.to_le_bytes()],
        ),
    ];
    for function in [1, 2] {
        let name = format!("personality of function {function}");
        let parts: [&[u8]; 3] = [b"network card", &guest_mac(function), bytes(&network)];
        all.push(measured(
            PERSONALITY + function,
            Kind::FIRMWARE_CONFIGURATION,
            &name,
            &parts,
        ));
    }
    all
}

/// What a card with `lies` shows.
pub fn shown(lies: &[Lie]) -> Vec<Measured> {
    let mut all = reference();
    for measured in &mut all {
        let function = measured.index.checked_sub(PERSONALITY);
        let swapped = |lie: &Lie| match (lie, function) {
            (Lie::MeasurementSwapped(scope), Some(function)) => scope.includes(function),
            _ => false,
        };
        if lies.iter().any(swapped) {
            let other: &[u8] = b"another personality";
            measured.set([other, measured.value.as_ref()].concat());
        }
    }
    all
}

fn bytes(layout: &Layout) -> &[u8] {
    layout.config.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_the_same_every_time_and_all_different() {
        let first = reference();
        assert_eq!(first, reference());
        let mut values: Vec<_> = first.iter().map(|measured| measured.value).collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), first.len());
    }

    #[test]
    fn a_swapped_personality_is_its_function_s_alone() {
        let differing = |lie: &str| -> Vec<u8> {
            let shown = shown(&[lie.parse().unwrap()]);
            let pairs = shown.iter().zip(reference());
            pairs
                .filter(|(shown, published)| shown.value != published.value)
                .map(|(shown, _)| shown.index)
                .collect()
        };
        assert_eq!(differing("measurement-swapped:2"), [18]);
        assert_eq!(differing("measurement-swapped"), [17, 18]);
        assert!(differing("other-root").is_empty());
    }
}
