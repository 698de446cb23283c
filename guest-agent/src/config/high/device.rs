//! One `[[device]]`, checked.

use super::{Fault, SHA384_SIZE, Xdp, low, sha384, spdm};
use low::{DeviceMode, Refused, Unlisted, Untrusted};
use sriov::Bdf;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tdisp::evidence::{CrlRule, Floor, IdentityRule, PciIdentity, Root};
use toml::Spanned;

/// What the guest wants of one device.
#[derive(Debug, Clone)]
pub struct Device {
    /// A name for people.
    pub name: String,
    /// Where the guest sees it.
    pub bdf: Bdf,
    /// The roots that its certificate chain may end in; at least one.
    pub roots: Vec<Root>,
    /// Whether each CA of its chain must have a revocation list.
    pub crl: CrlRule,
    /// Files with the revocation lists of those roots and of the CAs below them.
    pub crls: Vec<PathBuf>,
    /// The PCI driver it is for.
    pub driver: String,
    /// What it may do before its verdict.
    pub until_verdict: Untrusted,
    /// What happens when it is refused.
    pub on_refusal: Refused,
    /// Whether the guest is of no use without it.
    pub required: bool,
    /// The least that may have been negotiated.
    pub floor: Floor,
    /// What its certificate must say.
    pub identity: IdentityRule,
    /// Which of the device's interfaces it must be (TDISP FUNCTION_ID); any where it is not given.
    pub function_id: Option<u32>,
    /// Reference values by measurement index.
    pub measurements: BTreeMap<u8, Expected>,
    /// What an index that is not listed means.
    pub unlisted: Unlisted,
    /// Lock flags.
    pub lock: Lock,
    /// Rules on the interface report.
    pub mmio: Mmio,
    /// The packet program of its network interface.
    pub xdp: Option<Xdp>,
}

/// What one measurement must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// One of these SHA-384 digests.
    Digest(Vec<[u8; SHA384_SIZE]>),
    /// A security version number of at least this.
    SvnMin(u64),
    /// This device mode.
    Mode(DeviceMode),
    /// Whatever it is.
    Any,
}

/// Lock flags (TDISP 1.0, LOCK_INTERFACE_REQUEST), as bit masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Bits that must be set; the host is asked for them.
    pub require: u16,
    /// Bits that must not be set.
    pub forbid: u16,
}

/// The lock flags' names in the file, by bit.
pub const LOCK_FLAGS: [&str; 5] = [
    "no-fw-update",
    "system-cache-line-size",
    "lock-msix",
    "bind-p2p",
    "all-request-redirect",
];

/// Rules on the interface report; see [`low::Mmio`].
pub type Mmio = low::Mmio;

impl Device {
    pub(super) fn from_low(device: &low::Device, known: &BTreeMap<String, KnownRoot>) -> Result<Self, Fault> {
        let wrong_bdf = || {
            format!(
                "`{}` is no address: wanted one like \"0000:01:00.1\"",
                device.bdf.get_ref()
            )
        };
        let (roots, crls) = roots(device, known)?;
        Ok(Self {
            name: device.name.get_ref().clone(),
            bdf: device
                .bdf
                .get_ref()
                .parse()
                .map_err(|_| Fault::at(device.bdf.span(), wrong_bdf()))?,
            roots,
            crl: crl_rule(device, &crls)?,
            crls,
            driver: device.driver.clone(),
            until_verdict: device.until_verdict,
            on_refusal: device.on_refusal,
            required: device.required,
            floor: spdm::floor(&device.spdm)?,
            identity: identity(&device.identity)?,
            function_id: device.identity.function_id,
            measurements: measurements(device)?,
            unlisted: device.measurements.unlisted,
            lock: lock(&device.lock)?,
            mmio: device.mmio.clone(),
            xdp: device.xdp.as_ref().map(Xdp::from_low).transpose()?,
        })
    }
}

/// A `[[root]]`, checked.
#[derive(Debug, Clone)]
pub(super) struct KnownRoot {
    pub(super) root: Root,
    pub(super) crls: Vec<PathBuf>,
}

/// The roots of a device, and the files with their revocation lists, each once.
fn roots(
    device: &low::Device,
    known: &BTreeMap<String, KnownRoot>,
) -> Result<(Vec<Root>, Vec<PathBuf>), Fault> {
    if device.roots.is_empty() {
        return Err(Fault::at(
            device.name.span(),
            "`roots` is empty: a chain that ends anywhere proves nothing; name a [[root]]",
        ));
    }
    let find = |name: &Spanned<String>| {
        let names = known.keys().cloned().collect::<Vec<_>>().join("`, `");
        let unknown = || {
            Fault::at(
                name.span(),
                format!("no [[root]] is named `{}`; known: `{names}`", name.get_ref()),
            )
        };
        known.get(name.get_ref()).ok_or_else(unknown)
    };
    let found = device.roots.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let crls: BTreeSet<_> = found.iter().flat_map(|root| root.crls.iter().cloned()).collect();
    let roots = found.into_iter().map(|root| root.root.clone()).collect();
    Ok((roots, crls.into_iter().collect()))
}

fn crl_rule(device: &low::Device, crls: &[PathBuf]) -> Result<CrlRule, Fault> {
    match &device.crl {
        Some(rule) if *rule.get_ref() == low::Crl::Required && crls.is_empty() => Err(Fault::at(
            rule.span(),
            "lists are required, and none of the device's roots names any: give their files as `crls` in [[root]]",
        )),
        Some(rule) if *rule.get_ref() == low::Crl::Required => Ok(CrlRule::Required),
        _ => Ok(CrlRule::WhenPresent),
    }
}

fn identity(written: &low::Identity) -> Result<IdentityRule, Fault> {
    let ids = |text: &Spanned<String>| {
        let number = |digits: &str| {
            (digits.len() == 4)
                .then(|| u16::from_str_radix(digits, 16).ok())
                .flatten()
        };
        let ids = text.get_ref().split_once(':').and_then(|(vendor, device)| {
            Some(PciIdentity {
                vendor: number(vendor)?,
                device: number(device)?,
            })
        });
        ids.ok_or_else(|| {
            Fault::at(
                text.span(),
                format!("`{}` found, wanted PCI ids like \"1b36:7ee0\"", text.get_ref()),
            )
        })
    };
    Ok(IdentityRule {
        pci: written.pci.as_ref().map(ids).transpose()?,
        device_info: written.device_info.clone(),
        hardware_identity: written.hardware,
    })
}

fn measurements(device: &low::Device) -> Result<BTreeMap<u8, Expected>, Fault> {
    let decides = |expected: &low::Expected| !matches!(expected, low::Expected::Any);
    if !device
        .measurements
        .iter()
        .any(|(_, expected)| decides(expected.get_ref()))
    {
        return Err(Fault::at(
            device.name.span(),
            "no entry of [device.measurements] decides anything: any firmware would be trusted; give at least one reference value",
        ));
    }
    device
        .measurements
        .iter()
        .map(|(index, written)| Ok((index, expected(written)?)))
        .collect()
}

fn expected(written: &Spanned<low::Expected>) -> Result<Expected, Fault> {
    Ok(match written.get_ref() {
        low::Expected::Digest(digests) if digests.is_empty() => {
            return Err(Fault::at(
                written.span(),
                "an empty list allows nothing: remove the index or give a digest",
            ));
        }
        low::Expected::Digest(digests) => {
            let digests = digests.iter().map(|text| sha384(text)).collect::<Result<_, _>>();
            Expected::Digest(digests.map_err(|message| Fault::at(written.span(), message))?)
        }
        low::Expected::SvnMin(svn) => Expected::SvnMin(*svn),
        low::Expected::Mode(mode) => Expected::Mode(*mode),
        low::Expected::Any => Expected::Any,
    })
}

fn lock(written: &low::Lock) -> Result<Lock, Fault> {
    let mask = |names: &[Spanned<String>]| {
        names.iter().try_fold(0u16, |mask, name| {
            let unknown = || {
                let known = LOCK_FLAGS.join("`, `");
                Fault::at(
                    name.span(),
                    format!(
                        "unknown lock flag `{}`, expected one of `{known}`",
                        name.get_ref()
                    ),
                )
            };
            let bit = LOCK_FLAGS
                .iter()
                .position(|flag| flag == name.get_ref())
                .ok_or_else(unknown)?;
            Ok(mask | 1 << bit)
        })
    };
    let lock = Lock {
        require: mask(&written.require)?,
        forbid: mask(&written.forbid)?,
    };
    match written.forbid.iter().find(|name| {
        written
            .require
            .iter()
            .any(|other| other.get_ref() == name.get_ref())
    }) {
        Some(both) => Err(Fault::at(
            both.span(),
            format!("`{}` is both required and forbidden", both.get_ref()),
        )),
        None => Ok(lock),
    }
}
