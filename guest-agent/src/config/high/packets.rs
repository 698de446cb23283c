//! The packet rules of `[device.xdp]`, parsed.

use super::{Fault, low};
use core::ops::RangeInclusive;
use std::net::IpAddr;
use toml::Spanned;

use low::{Action, XdpMode};

/// The packet program of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xdp {
    /// How it is attached; never anything else instead.
    pub mode: XdpMode,
    /// What happens to a packet that no rule matches.
    pub default: Action,
    /// In order; the first that matches decides.
    pub rules: Vec<Rule>,
}

/// One rule: what is `None` matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What happens to a packet that matches.
    pub action: Action,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source addresses.
    pub source: Option<Network>,
    /// Destination addresses.
    pub destination: Option<Network>,
    /// Source ports.
    pub source_ports: Option<RangeInclusive<u16>>,
    /// Destination ports.
    pub destination_ports: Option<RangeInclusive<u16>>,
}

/// An address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address; its bits after the prefix are zero.
    pub address: IpAddr,
    /// Bits that count.
    pub prefix: u8,
}

const PROTOCOLS: [(&str, u8); 4] = [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58)];

impl Xdp {
    pub(super) fn from_low(xdp: &low::Xdp) -> Result<Self, Fault> {
        Ok(Self {
            mode: xdp.mode,
            default: xdp.default,
            rules: xdp.rule.iter().map(Rule::from_low).collect::<Result<_, _>>()?,
        })
    }
}

impl Rule {
    fn from_low(rule: &low::Rule) -> Result<Self, Fault> {
        let rule = Self {
            action: rule.action,
            protocol: parsed(
                &rule.protocol,
                protocol,
                "\"tcp\", \"udp\", \"icmp\" or \"icmpv6\"",
            )?,
            source: parsed(&rule.source, network, NETWORK)?,
            destination: parsed(&rule.destination, network, NETWORK)?,
            source_ports: ports(rule, &rule.source_ports)?,
            destination_ports: ports(rule, &rule.destination_ports)?,
        };
        Ok(rule)
    }
}

const NETWORK: &str = "an address, or one with a prefix and zeros after it: \"10.0.0.0/8\", \"fd00::/8\"";

fn parsed<T>(
    text: &Option<Spanned<String>>,
    parse: impl Fn(&str) -> Option<T>,
    wanted: &str,
) -> Result<Option<T>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || {
        Fault::at(
            text.span(),
            format!("`{}` found, wanted {wanted}", text.get_ref()),
        )
    };
    parse(text.get_ref()).map(Some).ok_or_else(wrong)
}

fn protocol(text: &str) -> Option<u8> {
    PROTOCOLS
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, number)| *number)
}

fn ports(rule: &low::Rule, text: &Option<Spanned<String>>) -> Result<Option<RangeInclusive<u16>>, Fault> {
    let named = rule.protocol.as_ref().map(|name| name.get_ref().as_str());
    match text {
        Some(text) if !matches!(named, Some("tcp" | "udp")) => Err(Fault::at(
            text.span(),
            "ports are matched only where `protocol` is \"tcp\" or \"udp\"",
        )),
        _ => parsed(text, port_range, "a port \"53\" or a range \"1024-65535\""),
    }
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |digits: &str| {
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

fn network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let (bits, value) = match address {
        IpAddr::V4(v4) => (32, u128::from(v4.to_bits()) << 96),
        IpAddr::V6(v6) => (128, v6.to_bits()),
    };
    let prefix = prefix.unwrap_or(bits);
    let after = if prefix == 0 {
        value
    } else {
        value & (u128::MAX.checked_shr(prefix.into()).unwrap_or(0))
    };
    (prefix <= bits && after == 0).then_some(Network { address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_a_prefix_with_zeros_after_it() {
        for good in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "10.77.1.1",
            "10.77.1.1/32",
            "fd00::/8",
            "::/0",
            "::1",
            "::1/128",
        ] {
            assert!(network(good).is_some(), "{good} is refused");
        }
        for bad in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "fd00::1/8",
            "::/129",
            "",
            "/8",
            "10.0.0/8",
        ] {
            assert!(network(bad).is_none(), "{bad} is taken");
        }
    }

    #[test]
    fn a_port_range_is_written_low_to_high() {
        assert_eq!(port_range("53"), Some(53..=53));
        assert_eq!(port_range("1024-65535"), Some(1024..=65535));
        for bad in ["", "-", "5-4", "65536", "+5", "1-2-3"] {
            assert_eq!(port_range(bad), None, "{bad} is taken");
        }
    }
}
