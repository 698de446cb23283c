//! Rules as people write them. Pure: text in, checked types out.
//!
//! ```toml
//! default = "drop"                  # for IP that no rule matches
//! non_ip = "pass"                   # for ARP and the like; "pass" if not said
//!
//! [[rule]]                          # the first rule whose conditions all hold decides
//! action = "pass"
//! source = "10.0.0.0/8"
//! protocol = "tcp"                  # tcp, udp, sctp, icmp, icmpv6, or a number
//! destination_ports = "8000-8080"   # or one port: 443
//!
//! [[rule]]
//! action = "pass"
//! protocol = "icmp"
//! icmp_type = 8
//! ```
//! IPv6 finds its neighbours by ICMPv6: with `default = "drop"`, pass types 133 to 136 or all of `icmpv6`.

use std::fmt;

use serde::Deserialize;

use crate::field::{Cidr, Family, Ports, Protocol, words};
use crate::skel::types;

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It goes on to the network stack.
    Pass,
    /// It is gone.
    Drop,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        })
    }
}

/// An ordered list of at most [`RULES_MAX`] rules, and what happens to what none of them matches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenRules")]
pub struct Rules {
    default: Action,
    non_ip: Action,
    rules: Vec<Rule>,
}

/// How many rules a program holds.
pub const RULES_MAX: usize = types::reason::REASON_DEFAULT.0 as usize;

impl Rules {
    /// Rules for IP packets, tried in order; `default` for IP packets that none matches; `non_ip` for the rest.
    pub fn new(default: Action, non_ip: Action, rules: Vec<Rule>) -> Result<Self, RuleError> {
        if rules.len() > RULES_MAX {
            return Err(RuleError::TooMany { found: rules.len() });
        }
        Ok(Self {
            default,
            non_ip,
            rules,
        })
    }

    /// Everything has the same fate.
    pub fn all(action: Action) -> Self {
        Self {
            default: action,
            non_ip: action,
            rules: Vec::new(),
        }
    }

    /// What happens to an IP packet that no rule matches.
    pub fn default_action(&self) -> Action {
        self.default
    }

    /// What happens to a frame that is not IP.
    pub fn non_ip(&self) -> Action {
        self.non_ip
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// Conditions that must all hold, and what then happens. Made by [`Rule::new`] or read from TOML.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Conditions")]
pub struct Rule {
    written: Conditions,
    family: Option<Family>,
}

/// A rule as it is written. What is not said is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// What happens if all conditions hold.
    pub action: Action,
    /// Where the packet comes from.
    #[serde(default)]
    pub source: Option<Cidr>,
    /// Where it goes.
    #[serde(default)]
    pub destination: Option<Cidr>,
    /// The protocol above IP, after IPv6 extension headers.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Source ports; TCP, UDP and SCTP have some.
    #[serde(default)]
    pub source_ports: Option<Ports>,
    /// Destination ports.
    #[serde(default)]
    pub destination_ports: Option<Ports>,
    /// Type of an ICMP or ICMPv6 message.
    #[serde(default)]
    pub icmp_type: Option<u8>,
}

impl Conditions {
    /// No condition: `action` for all IP.
    pub fn any(action: Action) -> Self {
        Self {
            action,
            source: None,
            destination: None,
            protocol: None,
            source_ports: None,
            destination_ports: None,
            icmp_type: None,
        }
    }
}

/// Why a rule cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// More rules than a program holds.
    #[error(
        "{found} rules are written, and a program holds {RULES_MAX}: merge neighbouring networks or ports"
    )]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// One condition asks for IPv4 and another for IPv6.
    #[error("the rule asks for IPv4 and for IPv6 at once, so that nothing can match: write two rules")]
    MixedFamilies,
    /// Ports are asked of a protocol that has none.
    #[error(
        "the rule asks for ports of {found}, which has none: use tcp, udp or sctp, or leave the ports out"
    )]
    NoPorts {
        /// The protocol.
        found: Protocol,
    },
    /// An ICMP type is asked of something else.
    #[error("the rule asks for an ICMP type without protocol = \"icmp\" or \"icmpv6\": add it")]
    NoIcmp,
    /// Text that is no network.
    #[error(
        "`{found}` is no network: write an address, or an address and its prefix length as in 10.0.0.0/8"
    )]
    Network {
        /// What was written, cut at 64 characters.
        found: String,
    },
    /// A network's address has bits set beyond its prefix.
    #[error("`{found}` has address bits beyond its prefix: did you mean {meant}?")]
    HostBits {
        /// What was written.
        found: String,
        /// The network that holds it.
        meant: Cidr,
    },
    /// Text that is no port and no range.
    #[error("`{found}` is no range of ports: write 443 or \"8000-8080\", the smaller first, 0 to 65535")]
    Ports {
        /// What was written, cut at 64 characters.
        found: String,
    },
    /// Text that is no protocol.
    #[error("`{found}` is no protocol: write tcp, udp, sctp, icmp, icmpv6, or a number from 0 to 255")]
    Protocol {
        /// What was written, cut at 64 characters.
        found: String,
    },
}

impl Rule {
    /// Checks that the conditions can hold together.
    pub fn new(written: Conditions) -> Result<Self, RuleError> {
        let asked = [
            written.source.map(Cidr::family),
            written.destination.map(Cidr::family),
            written.protocol.and_then(Protocol::family),
        ];
        let family = asked.into_iter().flatten().next();
        if asked.into_iter().flatten().any(|other| Some(other) != family) {
            return Err(RuleError::MixedFamilies);
        }
        let ports = written.source_ports.or(written.destination_ports).is_some();
        match written.protocol {
            Some(found) if ports && !found.has_ports() => return Err(RuleError::NoPorts { found }),
            Some(Protocol::ICMP | Protocol::ICMPV6) => {}
            _ if written.icmp_type.is_some() => return Err(RuleError::NoIcmp),
            _ => {}
        }
        Ok(Self { written, family })
    }

    /// What was written.
    pub fn conditions(&self) -> &Conditions {
        &self.written
    }

    /// The rule as the BPF program reads it.
    pub(crate) fn entry(&self) -> types::rule {
        let Conditions {
            action,
            source,
            destination,
            protocol,
            ..
        } = self.written;
        let (layer4, source_ports, destination_ports) = self.layer4();
        let (source, source_mask) = words(source);
        let (destination, destination_mask) = words(destination);
        types::rule {
            family: match self.family {
                Some(Family::V6) => 6,
                _ => 4,
            },
            family_mask: mask(self.family.is_some()),
            protocol: protocol.map_or(0, |protocol| protocol.0),
            protocol_mask: mask(protocol.is_some()),
            layer4,
            action: action.entry().0 as u8,
            source_first: source_ports.first(),
            source_last: source_ports.last(),
            destination_first: destination_ports.first(),
            destination_last: destination_ports.last(),
            reserved: 0,
            source,
            source_mask,
            destination,
            destination_mask,
        }
    }

    fn layer4(&self) -> (u8, Ports, Ports) {
        let Conditions {
            source_ports,
            destination_ports,
            icmp_type,
            ..
        } = self.written;
        if let Some(kind) = icmp_type {
            return (
                types::layer4::LAYER4_ICMP_TYPE.0 as u8,
                Ports::ALL,
                Ports::one(kind.into()),
            );
        }
        let asked = source_ports.or(destination_ports).is_some();
        let layer4 = if asked {
            types::layer4::LAYER4_PORTS.0 as u8
        } else {
            0
        };
        (
            layer4,
            source_ports.unwrap_or(Ports::ALL),
            destination_ports.unwrap_or(Ports::ALL),
        )
    }
}

impl Action {
    pub(crate) fn entry(self) -> types::action {
        match self {
            Self::Pass => types::action::ACTION_PASS,
            Self::Drop => types::action::ACTION_DROP,
        }
    }
}

/// The file before its rules are counted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRules {
    default: Action,
    #[serde(default = "pass")]
    non_ip: Action,
    #[serde(default)]
    rule: Vec<Rule>,
}

fn pass() -> Action {
    Action::Pass
}

impl TryFrom<WrittenRules> for Rules {
    type Error = RuleError;

    fn try_from(written: WrittenRules) -> Result<Self, RuleError> {
        Self::new(written.default, written.non_ip, written.rule)
    }
}

impl TryFrom<Conditions> for Rule {
    type Error = RuleError;

    fn try_from(written: Conditions) -> Result<Self, RuleError> {
        Self::new(written)
    }
}

fn mask(asked: bool) -> u8 {
    if asked { u8::MAX } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(text: &str) -> Result<Rules, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
    }

    #[test]
    fn rules_read_as_they_are_written() {
        let text = r#"
            default = "drop"
            [[rule]]
            action = "pass"
            source = "10.0.0.0/8"
            protocol = "tcp"
            destination_ports = "8000-8080"
            [[rule]]
            action = "drop"
            destination = "2001:db8::1"
            protocol = 47
            [[rule]]
            action = "pass"
            protocol = "icmp"
            icmp_type = 8
        "#;
        let rules = rules(text).unwrap();
        assert_eq!(
            (rules.default_action(), rules.non_ip()),
            (Action::Drop, Action::Pass)
        );
        let [web, gre, ping] = rules.rules() else {
            panic!("three rules")
        };
        assert_eq!(web.conditions().source.unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(web.conditions().destination_ports, Ports::new(8000, 8080));
        let entry = web.entry();
        assert_eq!(
            (entry.family, entry.family_mask, entry.protocol, entry.layer4),
            (4, 255, 6, 1)
        );
        assert_eq!(entry.source[0].to_ne_bytes(), [10, 0, 0, 0]);
        assert_eq!(entry.source_mask[0].to_ne_bytes(), [255, 0, 0, 0]);
        assert_eq!((entry.source_first, entry.source_last), (0, 65535));
        assert_eq!(
            (gre.entry().family, gre.entry().protocol, gre.entry().layer4),
            (6, 47, 0)
        );
        assert_eq!(gre.entry().destination_mask, [u32::MAX; 4]);
        let entry = ping.entry();
        assert_eq!(
            (entry.layer4, entry.destination_first, entry.destination_last),
            (2, 8, 8)
        );
    }

    #[test]
    fn what_is_misspelt_or_makes_no_sense_is_refused_with_the_cure() {
        let with = |rule: &str| format!("default = \"drop\"\n[[rule]]\naction = \"pass\"\n{rule}\n");
        for (text, cure) in [
            ("", "default"),
            ("default = \"allow\"", "pass"),
            ("default = \"drop\"\nrules = []", "unknown field `rules`"),
            (&with("port = 22"), "unknown field `port`"),
            (&with("source = \"10.0.0.1/8\""), "did you mean 10.0.0.0/8?"),
            (
                &with("source = \"2001:db8::1/32\""),
                "did you mean 2001:db8::/32?",
            ),
            (&with("source = \"10.0.0.0/33\""), "no network"),
            (&with("source = \"10.0.0.0/+8\""), "no network"),
            (&with("source = \"10.0.0/8\""), "no network"),
            (
                &with("source = \"10.0.0.0/8\"\ndestination = \"::/0\""),
                "write two rules",
            ),
            (&with("source = \"::/0\"\nprotocol = \"icmp\""), "write two rules"),
            (&with("protocol = \"icmp\"\nsource_ports = 1"), "which has none"),
            (&with("protocol = 47\ndestination_ports = 1"), "which has none"),
            (&with("protocol = \"tcp\"\nicmp_type = 8"), "add it"),
            (&with("icmp_type = 8"), "add it"),
            (&with("protocol = 256"), "0 to 255"),
            (&with("protocol = \"TCP\""), "no protocol"),
            (&with("source_ports = 65536"), "0 to 65535"),
            (&with("source_ports = -1"), "0 to 65535"),
            (&with("source_ports = \"2-1\""), "the smaller first"),
            (&with("source_ports = \"1-\""), "no range"),
        ] {
            let error = rules(text).unwrap_err();
            assert!(error.contains(cure), "{text}\nsays: {error}\nwanted: {cure}");
        }
    }

    #[test]
    fn one_rule_more_than_the_program_holds_is_refused() {
        let rule = Rule::new(Conditions::any(Action::Pass)).unwrap();
        assert!(Rules::new(Action::Drop, Action::Pass, vec![rule.clone(); RULES_MAX]).is_ok());
        let error = Rules::new(Action::Drop, Action::Pass, vec![rule; RULES_MAX + 1]).unwrap_err();
        assert_eq!(error, RuleError::TooMany { found: RULES_MAX + 1 });
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,64}") {
            let _ = rules(&text);
        }
    }
}
