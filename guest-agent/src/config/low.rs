//! What was written: the file's keys and types, with defaults. Every struct refuses unknown keys.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Spanned;
use xdp_offload::{Action, Cidr, Mode, Ports, Protocol};

mod measurements;
pub use measurements::{DeviceMode, Expected, Measurements, Unlisted};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// How the host and the TSM are reached.
    #[serde(default)]
    pub channel: Channel,
    /// Functions of the virtual machine itself.
    pub platform: Platform,
    /// What time it is.
    #[serde(default)]
    pub time: Time,
    /// Certificate authorities that a device may name.
    #[serde(default)]
    pub root: Vec<Root>,
    /// The devices that may earn their way in.
    #[serde(default)]
    pub device: Vec<Device>,
}

/// `[channel]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// The serial port behind which the host's courier listens.
    pub port: PathBuf,
    /// The file with the 32-byte key that this guest shares with the TSM.
    pub key: PathBuf,
    /// Milliseconds within which the host must answer one request.
    pub timeout_ms: u64,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            port: "/dev/virtio-ports/org.tidelock.courier.0".into(),
            key: "/sys/firmware/qemu_fw_cfg/by_name/opt/tidelock/vm.key/raw".into(),
            timeout_ms: 10_000,
        }
    }
}

/// `[platform]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Addresses of functions that are bound as usual; the last part may be `*`. Never a TDI.
    pub functions: Vec<Spanned<String>>,
}

/// `[time]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// Which clock is asked.
    pub source: Clock,
    /// An RFC 3339 date or date and time before which it cannot be.
    pub not_before: Option<Spanned<toml::value::Datetime>>,
    /// A file that keeps the latest time seen: the clock must not go back behind it.
    pub latest_seen: Option<PathBuf>,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            source: Clock::System,
            not_before: None,
            latest_seen: None,
        }
    }
}

/// Where the time is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The kernel's clock.
    System,
    /// The real-time clock chip, `/sys/class/rtc/rtc0`.
    Rtc,
}

/// `[[root]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The name that devices refer to.
    pub name: Spanned<String>,
    /// SHA-384 of the root certificate (DER), 96 hexadecimal digits.
    pub sha384: Spanned<String>,
    /// Files with revocation lists (DER) of this root and of the CAs below it.
    #[serde(default)]
    pub crls: Vec<PathBuf>,
}

/// `[[device]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// A name for people.
    pub name: Spanned<String>,
    /// Where the guest sees it: `0000:01:00.1`.
    pub bdf: Spanned<String>,
    /// Names of the roots that its certificate chain may end in.
    pub roots: Vec<Spanned<String>>,
    /// Whether each CA of its chain must have a revocation list.
    pub crl: Option<Spanned<Crl>>,
    /// The PCI driver it is for.
    pub driver: String,
    /// What it may do before its verdict.
    #[serde(default)]
    pub until_verdict: Untrusted,
    /// What happens when it is refused, or its verdict is void.
    #[serde(default)]
    pub on_refusal: Refused,
    /// Whether the guest is of no use without it.
    #[serde(default = "yes")]
    pub required: bool,
    /// Floors of the negotiated protocol.
    #[serde(default)]
    pub spdm: Spdm,
    /// What the device's certificate must say, and which of the device's interfaces it must be.
    #[serde(default)]
    pub identity: Identity,
    /// Reference values.
    pub measurements: Measurements,
    /// Lock flags.
    #[serde(default)]
    pub lock: Lock,
    /// Rules on the interface report.
    #[serde(default)]
    pub mmio: Mmio,
    /// The packet program of its network interface.
    pub xdp: Option<Xdp>,
}

fn yes() -> bool {
    true
}

/// Whether revocation lists are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crl {
    /// Lists that are given are held against the chain; a CA without one is taken.
    WhenPresent,
    /// Each CA of the chain must have a list that is of now.
    Required,
}

/// What an untrusted device may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Untrusted {
    /// Work, with every transfer copied through shared bounce buffers.
    Bounce,
    /// Nothing: no driver.
    #[default]
    Unbound,
}

/// What happens to a refused device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// It works through bounce buffers.
    Bounce,
    /// It has no driver.
    #[default]
    Unbound,
    /// The guest powers off.
    PowerOff,
}

/// `[device.spdm]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spdm {
    /// The oldest version that may have been negotiated: `"1.2"` where it is not given.
    pub min_version: Option<Spanned<String>>,
    /// What the device may sign with: `["ecdsa-p384"]` where it is not given.
    pub signatures: Option<Names>,
    /// What it may sign with instead, `"ml-dsa-65"`: nothing where it is not given.
    pub post_quantum_signatures: Option<Names>,
    /// Groups that the session's secret may come from: `["secp384r1"]` where it is not given.
    pub groups: Option<Names>,
    /// What it may come from instead, `"ml-kem-768"`: nothing where it is not given.
    pub kems: Option<Names>,
}

/// Names, and where they stand.
pub type Names = Spanned<Vec<Spanned<String>>>;

/// `[device.identity]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// PCI ids, `"1b36:7ee0"`.
    pub pci: Option<Spanned<String>>,
    /// `"manufacturer:product:serial"`.
    pub device_info: Option<String>,
    /// Whether the certificate must be the hardware's own.
    pub hardware: bool,
    /// TDISP FUNCTION_ID of the interface: its requester id on the device's side in bits 15:0.
    pub function_id: Option<u32>,
}

/// `[device.lock]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lock {
    /// Flags that the lock must have; the host is asked for them.
    pub require: Vec<Spanned<String>>,
    /// Flags that it must not have.
    pub forbid: Vec<Spanned<String>>,
}

impl Default for Lock {
    fn default() -> Self {
        let named = |name: &str| Spanned::new(0..0, name.to_owned());
        Self {
            require: vec![named("no-fw-update")],
            forbid: vec![named("bind-p2p")],
        }
    }
}

/// `[device.mmio]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mmio {
    /// The most ranges that the report may list.
    pub max_ranges: usize,
    /// BARs that may hold memory the TEE does not protect, or that may become such.
    pub non_tee_bars: Vec<u8>,
    /// BARs that the report may leave out.
    pub unreported_bars: Vec<u8>,
    /// Whether the function may use address translation (ATS) or page requests (PRS).
    pub translation: bool,
    /// Whether the function may tag its accesses with a PASID.
    pub pasid: bool,
}

impl Default for Mmio {
    fn default() -> Self {
        Self {
            max_ranges: 16,
            non_tee_bars: Vec::new(),
            unreported_bars: Vec::new(),
            translation: false,
            pasid: false,
        }
    }
}

/// `[device.xdp]`; the rules are written as xdp-offload reads them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xdp {
    /// How the program is attached; never anything else instead.
    pub mode: Mode,
    /// What happens to an IP packet that no rule matches.
    #[serde(default = "pass")]
    pub default: Action,
    /// What happens to what is not IP, such as ARP.
    #[serde(default = "pass")]
    pub non_ip: Action,
    /// The rules, the first that matches decides.
    #[serde(default)]
    pub rule: Vec<Spanned<Conditions>>,
}

fn pass() -> Action {
    Action::Pass
}

/// `[[device.xdp.rule]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// What happens to a packet for which all conditions hold.
    pub action: Action,
    /// `"tcp"`, `"udp"`, `"sctp"`, `"icmp"`, `"icmpv6"` or a number.
    pub protocol: Option<Protocol>,
    /// Where it comes from, `"10.0.0.0/8"` or `"fd00::/8"`.
    pub source: Option<Cidr>,
    /// Where it goes.
    pub destination: Option<Cidr>,
    /// Source port or ports, `53` or `"1024-65535"`.
    #[serde(alias = "source_port")]
    pub source_ports: Option<Ports>,
    /// Destination port or ports.
    #[serde(alias = "destination_port")]
    pub destination_ports: Option<Ports>,
    /// Type of an ICMP or ICMPv6 message.
    pub icmp_type: Option<u8>,
}

/// Reference values by measurement index.
pub type ExpectedByIndex = BTreeMap<u8, Spanned<Expected>>;
