//! Capture files: classic pcap in both byte orders and both resolutions, pcapng for reading, pcap for writing.
//!
//! ```text
//! pcap    magic ‖ u16 2 ‖ u16 4 ‖ i32 ‖ u32 ‖ u32 snap length ‖ u32 link type      then, for each packet
//!         u32 seconds ‖ u32 fraction ‖ u32 bytes here ‖ u32 bytes there were ‖ bytes
//! pcapng  blocks: u32 type ‖ u32 length ‖ body ‖ u32 length;  section header, interface, enhanced and simple packet
//! ```
//! A file is somebody else's: each length is checked against what is left of it before anything is taken.

use std::ops::Range;

/// Link type of MCTP packets, from the 4-byte MCTP header on.
pub const LINK_MCTP: u32 = 291;
/// Link type of PCIe data object exchange, from the 8-byte data object header on.
pub const LINK_DOE: u32 = 292;

/// Bytes of the longest packet: a data object of 2^18 DW.
const PACKET_MAX: usize = 4 << 18;
/// Packets of one file: bounds the memory that a file of empty packets takes.
const PACKETS_MAX: usize = 1 << 22;

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The packets, in their order.
    pub packets: Vec<Packet>,
    /// What stands at the end of the file that is no packet, if anything does: the capture was cut off.
    pub cut: Option<String>,
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// From 1 on, as other tools count.
    pub number: usize,
    /// LINKTYPE of the interface that it is from.
    pub link: u32,
    /// Nanoseconds since the epoch; 0 where the file has no time.
    pub time_ns: u64,
    /// Where in the file its bytes are.
    pub at: Range<usize>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How many bytes it had when it was captured.
    pub was: usize,
}

/// Why a file is no capture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first bytes are of nothing that is known.
    #[error(
        "the file begins with {found}; wanted a pcap file (a1b2c3d4 or a1b23c4d in either byte order) or a pcapng file (0a0d0d0a)"
    )]
    Magic {
        /// The first bytes.
        found: String,
    },
    /// A field has a value that it cannot have.
    #[error("at byte {at} of the file the {what} is {found}; wanted {wanted}")]
    Field {
        /// Offset in the file.
        at: usize,
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What would have been right.
        wanted: String,
    },
    /// The file ends in its own header.
    #[error("the file ends after {have} bytes in its header; wanted {need}")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes the header takes.
        need: usize,
    },
}

impl Capture {
    /// Reads a file. A packet that is cut off at the end is left out, and [`Capture::cut`] says so.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let magic: [u8; 4] = match file.get(..4) {
            Some(magic) => [magic[0], magic[1], magic[2], magic[3]],
            None => {
                return Err(Error::Short {
                    have: file.len(),
                    need: 24,
                });
            }
        };
        match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => classic(Bytes { file, big: true }, 1000),
            [0xa1, 0xb2, 0x3c, 0x4d] => classic(Bytes { file, big: true }, 1),
            [0xd4, 0xc3, 0xb2, 0xa1] => classic(Bytes { file, big: false }, 1000),
            [0x4d, 0x3c, 0xb2, 0xa1] => classic(Bytes { file, big: false }, 1),
            [0x0a, 0x0d, 0x0d, 0x0a] => blocks(file),
            found => Err(Error::Magic {
                found: super::hex(&found),
            }),
        }
    }
}

/// Integers of a file in its byte order.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    file: &'a [u8],
    big: bool,
}

impl Bytes<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.file.get(at..at.checked_add(4)?)?;
        let fold = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
        Some(match self.big {
            true => bytes.iter().fold(0, fold),
            false => bytes.iter().rev().fold(0, fold),
        })
    }

    fn u16(&self, at: usize) -> Option<u32> {
        let bytes = self.file.get(at..at.checked_add(2)?)?;
        let fold = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
        Some(match self.big {
            true => bytes.iter().fold(0, fold),
            false => bytes.iter().rev().fold(0, fold),
        })
    }
}

fn classic(bytes: Bytes<'_>, ns_per_unit: u64) -> Result<Capture, Error> {
    const HEADER: usize = 24;
    const RECORD: usize = 16;
    let file = bytes.file;
    let short = Error::Short {
        have: file.len(),
        need: HEADER,
    };
    // Bits above 27:0 say whether packets end in a frame check sequence, which neither of our link types has.
    let link = bytes.u32(20).ok_or(short)? & 0x0fff_ffff;
    let (mut packets, mut at, mut cut) = (Vec::new(), HEADER, None);
    while at < file.len() {
        let fields = [0, 4, 8, 12].map(|field| bytes.u32(at + field));
        let [Some(seconds), Some(fraction), Some(here), Some(was)] = fields else {
            cut = Some(left(at, file.len(), RECORD));
            break;
        };
        let size = packet_size(at + 8, here)?;
        let (from, to) = (at + RECORD, at + RECORD + size);
        let Some(body) = file.get(from..to) else {
            cut = Some(left(at, file.len(), RECORD + size));
            break;
        };
        at = to;
        check_count(packets.len(), at)?;
        packets.push(Packet {
            number: packets.len() + 1,
            link,
            time_ns: u64::from(seconds) * 1_000_000_000 + u64::from(fraction).saturating_mul(ns_per_unit),
            at: from..to,
            bytes: body.to_vec(),
            was: was as usize,
        });
    }
    Ok(Capture { packets, cut })
}

/// An interface of a pcapng section: its link type, and how many of its time units make a second.
#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    per_second: u64,
}

fn blocks(file: &[u8]) -> Result<Capture, Error> {
    let mut capture = Capture {
        packets: Vec::new(),
        cut: None,
    };
    let (mut bytes, mut interfaces, mut at) = (Bytes { file, big: false }, Vec::new(), 0);
    while at < file.len() {
        if file.get(at..at + 4) == Some(&SECTION) {
            bytes.big = file.get(at + 8..at + 12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
            interfaces.clear();
        }
        let (Some(kind), Some(length)) = (bytes.u32(at), bytes.u32(at + 4)) else {
            capture.cut = Some(left(at, file.len(), 8));
            break;
        };
        let length = length as usize;
        if !(12..=PACKET_MAX + 4096).contains(&length) || !length.is_multiple_of(4) {
            return Err(Error::Field {
                at: at + 4,
                what: "block length",
                found: length as u64,
                wanted: format!("a multiple of 4 from 12 to {}", PACKET_MAX + 4096),
            });
        }
        let end = at + length;
        if end > file.len() {
            capture.cut = Some(left(at, file.len(), length));
            break;
        }
        check_count(capture.packets.len().max(interfaces.len()), at)?;
        match kind {
            1 => interfaces.push(interface(&bytes, at, end)),
            3 | 6 => capture.packets.extend(packet(
                &bytes,
                at,
                end,
                &interfaces,
                kind == 6,
                capture.packets.len() + 1,
            )?),
            _ => {}
        }
        at = end;
    }
    Ok(capture)
}

const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

fn interface(bytes: &Bytes<'_>, at: usize, end: usize) -> Interface {
    let mut interface = Interface {
        link: bytes.u16(at + 8).unwrap_or(0),
        per_second: 1_000_000,
    };
    let mut option = at + 16;
    while let (Some(code), Some(length)) = (bytes.u16(option), bytes.u16(option + 2)) {
        if code == 0 || option + 4 >= end {
            break;
        }
        if (code, length) == (9, 1) {
            let resolution = bytes.file.get(option + 4).copied().unwrap_or(6);
            let (base, power) = (if resolution & 0x80 == 0 { 10u64 } else { 2 }, resolution & 0x7f);
            interface.per_second = base.checked_pow(u32::from(power)).unwrap_or(u64::MAX);
        }
        option += 4 + (length as usize).next_multiple_of(4);
    }
    interface
}

/// An enhanced packet block, or a simple one.
fn packet(
    bytes: &Bytes<'_>,
    at: usize,
    end: usize,
    interfaces: &[Interface],
    enhanced: bool,
    number: usize,
) -> Result<Option<Packet>, Error> {
    let head = if enhanced { 20 } else { 4 };
    let field = |offset: usize| bytes.u32(at + 8 + offset).unwrap_or(0);
    let from_interface = if enhanced { field(0) as usize } else { 0 };
    let Some(interface) = interfaces.get(from_interface) else {
        return Err(Error::Field {
            at: at + 8,
            what: "interface of a packet",
            found: from_interface as u64,
            wanted: format!("one of the {} that were described", interfaces.len()),
        });
    };
    let room = (end - at).saturating_sub(12 + head);
    let was = field(if enhanced { 16 } else { 0 });
    let size = if enhanced {
        packet_size(at + 20, field(12))?
    } else {
        room.min(was as usize)
    };
    if size > room {
        return Err(Error::Field {
            at: at + 20,
            what: "packet length",
            found: size as u64,
            wanted: format!("at most the {room} bytes of its block"),
        });
    }
    let units = if enhanced {
        u64::from(field(4)) << 32 | u64::from(field(8))
    } else {
        0
    };
    let time_ns = u128::from(units) * 1_000_000_000 / u128::from(interface.per_second.max(1));
    let from = at + 8 + head;
    Ok(bytes.file.get(from..from + size).map(|body| Packet {
        number,
        link: interface.link,
        time_ns: u64::try_from(time_ns).unwrap_or(u64::MAX),
        at: from..from + size,
        bytes: body.to_vec(),
        was: was as usize,
    }))
}

fn packet_size(at: usize, size: u32) -> Result<usize, Error> {
    let size = size as usize;
    if size <= PACKET_MAX {
        return Ok(size);
    }
    Err(Error::Field {
        at,
        what: "packet length",
        found: size as u64,
        wanted: format!("at most {PACKET_MAX}, the longest data object"),
    })
}

fn check_count(count: usize, at: usize) -> Result<(), Error> {
    if count < PACKETS_MAX {
        return Ok(());
    }
    Err(Error::Field {
        at,
        what: "number of packets",
        found: count as u64 + 1,
        wanted: format!("at most {PACKETS_MAX}"),
    })
}

fn left(at: usize, end: usize, need: usize) -> String {
    format!(
        "the file ends inside a packet: at byte {at} there are {} bytes left, wanted {need}",
        end - at
    )
}

/// A pcap file being written: microseconds, little-endian.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: std::io::Write> Writer<W> {
    /// Writes the file's header.
    pub fn begin(mut out: W, link: u32) -> std::io::Result<Self> {
        let fields: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, PACKET_MAX as u32, link];
        for field in fields {
            out.write_all(&field.to_le_bytes())?;
        }
        Ok(Self { out })
    }

    /// Writes one packet.
    pub fn packet(&mut self, time: std::time::Duration, bytes: &[u8]) -> std::io::Result<()> {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        for field in [seconds, time.subsec_micros(), size, size] {
            self.out.write_all(&field.to_le_bytes())?;
        }
        self.out.write_all(bytes)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(big: bool, nanoseconds: bool, packets: &[&[u8]]) -> Vec<u8> {
        let order = |value: u32| {
            if big {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut out: Vec<u8> = [magic, 0, 0, 0, 65535, LINK_DOE]
            .into_iter()
            .flat_map(order)
            .collect();
        for packet in packets {
            let size = packet.len() as u32;
            out.extend([1, 5, size, size].into_iter().flat_map(order));
            out.extend_from_slice(packet);
        }
        out
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_give_the_same_packets() {
        for (big, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
            let capture = Capture::read(&file(big, nanoseconds, &[b"one", b"", b"three"])).unwrap();
            let packets = &capture.packets;
            assert_eq!(
                packets.iter().map(|p| &p.bytes[..]).collect::<Vec<_>>(),
                [&b"one"[..], b"", b"three"]
            );
            assert_eq!(
                (packets[2].number, packets[2].link, packets[2].was),
                (3, LINK_DOE, 5)
            );
            let fraction = if nanoseconds { 5 } else { 5000 };
            assert_eq!(packets[0].time_ns, 1_000_000_000 + fraction);
            assert_eq!((packets[0].at.clone(), capture.cut), (40..43, None));
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut out = Vec::new();
        let mut writer = Writer::begin(&mut out, LINK_MCTP).unwrap();
        writer
            .packet(std::time::Duration::from_micros(1_000_007), b"packet")
            .unwrap();
        let capture = Capture::read(&out).unwrap();
        assert_eq!(capture.packets[0].bytes, b"packet");
        assert_eq!(
            (capture.packets[0].link, capture.packets[0].time_ns),
            (LINK_MCTP, 1_000_007_000)
        );
    }

    #[test]
    fn a_file_cut_at_any_byte_is_refused_or_says_what_is_missing() {
        let whole = file(false, false, &[b"one", b"two"]);
        for end in 0..whole.len() {
            match Capture::read(&whole[..end]) {
                Err(error) => assert!(end < 24, "{end}: {error}"),
                Ok(capture) => {
                    let boundary = matches!(end, 24 | 43);
                    assert_eq!(capture.cut.is_none(), boundary, "{end}");
                }
            }
        }
    }

    #[test]
    fn a_hostile_length_is_refused_before_anything_is_taken() {
        let mut bad = file(false, false, &[b"one"]);
        bad[32..36].copy_from_slice(&0xffff_ffffu32.to_le_bytes());
        let message = Capture::read(&bad).unwrap_err().to_string();
        assert!(
            message.contains("at byte 32 of the file the packet length is 4294967295; wanted at most"),
            "{message}"
        );
        let message = Capture::read(b"not a capture").unwrap_err().to_string();
        assert!(
            message.contains("begins with 6e6f7420; wanted a pcap file"),
            "{message}"
        );
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (12 + body.len().next_multiple_of(4)) as u32;
        let mut out = [kind.to_le_bytes(), length.to_le_bytes()].concat();
        out.extend_from_slice(body);
        out.resize(length as usize - 4, 0);
        out.extend_from_slice(&length.to_le_bytes());
        out
    }

    fn next_generation() -> Vec<u8> {
        let section = [
            0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
        ];
        let link = [
            &(LINK_MCTP as u16).to_le_bytes()[..],
            &[0, 0, 0, 0, 4, 0],
            &[9, 0, 1, 0, 9, 0, 0, 0],
        ]
        .concat();
        let packet: Vec<u8> = [0u32, 0, 77, 5, 5]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .chain(*b"bytes")
            .collect();
        [
            block(0x0a0d_0d0a, &section),
            block(1, &link),
            block(5, b"statistics"),
            block(6, &packet),
        ]
        .concat()
    }

    #[test]
    fn pcapng_files_are_read_too() {
        let capture = Capture::read(&next_generation()).unwrap();
        assert_eq!(capture.packets.len(), 1);
        assert_eq!(
            (&capture.packets[0].bytes[..], capture.packets[0].link),
            (&b"bytes"[..], LINK_MCTP)
        );
        assert_eq!(capture.packets[0].time_ns, 77);
    }

    #[test]
    fn a_pcapng_file_with_any_byte_changed_or_cut_never_panics() {
        let whole = next_generation();
        for at in 0..whole.len() {
            let _ = Capture::read(&whole[..at]);
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = whole.clone();
                bad[at] = value;
                let _ = Capture::read(&bad);
            }
        }
    }
}
