//! What rules do with packets: each case runs in the kernel by BPF_PROG_TEST_RUN and touches one counter.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::ErrorKind;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use support::{Frame, TCP, UDP};
use xdp_offload::{Action, Counter, Error, Loaded, Offload, Rules, Stats};

/// Rules, and frames with what becomes of them and by which reason.
struct Case {
    name: &'static str,
    rules: &'static str,
    packets: Vec<(&'static str, Frame, Action, Reason)>,
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

use Action::{Drop, Pass};
use Reason::{Default, Malformed, NonIp, Rule, TooDeep, Truncated};

fn main() {
    let arguments = Arguments::from_args();
    let refused = match Offload::load(&Rules::all(Pass)) {
        Err(Error::Load { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            Some(source.to_string())
        }
        _ => None,
    };
    let trial = |name: &str, test: Box<dyn FnOnce() -> Result<(), Failed> + Send>| {
        let refused = refused.clone();
        Trial::ignorable_test(name, move || match refused {
            Some(why) => Ok(Completion::ignored_with(format!(
                "the kernel lets us load no program: {why}"
            ))),
            None => test().map(|()| Completion::Completed),
        })
    };
    let mut trials: Vec<Trial> = cases()
        .into_iter()
        .map(|case| trial(case.name, Box::new(move || check(&case))))
        .collect();
    trials.push(trial(
        "the_most_rules_are_verified_and_the_last_one_decides",
        Box::new(most_rules),
    ));
    trials.push(trial(
        "no_length_of_a_frame_upsets_the_program",
        Box::new(every_length),
    ));
    libtest_mimic::run(&arguments, trials).exit();
}

fn load(rules: &str) -> Loaded {
    Offload::load(&toml::from_str(rules).unwrap()).unwrap()
}

fn check(case: &Case) -> Result<(), Failed> {
    let loaded = load(case.rules);
    let mut expected = loaded.stats().unwrap();
    for (what, frame, action, reason) in &case.packets {
        let found = loaded.verdict(frame.bytes()).unwrap();
        count(&mut expected, frame.bytes().len() as u64, *action, *reason);
        let stats = loaded.stats().unwrap();
        if found != *action || stats != expected {
            return Err(
                format!("{what}: {found}, wanted {action} by {reason:?}; counters: {stats:#?}").into(),
            );
        }
    }
    Ok(())
}

/// What one packet adds to the counters.
fn count(stats: &mut Stats, bytes: u64, action: Action, reason: Reason) {
    let (passed, dropped) = (u64::from(action == Pass), u64::from(action == Drop));
    let one = Counter {
        passed_packets: passed,
        passed_bytes: passed * bytes,
        dropped_packets: dropped,
        dropped_bytes: dropped * bytes,
    };
    stats.passed_packets += one.passed_packets;
    stats.passed_bytes += one.passed_bytes;
    stats.dropped_packets += one.dropped_packets;
    stats.dropped_bytes += one.dropped_bytes;
    *match reason {
        Rule(rule) => &mut stats.rules[rule],
        Default => &mut stats.default,
        NonIp => &mut stats.non_ip,
        Truncated => &mut stats.truncated,
        Malformed => &mut stats.malformed,
        TooDeep => &mut stats.too_deep,
    } += one;
}

fn cases() -> Vec<Case> {
    let v4 = |source, destination| {
        Frame::ethernet(0x0800)
            .ipv4(source, destination, UDP, 5, 0)
            .ports(1, 2)
    };
    let v6 = |source, destination| Frame::ethernet(0x86dd).ipv6(source, destination, UDP).ports(1, 2);
    let db8 = 0x2001_0db8_u128 << 96;
    vec![
        Case {
            name: "without_rules_the_default_decides_for_ip_and_non_ip_for_the_rest",
            rules: "default = 'drop'",
            packets: vec![
                ("IPv4", Frame::v4(TCP).ports(1, 2), Drop, Default),
                ("IPv6", Frame::v6(TCP).ports(1, 2), Drop, Default),
                ("ARP", Frame::ethernet(0x0806).raw(&[0; 28]), Pass, NonIp),
                ("an 802.3 length", Frame::ethernet(46).raw(&[0; 46]), Pass, NonIp),
                ("only a header", Frame::ethernet(0x0806), Pass, NonIp),
            ],
        },
        Case {
            name: "frames_that_are_not_ip_can_be_dropped",
            rules: "default = 'pass'\nnon_ip = 'drop'",
            packets: vec![
                ("ARP", Frame::ethernet(0x0806).raw(&[0; 28]), Drop, NonIp),
                (
                    "ARP in a VLAN",
                    Frame::ethernet(0x8100).vlan(0x0806).raw(&[0; 28]),
                    Drop,
                    NonIp,
                ),
                ("IPv4", Frame::v4(TCP).ports(1, 2), Pass, Default),
            ],
        },
        Case {
            name: "the_first_rule_that_matches_decides",
            rules: "default = 'drop'
                [[rule]]
                action = 'drop'
                protocol = 'tcp'
                destination_ports = 22
                [[rule]]
                action = 'pass'
                protocol = 'tcp'
                [[rule]]
                action = 'drop'
                protocol = 'tcp'
                destination_ports = 80",
            packets: vec![
                ("ssh", Frame::v4(TCP).ports(1024, 22), Drop, Rule(0)),
                ("http", Frame::v4(TCP).ports(1024, 80), Pass, Rule(1)),
                ("http over IPv6", Frame::v6(TCP).ports(1024, 80), Pass, Rule(1)),
                ("UDP to 22", Frame::v4(UDP).ports(1024, 22), Drop, Default),
            ],
        },
        Case {
            name: "a_port_range_holds_its_ends_and_nothing_beyond",
            rules: "default = 'drop'
                [[rule]]
                action = 'pass'
                protocol = 'udp'
                source_ports = '1000-2000'
                destination_ports = '0-65535'
                [[rule]]
                action = 'pass'
                source_ports = 0
                destination_ports = 65535",
            packets: vec![
                ("one below", Frame::v4(UDP).ports(999, 5), Drop, Default),
                ("first", Frame::v4(UDP).ports(1000, 0), Pass, Rule(0)),
                ("last", Frame::v4(UDP).ports(2000, 65535), Pass, Rule(0)),
                ("one above", Frame::v4(UDP).ports(2001, 5), Drop, Default),
                (
                    "the ends of all ports",
                    Frame::v4(TCP).ports(0, 65535),
                    Pass,
                    Rule(1),
                ),
                (
                    "SCTP has ports too",
                    Frame::v6(132).ports(0, 65535),
                    Pass,
                    Rule(1),
                ),
                ("GRE has none", Frame::v4(47).ports(0, 65535), Drop, Default),
                ("nor has ICMP", Frame::v4(1).ports(0, 65535), Drop, Default),
            ],
        },
        Case {
            name: "ipv4_networks_match_by_their_prefix",
            rules: "default = 'drop'
                [[rule]]
                action = 'pass'
                source = '10.0.0.0/8'
                destination = '192.0.2.128/25'
                [[rule]]
                action = 'pass'
                source = '172.16.0.1'
                [[rule]]
                action = 'pass'
                destination = '224.0.0.0/4'",
            packets: vec![
                (
                    "inside both",
                    v4([10, 255, 0, 1], [192, 0, 2, 128]),
                    Pass,
                    Rule(0),
                ),
                (
                    "source outside",
                    v4([11, 0, 0, 0], [192, 0, 2, 128]),
                    Drop,
                    Default,
                ),
                (
                    "destination outside",
                    v4([10, 0, 0, 0], [192, 0, 2, 127]),
                    Drop,
                    Default,
                ),
                ("one address", v4([172, 16, 0, 1], [1, 1, 1, 1]), Pass, Rule(1)),
                ("its neighbour", v4([172, 16, 0, 0], [1, 1, 1, 1]), Drop, Default),
                ("multicast", v4([8, 8, 8, 8], [239, 255, 255, 255]), Pass, Rule(2)),
                (
                    "IPv6 with the same first word",
                    v6(u128::from(172u8) << 120 | 0x10_0001 << 96, 0),
                    Drop,
                    Default,
                ),
            ],
        },
        Case {
            name: "every_ipv4_address_is_not_every_address",
            rules: "default = 'drop'
                [[rule]]
                action = 'pass'
                source = '0.0.0.0/0'
                [[rule]]
                action = 'pass'
                destination = '2001:db8::/33'",
            packets: vec![
                ("IPv4", v4([255; 4], [0; 4]), Pass, Rule(0)),
                ("IPv6 within", v6(0, db8 | 0x7fff << 80), Pass, Rule(1)),
                ("IPv6 one bit beyond", v6(0, db8 | 0x8000 << 80), Drop, Default),
            ],
        },
        Case {
            name: "ipv6_networks_match_in_every_word",
            rules: "default = 'drop'
                [[rule]]
                action = 'pass'
                source = '2001:db8:1:2:3:4:5:0/112'
                destination = '2001:db8::2'",
            packets: vec![
                (
                    "inside",
                    v6(db8 | 0x0001_0002_0003_0004_0005_ffff, db8 | 2),
                    Pass,
                    Rule(0),
                ),
                (
                    "another second word",
                    v6(db8 | 0x0001_0003_0003_0004_0005_ffff, db8 | 2),
                    Drop,
                    Default,
                ),
                (
                    "another third word",
                    v6(db8 | 0x0001_0002_0003_0005_0005_ffff, db8 | 2),
                    Drop,
                    Default,
                ),
                (
                    "another last word",
                    v6(db8 | 0x0001_0002_0003_0004_0006_ffff, db8 | 2),
                    Drop,
                    Default,
                ),
                (
                    "another destination",
                    v6(db8 | 0x0001_0002_0003_0004_0005_ffff, db8 | 3),
                    Drop,
                    Default,
                ),
            ],
        },
        Case {
            name: "icmp_types_are_matched_in_their_own_family_only",
            rules: "default = 'drop'
                [[rule]]
                action = 'pass'
                protocol = 'icmp'
                icmp_type = 8
                [[rule]]
                action = 'pass'
                protocol = 'icmpv6'
                icmp_type = 135
                [[rule]]
                action = 'pass'
                destination_ports = 8",
            packets: vec![
                ("echo request", Frame::v4(1).raw(&[8, 0, 0, 0]), Pass, Rule(0)),
                ("echo reply", Frame::v4(1).raw(&[0, 0, 0, 0]), Drop, Default),
                ("a type alone", Frame::v4(1).raw(&[8]), Pass, Rule(0)),
                (
                    "neighbour solicitation",
                    Frame::v6(58).raw(&[135, 0, 0, 0]),
                    Pass,
                    Rule(1),
                ),
                ("ICMP in IPv6", Frame::v6(1).raw(&[8, 0, 0, 0]), Drop, Default),
                (
                    "ICMPv6 in IPv4",
                    Frame::v4(58).raw(&[135, 0, 0, 0]),
                    Drop,
                    Default,
                ),
                ("no type", Frame::v4(1), Drop, Truncated),
            ],
        },
        Case {
            name: "ip_options_are_passed_over",
            rules: WEB,
            packets: (5..=15)
                .map(|words| {
                    let header = Frame::ethernet(0x0800).ipv4([10, 1, 2, 3], [192, 0, 2, 1], TCP, words, 0);
                    ("header of 5 to 15 words", header.ports(9, 80), Pass, Rule(0))
                })
                .chain([(
                    "nothing behind its options, and nothing is cut",
                    Frame::ethernet(0x0800).ipv4([10, 1, 2, 3], [192, 0, 2, 1], 59, 6, 0),
                    Drop,
                    Default,
                )])
                .collect(),
        },
        Case {
            name: "a_later_fragment_follows_rules_that_pass_and_not_those_that_drop",
            rules: "default = 'drop'
                [[rule]]
                action = 'drop'
                protocol = 'tcp'
                destination_ports = 22
                [[rule]]
                action = 'pass'
                protocol = 'tcp'
                source = '10.0.0.0/8'
                destination_ports = 80
                [[rule]]
                action = 'pass'
                protocol = 'udp'
                source = '2001:db8::/32'
                destination_ports = 53",
            packets: vec![
                (
                    "first, more to come",
                    fragment(0x2000).ports(9, 80),
                    Pass,
                    Rule(1),
                ),
                ("first, to ssh", fragment(0x2000).ports(9, 22), Drop, Rule(0)),
                ("do not fragment", fragment(0x4000).ports(9, 80), Pass, Rule(1)),
                (
                    "later, whatever its bytes",
                    fragment(0x2001).ports(9, 22),
                    Pass,
                    Rule(1),
                ),
                ("last, of one byte", fragment(0x00b9).raw(&[0]), Pass, Rule(1)),
                (
                    "later, from elsewhere",
                    Frame::ethernet(0x0800)
                        .ipv4([11, 0, 0, 1], [192, 0, 2, 1], TCP, 5, 1)
                        .ports(9, 80),
                    Drop,
                    Default,
                ),
                (
                    "IPv6 first",
                    Frame::v6(44).fragment_header(UDP, 1).ports(9, 53),
                    Pass,
                    Rule(2),
                ),
                (
                    "IPv6 first, another port",
                    Frame::v6(44).fragment_header(UDP, 1).ports(9, 54),
                    Drop,
                    Default,
                ),
                (
                    "IPv6 later",
                    Frame::v6(44).fragment_header(UDP, 8).ports(9, 54),
                    Pass,
                    Rule(2),
                ),
                (
                    "IPv6 later, of TCP",
                    Frame::v6(44).fragment_header(TCP, 8).ports(9, 53),
                    Drop,
                    Default,
                ),
                (
                    "IPv6 atomic",
                    Frame::v6(44).fragment_header(UDP, 0).ports(9, 53),
                    Pass,
                    Rule(2),
                ),
                (
                    "IPv6 first, cut before its ports",
                    Frame::v6(44).fragment_header(UDP, 1).raw(&[0; 3]),
                    Drop,
                    Truncated,
                ),
            ],
        },
        Case {
            name: "up_to_two_vlan_tags_are_looked_through_and_three_are_too_many",
            rules: WEB,
            packets: vec![
                (
                    "one",
                    in_vlan(Frame::ethernet(0x8100).vlan(0x0800)),
                    Pass,
                    Rule(0),
                ),
                (
                    "service and customer",
                    in_vlan(Frame::ethernet(0x88a8).vlan(0x8100).vlan(0x0800)),
                    Pass,
                    Rule(0),
                ),
                (
                    "twice the same",
                    in_vlan(Frame::ethernet(0x8100).vlan(0x8100).vlan(0x0800)),
                    Pass,
                    Rule(0),
                ),
                (
                    "three",
                    in_vlan(Frame::ethernet(0x88a8).vlan(0x8100).vlan(0x8100).vlan(0x0800)),
                    Drop,
                    TooDeep,
                ),
                (
                    "cut in the tag",
                    Frame::ethernet(0x8100).raw(&[0, 7, 8]),
                    Drop,
                    Truncated,
                ),
                (
                    "cut in the second tag",
                    Frame::ethernet(0x88a8).vlan(0x8100).raw(&[0]),
                    Drop,
                    Truncated,
                ),
            ],
        },
        Case {
            name: "ipv6_extension_headers_are_followed_to_the_ports",
            rules: WEB,
            packets: vec![
                (
                    "hop by hop",
                    Frame::v6(0).extension(TCP, 0).ports(9, 80),
                    Pass,
                    Rule(0),
                ),
                (
                    "a long one",
                    Frame::v6(60).extension(TCP, 255).ports(9, 80),
                    Pass,
                    Rule(0),
                ),
                (
                    "routing, then destination",
                    Frame::v6(43).extension(60, 2).extension(TCP, 1).ports(9, 80),
                    Pass,
                    Rule(0),
                ),
                // An authentication header counts in 32-bit words, two less: 4 is 24 bytes.
                (
                    "authentication",
                    Frame::v6(51).raw(&[TCP, 4]).raw(&[0; 22]).ports(9, 80),
                    Pass,
                    Rule(0),
                ),
                ("eight", chain(8).ports(9, 80), Pass, Rule(0)),
                ("eight, another port", chain(8).ports(9, 81), Drop, Default),
                ("nine", chain(9).ports(9, 80), Drop, TooDeep),
                (
                    "cut in the header",
                    Frame::v6(0).raw(&[TCP, 0, 0]),
                    Drop,
                    Truncated,
                ),
                (
                    "length beyond the end",
                    Frame::v6(0).raw(&[TCP, 9, 0, 0, 0, 0, 0, 0]),
                    Drop,
                    Truncated,
                ),
                ("no next header", Frame::v6(59).raw(&[0; 8]), Drop, Default),
                ("encrypted", Frame::v6(50).ports(9, 80), Drop, Default),
            ],
        },
        Case {
            name: "what_is_cut_short_is_dropped_even_where_the_default_is_to_pass",
            rules: "default = 'pass'",
            packets: vec![
                ("no IPv4 header", Frame::ethernet(0x0800), Drop, Truncated),
                ("19 of its bytes", Frame::v4(TCP).cut(14 + 19), Drop, Truncated),
                (
                    "options cut",
                    Frame::ethernet(0x0800)
                        .ipv4([1; 4], [2; 4], TCP, 15, 0)
                        .cut(14 + 59),
                    Drop,
                    Truncated,
                ),
                ("no ports", Frame::v4(TCP), Drop, Truncated),
                (
                    "three bytes of ports",
                    Frame::v4(UDP).raw(&[0; 3]),
                    Drop,
                    Truncated,
                ),
                ("ports and no more", Frame::v4(UDP).raw(&[0; 4]), Pass, Default),
                ("no IPv6 header", Frame::ethernet(0x86dd), Drop, Truncated),
                ("39 of its bytes", Frame::v6(TCP).cut(14 + 39), Drop, Truncated),
            ],
        },
        Case {
            name: "what_contradicts_itself_is_dropped_even_where_the_default_is_to_pass",
            rules: "default = 'pass'",
            packets: vec![
                (
                    "version 6 in an IPv4 frame",
                    Frame::ethernet(0x0800).raw(&[0x65; 40]),
                    Drop,
                    Malformed,
                ),
                (
                    "a header of 4 words",
                    Frame::ethernet(0x0800)
                        .ipv4([1; 4], [2; 4], TCP, 4, 0)
                        .ports(1, 2),
                    Drop,
                    Malformed,
                ),
                (
                    "version 4 in an IPv6 frame",
                    Frame::ethernet(0x86dd).raw(&[0x45; 60]),
                    Drop,
                    Malformed,
                ),
            ],
        },
    ]
}

const WEB: &str = "default = 'drop'
    [[rule]]
    action = 'pass'
    protocol = 'tcp'
    destination_ports = 80";

fn fragment(flags_and_offset: u16) -> Frame {
    Frame::ethernet(0x0800).ipv4([10, 1, 2, 3], [192, 0, 2, 1], TCP, 5, flags_and_offset)
}

fn in_vlan(outer: Frame) -> Frame {
    outer.ipv4([10, 1, 2, 3], [192, 0, 2, 1], TCP, 5, 0).ports(9, 80)
}

/// This many destination options, then TCP.
fn chain(headers: usize) -> Frame {
    let last = (1..headers).fold(Frame::v6(60), |frame, _| frame.extension(60, 0));
    last.extension(TCP, 0)
}

fn most_rules() -> Result<(), Failed> {
    let rule = |i: u16| {
        let (source, destination) = if i.is_multiple_of(2) {
            ("10.0.0.0/8", "192.0.2.0/24")
        } else {
            ("2001:db8::/32", "::/0")
        };
        format!(
            "[[rule]]\naction = 'pass'\nprotocol = 'udp'\nsource = '{source}'\ndestination = '{destination}'\n\
             source_ports = '1-9'\ndestination_ports = {}\n",
            1000 + i
        )
    };
    let text: String = (0..64).map(rule).collect();
    let loaded = load(&format!("default = 'drop'\n{text}"));
    for i in 0..64u16 {
        let frame = if i.is_multiple_of(2) {
            Frame::v4(UDP)
        } else {
            Frame::v6(UDP)
        };
        assert_eq!(
            loaded.verdict(frame.clone().ports(5, 1000 + i).bytes()).unwrap(),
            Pass,
            "rule {i}"
        );
        assert_eq!(
            loaded.verdict(frame.ports(10, 1000 + i).bytes()).unwrap(),
            Drop,
            "rule {i}"
        );
    }
    let stats = loaded.stats().unwrap();
    assert!(stats.rules.len() == 64 && stats.rules.iter().all(|rule| rule.passed_packets == 1));
    assert_eq!(
        (
            stats.passed_packets,
            stats.dropped_packets,
            stats.default.dropped_packets
        ),
        (64, 64, 64)
    );
    let (empty, last) = (load("default = 'pass'"), Frame::v6(UDP).ports(5, 1063));
    let [none, all] = [&empty, &loaded].map(|program| program.time(last.bytes(), 10_000).unwrap());
    eprintln!(
        "one packet: no rule {} ns, the last of 64 rules {} ns",
        none.as_nanos(),
        all.as_nanos()
    );
    Ok(())
}

fn every_length() -> Result<(), Failed> {
    let loaded = load(WEB);
    let frames = [
        Frame::ethernet(0x88a8)
            .vlan(0x8100)
            .vlan(0x0800)
            .ipv4([10, 1, 2, 3], [192, 0, 2, 1], TCP, 15, 0)
            .ports(9, 80),
        chain(8).ports(9, 80),
        Frame::v6(51)
            .raw(&[44, 255])
            .raw(&[0; 1026])
            .fragment_header(TCP, 0)
            .ports(9, 80),
    ];
    for frame in frames {
        let length = frame.bytes().len();
        assert_eq!(loaded.verdict(frame.bytes()).unwrap(), Pass);
        // The kernel takes no frame shorter than an Ethernet header; the ports are the first 4 of the last 20 bytes.
        for cut in 14..length - 16 {
            assert_eq!(
                loaded.verdict(frame.clone().cut(cut).bytes()).unwrap(),
                Drop,
                "cut at {cut}"
            );
        }
    }
    Ok(())
}
