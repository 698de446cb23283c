//! Random rules and random frames: the program in the kernel and a second reading of the same rules, written apart
//! from it and in the plainest way, must agree on every verdict and on its reason.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::ErrorKind;
use std::net::IpAddr;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::Frame;
use xdp_offload::{Action, Cidr, Conditions, Error, Offload, Ports, Protocol, Rule, Rules, Stats};

fn main() {
    let arguments = Arguments::from_args();
    let trial =
        Trial::ignorable_test(
            "the_program_and_a_plain_reading_of_the_rules_agree",
            || match Offload::load(&Rules::all(Action::Pass)) {
                Err(Error::Load { source, .. }) if source.kind() == ErrorKind::PermissionDenied => Ok(
                    Completion::ignored_with(format!("the kernel lets us load no program: {source}")),
                ),
                _ => agree().map(|()| Completion::Completed),
            },
        );
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn agree() -> Result<(), Failed> {
    let mut runner = TestRunner::new(Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    });
    let frames = proptest::collection::vec(frame(), 200);
    let found = runner.run(&(rules(), frames), |(rules, frames)| {
        let loaded = Offload::load(&rules).unwrap();
        for frame in frames {
            let before = loaded.stats().unwrap();
            let verdict = loaded.verdict(frame.bytes()).unwrap();
            let after = loaded.stats().unwrap();
            prop_assert_eq!(
                (verdict, reason(&before, &after)),
                expected(&rules, frame.bytes()),
                "{:02x?}",
                frame.bytes()
            );
        }
        Ok(())
    });
    found.map_err(|error| error.to_string().into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Rule(usize),
    Default,
    NonIp,
    Truncated,
    Malformed,
    TooDeep,
}

/// The one counter that moved.
fn reason(before: &Stats, after: &Stats) -> Reason {
    let rules = before.rules.iter().zip(&after.rules);
    if let Some(rule) = rules.clone().position(|(before, after)| before != after) {
        return Reason::Rule(rule);
    }
    let others = [
        (before.default, after.default, Reason::Default),
        (before.non_ip, after.non_ip, Reason::NonIp),
        (before.truncated, after.truncated, Reason::Truncated),
        (before.malformed, after.malformed, Reason::Malformed),
        (before.too_deep, after.too_deep, Reason::TooDeep),
    ];
    others
        .into_iter()
        .find(|(before, after, _)| before != after)
        .unwrap()
        .2
}

// ---- the second reading ----

struct Facts {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    later_fragment: bool,
    /// Source port (none for ICMP), destination port or ICMP type.
    layer4: Option<(u16, u16)>,
}

fn expected(rules: &Rules, frame: &[u8]) -> (Action, Reason) {
    let facts = match read(frame) {
        Ok(facts) => facts,
        Err(Reason::NonIp) => return (rules.non_ip(), Reason::NonIp),
        Err(reason) => return (Action::Drop, reason),
    };
    let matching = rules
        .rules()
        .iter()
        .position(|rule| matches(rule.conditions(), &facts));
    match matching {
        Some(place) => (rules.rules()[place].conditions().action, Reason::Rule(place)),
        None => (rules.default_action(), Reason::Default),
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Reason> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Reason::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn read(frame: &[u8]) -> Result<Facts, Reason> {
    let mut rest = frame;
    let mut kind = number(&take(&mut rest, 14)?[12..]);
    for tag in 0.. {
        match kind {
            0x8100 | 0x88a8 if tag == 2 => return Err(Reason::TooDeep),
            0x8100 | 0x88a8 => kind = number(&take(&mut rest, 4)?[2..]),
            _ => break,
        }
    }
    let mut facts = match kind {
        0x0800 => read_ipv4(&mut rest)?,
        0x86dd => read_ipv6(&mut rest)?,
        _ => return Err(Reason::NonIp),
    };
    let icmp = if facts.source.is_ipv4() { 1 } else { 58 };
    if [6, 17, 132].contains(&facts.protocol) && !facts.later_fragment {
        let ports = take(&mut rest, 4)?;
        facts.layer4 = Some((number(ports), number(&ports[2..])));
    } else if facts.protocol == icmp && !facts.later_fragment {
        facts.layer4 = Some((0, take(&mut rest, 1)?[0].into()));
    }
    Ok(facts)
}

fn read_ipv4(rest: &mut &[u8]) -> Result<Facts, Reason> {
    let header = take(rest, 20)?;
    let length = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return Err(Reason::Malformed);
    }
    take(rest, length - 20)?;
    let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&header[at..at + 4]).unwrap());
    Ok(Facts {
        source: address(12),
        destination: address(16),
        protocol: header[9],
        later_fragment: number(&header[6..]) & 0x1fff != 0,
        layer4: None,
    })
}

fn read_ipv6(rest: &mut &[u8]) -> Result<Facts, Reason> {
    let header = take(rest, 40)?;
    if header[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&header[at..at + 16]).unwrap());
    let (source, destination) = (address(8), address(24));
    let mut facts = Facts {
        source,
        destination,
        protocol: header[6],
        later_fragment: false,
        layer4: None,
    };
    for followed in 0.. {
        if facts.later_fragment || ![0, 43, 44, 51, 60, 135, 139, 140].contains(&facts.protocol) {
            break;
        }
        if followed == 8 {
            return Err(Reason::TooDeep);
        }
        let start = take(rest, 8)?;
        let units = usize::from(start[1]);
        let length = match facts.protocol {
            44 => 8,
            51 => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        take(rest, length - 8)?;
        facts.later_fragment = facts.protocol == 44 && number(&start[2..]) >> 3 != 0;
        facts.protocol = start[0];
    }
    Ok(facts)
}

fn matches(rule: &Conditions, facts: &Facts) -> bool {
    let inside = |network: Option<Cidr>, address| network.is_none_or(|network| holds(network, address));
    inside(rule.source, facts.source)
        && inside(rule.destination, facts.destination)
        && rule.protocol.is_none_or(|protocol| protocol.0 == facts.protocol)
        && family_fits(rule, facts)
        && layer4_matches(rule, facts)
}

fn family_fits(rule: &Conditions, facts: &Facts) -> bool {
    match rule.protocol {
        Some(Protocol::ICMP) => facts.source.is_ipv4(),
        Some(Protocol::ICMPV6) => facts.source.is_ipv6(),
        _ => true,
    }
}

fn holds(network: Cidr, address: IpAddr) -> bool {
    let bits = |address: IpAddr| -> Vec<bool> {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
            .collect()
    };
    let (network_bits, address_bits) = (bits(network.address()), bits(address));
    let prefix = usize::from(network.prefix());
    network_bits.len() == address_bits.len() && network_bits[..prefix] == address_bits[..prefix]
}

fn layer4_matches(rule: &Conditions, facts: &Facts) -> bool {
    let has_ports = [6, 17, 132].contains(&facts.protocol);
    let asks_ports = rule.source_ports.is_some() || rule.destination_ports.is_some();
    if !asks_ports && rule.icmp_type.is_none() {
        return true;
    }
    if asks_ports && !has_ports {
        return false;
    }
    let Some((source, destination)) = facts.layer4 else {
        return rule.action == Action::Pass;
    };
    let inside =
        |ports: Option<Ports>, port| ports.is_none_or(|ports| ports.first() <= port && port <= ports.last());
    inside(rule.source_ports, source)
        && inside(rule.destination_ports, destination)
        && rule.icmp_type.is_none_or(|kind| u16::from(kind) == destination)
}

// ---- what is tried: few values, so that rules and frames often meet ----

fn ports() -> impl Strategy<Value = Option<Ports>> {
    let range = (0..4u16, 0..4u16).prop_map(|(a, b)| Ports::new(a.min(b), a.max(b)));
    prop_oneof![
        Just(None),
        range,
        Just(Some(Ports::one(80))),
        Just(Ports::new(79, 65535))
    ]
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(6),
        Just(17),
        Just(132),
        Just(1),
        Just(58),
        Just(47),
        Just(44),
        Just(59)
    ]
}

fn network() -> impl Strategy<Value = Option<Cidr>> {
    let known = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3",
        "10.1.2.2/31",
        "::/0",
        "2001:db8::/33",
    ];
    let more = [
        "2001:db8::1",
        "2001:db8::/127",
        "2001:db8:8000::/34",
        "::/1",
        "128.0.0.0/1",
    ];
    let networks: Vec<Option<Cidr>> = known.iter().chain(&more).map(|text| text.parse().ok()).collect();
    prop_oneof![Just(None), proptest::sample::select(networks)]
}

fn rule() -> impl Strategy<Value = Rule> {
    let icmp = proptest::option::of(prop_oneof![Just(8u8), Just(135)]);
    let written = (
        action(),
        network(),
        network(),
        proptest::option::of(protocol()),
        ports(),
        ports(),
        icmp,
    );
    written.prop_filter_map(
        "conditions that cannot hold together",
        |(action, source, destination, protocol, a, b, icmp)| {
            let protocol = protocol.map(Protocol);
            let any = Conditions {
                source,
                destination,
                protocol,
                ..Conditions::any(action)
            };
            let with_icmp = Conditions {
                icmp_type: icmp,
                ..any.clone()
            };
            let with_ports = Conditions {
                source_ports: a,
                destination_ports: b,
                ..any.clone()
            };
            [with_icmp, with_ports, any]
                .into_iter()
                .find_map(|written| Rule::new(written).ok())
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Pass), Just(Action::Drop)]
}

fn rules() -> impl Strategy<Value = Rules> {
    (action(), action(), proptest::collection::vec(rule(), 0..16))
        .prop_map(|(default, non_ip, rules)| Rules::new(default, non_ip, rules).unwrap())
}

fn frame() -> impl Strategy<Value = Frame> {
    let tags = prop_oneof![4 => Just(0usize), 1 => 1..4usize];
    let shape = (
        tags,
        any::<bool>(),
        protocol(),
        any::<u64>(),
        proptest::collection::vec(extension(), 0..10),
    );
    let harm = prop_oneof![3 => Just(None), 1 => (14..120usize, any::<u8>()).prop_map(Some)];
    (shape, harm, any::<bool>()).prop_map(|((tags, four, protocol, seed, extensions), harm, cut)| {
        let whole = if four {
            ipv4(tags, protocol, seed)
        } else {
            ipv6(tags, protocol, seed, &extensions)
        };
        match harm {
            Some((at, _)) if cut => whole.cut(at),
            Some((at, byte)) => whole.replaced(at, byte),
            None => whole,
        }
    })
}

/// An extension header's kind and length; most frames have few.
fn extension() -> impl Strategy<Value = Option<(u8, u8)>> {
    let kind = prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60), Just(135)];
    prop_oneof![3 => Just(None), 1 => (kind, 0..3u8).prop_map(Some)]
}

fn tagged(tags: usize, kind: u16) -> Frame {
    (0..tags).rev().fold(
        Frame::ethernet(if tags == 0 { kind } else { 0x88a8 }),
        |frame, left| frame.vlan(if left == 0 { kind } else { 0x8100 }),
    )
}

fn ipv4(tags: usize, protocol: u8, seed: u64) -> Frame {
    let address =
        |bits: u64| [[10, 1, 2, 3], [10, 1, 2, 2], [10, 2, 0, 0], [192, 0, 2, 1]][bits as usize & 3];
    let words = [5, 5, 5, 6, 15, 4][(seed >> 4) as usize % 6];
    let fragment = [0, 0, 0x4000, 0x2000, 1, 0x3fff][(seed >> 8) as usize % 6];
    tagged(tags, 0x0800)
        .ipv4(address(seed), address(seed >> 2), protocol, words, fragment)
        .layer4(seed)
}

fn ipv6(tags: usize, protocol: u8, seed: u64, extensions: &[Option<(u8, u8)>]) -> Frame {
    let db8 = 0x2001_0db8_u128 << 96;
    let address = |bits: u64| [db8 | 1, db8, db8 | 0x9000 << 80, 1 << 127][bits as usize & 3];
    let extensions: Vec<(u8, u8)> = extensions.iter().copied().flatten().collect();
    let kind_of = |place: usize| extensions.get(place).map_or(protocol, |(kind, _)| *kind);
    let start = tagged(tags, 0x86dd).ipv6(address(seed), address(seed >> 2), kind_of(0));
    let headers = extensions
        .iter()
        .enumerate()
        .fold(start, |frame, (place, (kind, length))| {
            let next = kind_of(place + 1);
            match kind {
                44 => frame.fragment_header(next, [0, 1, 8, 0xfff9][(seed >> 8) as usize % 4]),
                // In 32-bit words, less two; an odd number is no multiple of 8 bytes, and taken as it is.
                51 => frame
                    .raw(&[next, *length])
                    .raw(&vec![0; usize::from(*length) * 4 + 6]),
                _ => frame.extension(next, *length),
            }
        });
    headers.layer4(seed)
}
