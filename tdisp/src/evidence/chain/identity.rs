//! What the leaf says about the device, and what a rule may want of it.

use super::{Error, Fault, Model, Root, broken, oid};
use crate::{
    crypto::{
        Digest, HashAlg, Provider, der, digest,
        x509::path::{self, SPDM_EXTENSION},
    },
    wire::{DecodeError, Reader},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate, X509Extension};

/// Whom a chain names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The leaf's subject.
    pub subject: String,
    /// The leaf's serial number, hexadecimal.
    pub serial: String,
    /// SHA-384 of the leaf's DER.
    pub leaf: Digest,
    /// The pinned root that vouches for it.
    pub root: Root,
    /// PCI-SIG's alternative name, if there is one.
    pub pci: Option<PciIdentity>,
    /// DMTF's alternative name `manufacturer:product:serial`, if there is one.
    pub device_info: Option<String>,
    /// Whether DMTF's extension calls this the certificate of the hardware, or one of the CAs above it.
    pub hardware_identity: bool,
    /// Whether it is this certificate that is called so, and not a CA above it.
    pub hardware_leaf: bool,
    /// Whether DMTF's extension calls this a certificate that firmware can change (id-DMTF-mutable-certificate).
    pub mutable: bool,
    /// Whether each CA of the chain had a revocation list.
    pub revocation_checked: bool,
}

/// A PCI function's ids as a certificate states them (PCIe §6.31.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PciIdentity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
}

impl core::fmt::Display for PciIdentity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// What a leaf must say; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityRule {
    /// The PCI ids that its alternative name must state.
    pub pci: Option<PciIdentity>,
    /// The `manufacturer:product:serial` that its alternative name must state.
    pub device_info: Option<String>,
    /// Whether DMTF's extension must call it, or a CA above it, the certificate of the hardware.
    pub hardware_identity: bool,
}

/// The leaf does not say what the rule wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the device's certificate states {what} {found}, wanted {wanted}; either the rule or the device is another one"
)]
pub struct Mismatch {
    /// What is stated.
    pub what: &'static str,
    /// What it states.
    pub found: String,
    /// What the rule wants.
    pub wanted: String,
}

impl IdentityRule {
    pub(super) fn check(&self, identity: &Identity) -> Result<(), Mismatch> {
        if self.pci.is_some() && self.pci != identity.pci {
            return Err(mismatch("the PCI ids", &identity.pci, &self.pci));
        }
        if self.device_info.is_some() && self.device_info != identity.device_info {
            return Err(mismatch("the device", &identity.device_info, &self.device_info));
        }
        if self.hardware_identity && !identity.hardware_identity {
            let wanted = Some(format!("hardware identity ({})", oid::HARDWARE_IDENTITY));
            return Err(mismatch("its kind as", &None, &wanted));
        }
        Ok(())
    }
}

fn mismatch<T: ToString>(what: &'static str, found: &Option<T>, wanted: &Option<T>) -> Mismatch {
    let text = |value: &Option<T>| value.as_ref().map_or("nothing".to_string(), T::to_string);
    Mismatch {
        what,
        found: text(found),
        wanted: text(wanted),
    }
}

/// Reads what the leaf says, and whether the CAs between it and the root name the hardware. Names that are there but malformed
/// are refused, not overlooked.
pub(super) fn read(
    path: &[X509Certificate<'_>],
    root: &Root,
    provider: &dyn Provider,
) -> Result<Identity, Error> {
    let last = path.len() - 1;
    let leaf = &path[last];
    let mut identity = Identity {
        subject: super::printable(leaf.subject()),
        serial: leaf
            .raw_serial()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        leaf: digest(provider, HashAlg::Sha384, leaf.as_raw()),
        root: root.clone(),
        pci: None,
        device_info: None,
        hardware_identity: false,
        hardware_leaf: false,
        mutable: false,
        revocation_checked: false,
    };
    for (position, certificate) in path.iter().enumerate().skip(1) {
        let kinds = kinds_of(certificate).map_err(|fault| broken(position, certificate, fault))?;
        identity.hardware_identity |= kinds.contains(&HARDWARE_IDENTITY_DER);
    }
    let faulty = |fault| broken(last, leaf, fault);
    let kinds = kinds_of(leaf).map_err(faulty)?;
    identity.hardware_leaf = kinds.contains(&HARDWARE_IDENTITY_DER);
    identity.mutable = kinds.contains(&MUTABLE_DER);
    identity.names(leaf).map_err(faulty)?;
    Ok(identity)
}

/// What DMTF's extension calls a certificate.
fn kinds_of<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a [u8]>, Fault> {
    let mut extensions = certificate.extensions().iter();
    let extension = extensions.find(|extension| extension.oid.to_id_string() == SPDM_EXTENSION);
    let Some(extension) = extension else {
        return Ok(Vec::new());
    };
    kinds(extension.value).map_err(|_| malformed(extension))
}

impl Identity {
    /// Whether the chain is one of this model: an alias is not the hardware's certificate, and a device's certificate is
    /// none that firmware can change.
    pub(super) fn check_model(&self, model: Model) -> Result<(), Fault> {
        let found = match model {
            Model::Alias if self.hardware_leaf => "it is called the certificate of the hardware",
            Model::Device if self.mutable => "it is called a certificate that firmware can change",
            _ => return Ok(()),
        };
        Err(Fault::Model { found, model })
    }

    fn names(&mut self, leaf: &X509Certificate<'_>) -> Result<(), Fault> {
        for extension in leaf.extensions() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
                let read = names.general_names.iter().try_for_each(|name| self.name(name));
                read.map_err(|_| malformed(extension))?;
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &GeneralName<'_>) -> Result<(), DecodeError> {
        let GeneralName::OtherName(kind, content) = name else {
            return Ok(());
        };
        match kind.to_id_string().as_str() {
            oid::DEVICE_INFO => once(&mut self.device_info, text(content)?.to_string()),
            oid::PCI_NAME => once(&mut self.pci, pci(text(content)?)?),
            _ => Ok(()),
        }
    }
}

fn malformed(extension: &X509Extension<'_>) -> Fault {
    let oid = extension.oid.to_id_string();
    path::Fault::Extension { oid }.into()
}

/// Two alternative names of one kind leave open which one is meant.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(invalid("alternative name", "one of its kind")),
    }
}

/// [0] EXPLICIT UTF8String, without control characters.
fn text(content: &[u8]) -> Result<&str, DecodeError> {
    let what = "alternative name";
    let explicit = Reader::all(content, |r| der::element(r, der::CONTEXT_0, what))?;
    let bytes = Reader::all(explicit, |r| der::element(r, der::UTF8_STRING, what))?;
    let text = core::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.chars().any(char::is_control));
    text.ok_or(invalid(what, "UTF-8 without control characters"))
}

/// `Vendor=1b36:Device=7ee0:…`, in any order, hexadecimal.
fn pci(text: &str) -> Result<PciIdentity, DecodeError> {
    let field = |name: &str| {
        let mut values = text
            .split(':')
            .filter_map(|field| field.split_once('='))
            .filter(|(key, _)| *key == name);
        let (value, None) = (values.next()?.1, values.next()) else {
            return None;
        };
        u16::from_str_radix(value, 16).ok()
    };
    let (vendor, device) = (field("Vendor"), field("Device"));
    let wanted = "Vendor=hhhh:Device=hhhh, each once";
    vendor
        .zip(device)
        .map(|(vendor, device)| PciIdentity { vendor, device })
        .ok_or(invalid("PCI name", wanted))
}

/// The object ids in DMTF's extension, SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, … }, as DER content.
fn kinds(extension: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let what = "SPDM certificate kinds";
    let list = Reader::all(extension, |r| der::element(r, der::SEQUENCE, what))?;
    let mut kinds = Vec::new();
    Reader::all(list, |r| {
        while r.remaining() > 0 {
            let entry = der::element(r, der::SEQUENCE, what)?;
            kinds.push(der::element(&mut Reader::new(entry), der::OBJECT_ID, what)?);
        }
        Ok(kinds)
    })
}

fn invalid(what: &'static str, wanted: &'static str) -> DecodeError {
    DecodeError::Invalid {
        what,
        found: 0,
        wanted,
    }
}

/// 1.3.6.1.4.1.412.274.2
const HARDWARE_IDENTITY_DER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0x1c, 0x82, 0x12, 2];
/// 1.3.6.1.4.1.412.274.5
const MUTABLE_DER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0x1c, 0x82, 0x12, 5];
