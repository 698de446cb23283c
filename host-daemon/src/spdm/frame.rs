//! From packets to messages: data objects (PCIe §6.30) and MCTP packets (DSP0236), the latter put together again.
//!
//! ```text
//! DOE   u16 vendor ‖ u8 type ‖ u8 ‖ u32 length in DW ‖ body, padded to a DW        one object, one message
//! MCTP  u8 version ‖ u8 to ‖ u8 from ‖ SOM EOM seq TO tag ‖ [first: u8 type] ‖ …   SOM to EOM, one message
//! ```

use std::collections::BTreeMap;

use tdisp::doe::{Object, ObjectType, object::PCI_SIG};

use super::pcap::{Capture, LINK_DOE, LINK_MCTP, Packet};

/// Bytes of the longest message that is put together from packets.
const MESSAGE_MAX: usize = 4 << 18;
/// Messages of which some packets have come, at one time.
const OPEN_MAX: usize = 64;

/// How a message was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// In a data object, which may be padded with up to three bytes.
    Doe,
    /// In MCTP packets, to the byte.
    Mctp,
}

impl Carrier {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Doe => "DOE",
            Self::Mctp => "MCTP",
        }
    }
}

/// What a message is, as its carrier says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DOE discovery.
    Discovery,
    /// An SPDM message in clear.
    Spdm,
    /// A secured message.
    Secured,
    /// Something else.
    Other,
}

/// One message with all that its packets said about it.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Number of the packet that it begins in.
    pub number: usize,
    /// How many packets it took.
    pub packets: usize,
    /// Where in the file `body` begins.
    pub at: usize,
    /// When its first packet was captured, in nanoseconds since the epoch.
    pub time_ns: u64,
    /// How it was carried.
    pub carrier: Carrier,
    /// What it is.
    pub kind: Kind,
    /// What is in the carrier's header, for people.
    pub header: String,
    /// The message; of a data object with its padding.
    pub body: Vec<u8>,
    /// What is wrong with the carriage.
    pub faults: Vec<Fault>,
}

/// Something wrong with the carriage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is there.
    pub found: String,
    /// What should be.
    pub wanted: String,
}

impl Fault {
    fn new(found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            wanted: wanted.into(),
        }
    }

    fn last_missing() -> Self {
        Self::new("a message whose last packet is missing", "whole messages")
    }
}

/// The messages of a capture, in the order in which they were complete.
pub fn units(capture: &Capture) -> Vec<Unit> {
    let mut assembly = Assembly::default();
    let mut units = Vec::new();
    for packet in &capture.packets {
        match packet.link {
            LINK_DOE => units.push(data_object(packet)),
            LINK_MCTP => units.extend(assembly.take(packet)),
            link => units.push(other(
                packet,
                Carrier::Doe,
                Fault::new(format!("link type {link}"), "292 (PCI DOE) or 291 (MCTP)"),
            )),
        }
    }
    units.extend(assembly.open.into_values().map(|(mut unit, _)| {
        unit.faults.push(Fault::last_missing());
        unit
    }));
    units
}

fn unit(packet: &Packet, carrier: Carrier) -> Unit {
    let mut faults = Vec::new();
    if packet.was > packet.bytes.len() {
        faults.push(Fault::new(
            format!("{} of its packet's {} bytes", packet.bytes.len(), packet.was),
            "all of them: capture again with a larger snap length",
        ));
    }
    Unit {
        number: packet.number,
        packets: 1,
        at: packet.at.start,
        time_ns: packet.time_ns,
        carrier,
        kind: Kind::Other,
        header: String::new(),
        body: Vec::new(),
        faults,
    }
}

fn other(packet: &Packet, carrier: Carrier, fault: Fault) -> Unit {
    let mut unit = unit(packet, carrier);
    unit.body = packet.bytes.clone();
    unit.faults.push(fault);
    unit
}

fn data_object(packet: &Packet) -> Unit {
    let object = match Object::decode(&packet.bytes) {
        Ok(object) => object,
        Err(error) => {
            let fault = Fault::new(
                format!("{} bytes that are none: {error}", packet.bytes.len()),
                "one whole data object a packet",
            );
            return other(packet, Carrier::Doe, fault);
        }
    };
    let mut unit = unit(packet, Carrier::Doe);
    unit.at += packet.bytes.len() - object.body.len();
    unit.kind = match (object.vendor, object.kind) {
        (PCI_SIG, ObjectType::DISCOVERY) => Kind::Discovery,
        // 3 and 4 are SPDM and secured SPDM with a connection ID in front, which nothing that we have seen sends.
        (PCI_SIG, ObjectType::SPDM) => Kind::Spdm,
        (PCI_SIG, ObjectType::SECURED_SPDM) => Kind::Secured,
        _ => Kind::Other,
    };
    unit.header = format!(
        "vendor {:04x} type {} of {} bytes",
        object.vendor,
        object.kind,
        packet.bytes.len()
    );
    unit.body = object.body.to_vec();
    unit
}

/// Messages that are not complete, by who sends to whom and with which tag.
#[derive(Default)]
struct Assembly {
    open: BTreeMap<(u8, u8, u8), (Unit, u8)>,
}

const SOM: u8 = 0x80;
const EOM: u8 = 0x40;

impl Assembly {
    /// Takes a packet, and gives the messages that are over with it.
    fn take(&mut self, packet: &Packet) -> Vec<Unit> {
        let [version, to, from, flags, payload @ ..] = &packet.bytes[..] else {
            let found = format!("{} bytes", packet.bytes.len());
            let fault = Fault::new(found, "an MCTP header of 4");
            return vec![other(packet, Carrier::Mctp, fault)];
        };
        let key = (*from, *to, flags & 0x0f);
        let sequence = flags >> 4 & 3;
        let mut over = Vec::new();
        let mut message = if flags & SOM != 0 {
            if let Some((mut lost, _)) = self.open.remove(&key) {
                lost.faults.push(Fault::last_missing());
                over.push(lost);
            }
            begin(packet, *version, [*to, *from, *flags], payload)
        } else {
            let Some((mut message, wanted)) = self.open.remove(&key) else {
                let fault = Fault::new(
                    "a middle packet of a message whose first is missing",
                    "whole messages",
                );
                return vec![other(packet, Carrier::Mctp, fault)];
            };
            go_on(&mut message, [sequence, wanted], payload);
            message
        };
        if message.body.len() > MESSAGE_MAX || self.open.len() >= OPEN_MAX {
            message.faults.push(Fault::new(
                format!(
                    "{} bytes so far, and {} other messages begun",
                    message.body.len(),
                    self.open.len()
                ),
                format!("at most {MESSAGE_MAX} bytes and {OPEN_MAX} messages at one time"),
            ));
            over.push(message);
        } else if flags & EOM != 0 {
            over.push(message);
        } else {
            self.open.insert(key, (message, (sequence + 1) % 4));
        }
        over
    }
}

fn begin(packet: &Packet, version: u8, [to, from, flags]: [u8; 3], payload: &[u8]) -> Unit {
    let mut message = unit(packet, Carrier::Mctp);
    message.header = format!(
        "EID {from:#04x} to {to:#04x} tag {}{}",
        flags & 7,
        if flags & 8 != 0 { " (owner)" } else { "" }
    );
    if version & 0x0f > 1 {
        let found = format!("MCTP header version {}", version & 0x0f);
        message.faults.push(Fault::new(found, "0 or 1"));
    }
    message.at += 5;
    match payload {
        [kind, body @ ..] => {
            message.kind = match kind & 0x7f {
                5 => Kind::Spdm,
                6 => Kind::Secured,
                _ => Kind::Other,
            };
            message.header += &format!(" type {}", kind & 0x7f);
            message.body = body.to_vec();
        }
        [] => {
            let fault = Fault::new("a first packet of no bytes", "its message's type");
            message.faults.push(fault);
        }
    }
    message
}

/// Sequence numbers count packets modulo 4, from whatever the first of a message has.
fn go_on(message: &mut Unit, [sequence, wanted]: [u8; 2], payload: &[u8]) {
    if sequence != wanted && message.faults.is_empty() {
        message.faults.push(Fault::new(
            format!("sequence number {sequence} in packet {}", message.packets + 1),
            wanted.to_string(),
        ));
    }
    message.packets += 1;
    message.body.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(link: u32, packets: &[&[u8]]) -> Capture {
        let packet = |(index, bytes): (usize, &&[u8])| Packet {
            number: index + 1,
            link,
            time_ns: 0,
            at: 0..bytes.len(),
            bytes: bytes.to_vec(),
            was: bytes.len(),
        };
        Capture {
            packets: packets.iter().enumerate().map(packet).collect(),
            cut: None,
        }
    }

    #[test]
    fn a_message_in_several_packets_is_put_together() {
        let packets: [&[u8]; 4] = [
            &[1, 8, 9, 0x88, 5, 0x10, 0x84],
            &[1, 9, 8, 0xc0, 5, 0x10, 0x04, 0, 0],
            &[1, 8, 9, 0x18, 0],
            &[1, 8, 9, 0x68, 0],
        ];
        let units = units(&capture(LINK_MCTP, &packets));
        let found: Vec<_> = units.iter().map(|u| (u.number, u.packets, &u.body[..])).collect();
        assert_eq!(
            found,
            [(2, 1, &[0x10, 0x04, 0, 0][..]), (1, 3, &[0x10, 0x84, 0, 0][..])]
        );
        assert!(
            units
                .iter()
                .all(|unit| unit.kind == Kind::Spdm && unit.faults.is_empty())
        );
    }

    #[test]
    fn packets_that_belong_to_nothing_say_so() {
        let cases: [(&[&[u8]], [&str; 2]); 4] = [
            (&[&[1, 8, 9]], ["3 bytes", "an MCTP header of 4"]),
            (
                &[&[1, 8, 9, 0x48, 5]],
                [
                    "a middle packet of a message whose first is missing",
                    "whole messages",
                ],
            ),
            (
                &[&[1, 8, 9, 0x88, 5, 0x10]],
                ["a message whose last packet is missing", "whole messages"],
            ),
            (
                &[&[1, 8, 9, 0x88, 5, 0x10], &[1, 8, 9, 0x78, 0x84]],
                ["sequence number 3 in packet 2", "1"],
            ),
        ];
        for (packets, [found, wanted]) in cases {
            let units = units(&capture(LINK_MCTP, packets));
            assert_eq!(units.len(), 1);
            assert_eq!(units[0].faults[0], Fault::new(found, wanted));
        }
    }

    #[test]
    fn an_object_whose_length_is_not_what_came_is_shown_as_what_it_is_not() {
        let object: &[u8] = &[1, 0, 1, 0, 9, 0, 0, 0, 0x10, 0x84, 0, 0];
        let units = units(&capture(LINK_DOE, &[object]));
        assert_eq!(units[0].kind, Kind::Other);
        let fault = &units[0].faults[0];
        assert!(
            fault.found.starts_with("12 bytes that are none: "),
            "{}",
            fault.found
        );
        assert_eq!(fault.wanted, "one whole data object a packet");
    }
}
