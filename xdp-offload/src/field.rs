//! What rules are made of: networks, ranges of ports, protocols; read from text, once and strictly.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use crate::RuleError;

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network's first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub(crate) fn family(self) -> Family {
        match self.address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The mask as an address of the same family.
    fn mask(self) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => IpAddr::V4(
                u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0)
                    .into(),
            ),
            IpAddr::V6(_) => IpAddr::V6(
                u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    .into(),
            ),
        }
    }

    /// The same network without bits beyond its prefix.
    fn truncated(self) -> Self {
        let address = match (self.address, self.mask()) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => IpAddr::V4(address & mask),
            (IpAddr::V6(address), IpAddr::V6(mask)) => IpAddr::V6(address & mask),
            (address, _) => address,
        };
        Self { address, ..self }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let cidr = parse_cidr(text).ok_or_else(|| RuleError::Network { found: cut(text) })?;
        match cidr.truncated() {
            meant if meant != cidr => Err(RuleError::HostBits {
                found: cut(text),
                meant,
            }),
            _ => Ok(cidr),
        }
    }
}

fn parse_cidr(text: &str) -> Option<Cidr> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(decimal(prefix)?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(width);
    (prefix <= width).then_some(Cidr {
        address,
        prefix: prefix as u8,
    })
}

/// A range of ports, both ends within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Word")]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    pub(crate) const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// From `first` to `last`; `None` if the order is wrong.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// One port.
    pub const fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// The smallest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The greatest port.
    pub fn last(self) -> u16 {
        self.last
    }
}

impl FromStr for Ports {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = decimal(first)
            .zip(decimal(last))
            .and_then(|(first, last)| Self::new(first, last));
        ports.ok_or_else(|| RuleError::Ports { found: cut(text) })
    }
}

/// An IP protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Word")]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP; only in IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMPv6; only in IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    const NAMES: [(&'static str, Self); 5] = [
        ("tcp", Self::TCP),
        ("udp", Self::UDP),
        ("sctp", Self::SCTP),
        ("icmp", Self::ICMP),
        ("icmpv6", Self::ICMPV6),
    ];

    pub(crate) fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    pub(crate) fn family(self) -> Option<Family> {
        match self {
            Self::ICMP => Some(Family::V4),
            Self::ICMPV6 => Some(Family::V6),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, protocol)| protocol == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let named = Self::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, protocol)| *protocol);
        let number = || {
            decimal(text)
                .and_then(|number| u8::try_from(number).ok())
                .map(Self)
        };
        named
            .or_else(number)
            .ok_or_else(|| RuleError::Protocol { found: cut(text) })
    }
}

/// Which of both IPs something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl TryFrom<String> for Cidr {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

/// `443` or `"443"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(i64),
    Text(String),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl TryFrom<Word> for Ports {
    type Error = RuleError;

    fn try_from(word: Word) -> Result<Self, RuleError> {
        word.to_string().parse()
    }
}

impl TryFrom<Word> for Protocol {
    type Error = RuleError;

    fn try_from(word: Word) -> Result<Self, RuleError> {
        word.to_string().parse()
    }
}

/// Digits and nothing else: no sign, no space.
fn decimal(text: &str) -> Option<u16> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Address and mask as the words that the program finds in a packet: network byte order, IPv4 first.
pub(crate) fn words(cidr: Option<Cidr>) -> ([u32; 4], [u32; 4]) {
    let words = |address: IpAddr| match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => {
            let bytes = address.octets();
            [0, 4, 8, 12].map(|i| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]))
        }
    };
    cidr.map_or(([0; 4], [0; 4]), |cidr| (words(cidr.address), words(cidr.mask())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_network_survives_print_and_parse(bits: u128, prefix in 0..=128u8, four: bool) {
            let (address, width) = match four {
                true => (IpAddr::V4((bits as u32).into()), 32),
                false => (IpAddr::V6(bits.into()), 128),
            };
            let cidr = Cidr { address, prefix: prefix % (width + 1) }.truncated();
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,24}") {
            let _ = (text.parse::<Cidr>(), text.parse::<Ports>(), text.parse::<Protocol>());
        }
    }
}
