//! The one function that turns a [`Bundle`] into something that can be built on.

use super::{
    Bundle, Crls, Identity, IdentityRule, Parameter, Refusal, Root,
    chain::{self, Role},
    transcript::Transcript,
};
use crate::{
    clock::UnixTime,
    crypto::{Provider, same},
    relay::{
        Rid, TdiId, Vouched,
        guest::{Binding, Negotiated, TdiInfo, TdiState},
    },
    spdm::{
        algorithms::MeasurementHash,
        msg::measurements::{Block, Kind, Operation},
    },
    tdi::report::Report,
    wire::DecodeError,
};
use alloc::vec::Vec;

/// What the guest expects: its own nonce, function, roots, time and floor.
#[derive(Debug, Clone)]
pub struct Expectation<'a> {
    /// The nonce that was drawn for this verification, and for nothing else.
    pub nonce: [u8; 32],
    /// The function that is to be judged, as the guest sees it.
    pub guest: Rid,
    /// TDISP FUNCTION_ID that the device must have been locked by, where the guest knows it.
    pub function_id: Option<u32>,
    /// The roots that this device's rule allows.
    pub roots: &'a [Root],
    /// What the certificate must say about the device.
    pub identity: IdentityRule,
    /// The time that certificates are judged by.
    pub now: UnixTime,
    /// Revocation lists of the roots and of the CAs below them, and what is to be without.
    pub crls: Crls<'a>,
    /// The least that may have been negotiated.
    pub floor: Floor,
}

/// The least that may have been negotiated: a version, and of each algorithm the bits that are allowed.
///
/// A connection signs with a classical algorithm or with a post-quantum one, and has its secret from a group or from a key
/// encapsulation mechanism. The one that was selected must be allowed; of a kind of which no bit is allowed none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// SPDM version as in message headers. Below 1.2 (`0x12`) nothing is accepted, whatever this says.
    pub version: u8,
    /// Allowed bits of BaseAsymSel.
    pub asym: u32,
    /// Allowed bits of PqcAsymSel (1.4).
    pub pqc_asym: u32,
    /// Allowed bits of BaseHashSel.
    pub hash: u32,
    /// Allowed bits of MeasurementHashAlgo.
    pub measurement_hash: u32,
    /// Allowed bits of the DHE group.
    pub dhe: u16,
    /// Allowed bits of the key encapsulation mechanism (1.4).
    pub kem: u16,
    /// Allowed bits of the AEAD cipher suite.
    pub aead: u16,
}

impl Default for Floor {
    /// SPDM 1.2, ECDSA P-384, SHA-384, measurements by SHA-384 or SHA-512, ECDHE P-384, AES-256-GCM; nothing post-quantum.
    fn default() -> Self {
        Self {
            version: 0x12,
            asym: 0x80,
            pqc_asym: 0,
            hash: 0x02,
            measurement_hash: 0x0c,
            dhe: 0x10,
            kem: 0,
            aead: 0x02,
        }
    }
}

/// Evidence that was verified. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Verified {
    identity: Identity,
    measurements: Vec<Measurement>,
    report: Report,
    lock: Lock,
    negotiated: Negotiated,
    bundle: Bundle,
}

/// One measurement that the device signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// Its index, 1 to 254; no two have the same.
    pub index: u8,
    /// What was measured.
    pub kind: Kind,
    /// Whether the value is the raw bit stream rather than its digest.
    pub raw: bool,
    /// The value.
    pub value: Vec<u8>,
}

/// The lock that a verdict is about. When any of it moves, the verdict is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// The function, as the guest sees it.
    pub guest: Rid,
    /// The TSM's name of the TDI.
    pub tdi: TdiId,
    /// The device's name of it: TDISP FUNCTION_ID.
    pub function_id: u32,
    /// The number of the lock.
    pub generation: u64,
    /// How often the report was read in it.
    pub report_count: u64,
    /// The TDISP flags that it was locked with.
    pub flags: u16,
}

impl Lock {
    /// The lock that a statement of the TSM is about.
    pub fn of(info: &TdiInfo) -> Self {
        Self {
            guest: info.guest,
            tdi: info.tdi,
            function_id: info.function_id,
            generation: info.generation,
            report_count: info.report_count,
            flags: info.lock_flags,
        }
    }
}

impl Verified {
    /// Whom the certificates name, and which root vouches for it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the device measured, in its order.
    pub fn measurements(&self) -> &[Measurement] {
        &self.measurements
    }

    /// The measurement of this index.
    pub fn measurement(&self, index: u8) -> Option<&Measurement> {
        self.measurements
            .iter()
            .find(|measurement| measurement.index == index)
    }

    /// What the interface is.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The lock that all this is about.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// What the TSM's session was negotiated with.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// The bytes that were verified.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}

/// Verifies evidence. Pure: the same arguments give the same answer.
///
/// In this order, the first failure being the answer:
/// 1. The TSM says that the function asked about is bound, LOCKED, and measured freshly.
/// 2. Each object is there and is, by SHA-384, the one that the TSM vouches for.
/// 3. The transcript is well-formed to the last byte; version and algorithms were offered, are not below the floor,
///    and are those that the TSM says.
/// 4. It asks for all measurements, signed, with the nonce drawn, from the slot that the TSM says.
/// 5. The provider has the algorithm that was selected; the certificate chain is valid ([`chain::validate`]) and not revoked,
///    and its leaf's key signed the transcript.
/// 6. Every measurement is in the DMTF's form; digests have the negotiated size.
/// 7. The interface report is well-formed ([`Report::decode`]).
pub fn verify(
    bundle: &Bundle,
    info: &Vouched<TdiInfo>,
    expected: &Expectation<'_>,
    provider: &dyn Provider,
) -> Result<Verified, Refusal> {
    check_tdi(info, expected)?;
    bundle.check_digests(info, provider)?;
    let transcript = Transcript::parse(&bundle.measurements, &expected.floor)?;
    check_negotiated(&transcript.negotiated, &info.spdm)?;
    check_exchange(&transcript, info, expected)?;
    transcript.check_verifiable(provider)?;
    let rules = chain::Rules {
        version: transcript.answer.version,
        hash: transcript.hash,
        leaf: transcript.sign,
        roots: expected.roots,
        now: expected.now,
        identity: &expected.identity,
        role: Role::Responder,
        model: transcript.model,
        crls: expected.crls,
    };
    let leaf = chain::validate(&bundle.certificates, &rules, provider)?;
    transcript.check_signature(&leaf.public_key, provider)?;
    Ok(Verified {
        identity: leaf.identity,
        measurements: measurements(&transcript)?,
        report: Report::decode(&bundle.report).map_err(Refusal::Report)?,
        lock: Lock::of(info),
        negotiated: transcript.negotiated,
        bundle: bundle.clone(),
    })
}

/// What the TSM says about the TDI.
fn check_tdi(info: &TdiInfo, expected: &Expectation<'_>) -> Result<(), Refusal> {
    if info.guest != expected.guest {
        return Err(Refusal::OtherFunction {
            found: info.guest,
            wanted: expected.guest,
        });
    }
    if info.status != Binding::BOUND {
        return Err(Refusal::NotBound {
            guest: info.guest,
            found: info.status,
        });
    }
    if info.state != TdiState::LOCKED {
        return Err(Refusal::NotLocked { found: info.state });
    }
    let wanted = expected.function_id.unwrap_or(info.function_id);
    if info.function_id != wanted {
        return Err(Refusal::Interface {
            found: info.function_id,
            wanted,
        });
    }
    if !info.measurements_valid {
        return Err(Refusal::NotMeasured);
    }
    if !info.measurements_fresh {
        return Err(Refusal::NotFresh);
    }
    match expected.nonce == [0; 32] {
        true => Err(Refusal::NonceNotDrawn),
        false => Ok(()),
    }
}

impl Floor {
    pub(super) fn check(&self, found: &Negotiated) -> Result<(), Refusal> {
        if found.version < self.version {
            return Err(Refusal::Version {
                found: found.version,
                floor: self.version,
            });
        }
        [
            Parameter::Signature,
            Parameter::Hash,
            Parameter::MeasurementHash,
            Parameter::Group,
            Parameter::Cipher,
        ]
        .into_iter()
        .try_for_each(|purpose| self.check_one(purpose.selected(found)?, found))
    }

    fn check_one(&self, what: Parameter, found: &Negotiated) -> Result<(), Refusal> {
        let (found, allowed) = (what.of(found), self.allowed(what));
        match found & allowed == found && found != 0 {
            true => Ok(()),
            false => Err(Refusal::Algorithm {
                what,
                found,
                allowed,
                instead: what.other().map_or(0, |other| self.allowed(other)),
            }),
        }
    }

    /// The allowed bits; a version and a key schedule have none.
    fn allowed(&self, what: Parameter) -> u32 {
        match what {
            Parameter::Signature => self.asym,
            Parameter::PostQuantumSignature => self.pqc_asym,
            Parameter::Hash => self.hash,
            Parameter::MeasurementHash => self.measurement_hash,
            Parameter::Group => self.dhe.into(),
            Parameter::Kem => self.kem.into(),
            Parameter::Cipher => self.aead.into(),
            Parameter::Version | Parameter::KeySchedule => 0,
        }
    }
}

/// The transcript's session is the TSM's.
fn check_negotiated(found: &Negotiated, wanted: &Negotiated) -> Result<(), Refusal> {
    Parameter::ALL
        .into_iter()
        .try_for_each(|what| match (what.of(found), what.of(wanted)) {
            (found, wanted) if found == wanted => Ok(()),
            (found, wanted) => Err(Refusal::Negotiated { what, found, wanted }),
        })
}

/// The exchange is the one that was meant.
fn check_exchange(
    transcript: &Transcript<'_>,
    info: &TdiInfo,
    expected: &Expectation<'_>,
) -> Result<(), Refusal> {
    if transcript.asked.operation != Operation::ALL {
        return Err(Refusal::NotAll {
            found: transcript.asked.operation.0,
        });
    }
    if !same(&transcript.nonce, &expected.nonce) {
        return Err(Refusal::Nonce);
    }
    let asked = transcript.asked.signed.map_or(info.slot, |signed| signed.slot);
    let slots = [asked, transcript.answer.slot()];
    if let Some(found) = slots.into_iter().find(|slot| *slot != info.slot) {
        return Err(Refusal::Slot {
            found,
            wanted: info.slot,
        });
    }
    match transcript.answer.param2 >> 4 & 3 {
        CONTENT_CHANGED => Err(Refusal::Changed),
        _ => Ok(()),
    }
}

fn measurements(transcript: &Transcript<'_>) -> Result<Vec<Measurement>, Refusal> {
    let blocks = &transcript.answer.record.blocks;
    if blocks.is_empty() {
        return Err(Refusal::NoMeasurements);
    }
    let read = |block: &Block<'_>| {
        let index = block.index;
        measurement(block, transcript.measurement_hash).map_err(|fault| Refusal::Measurement { index, fault })
    };
    blocks.iter().map(read).collect()
}

fn measurement(block: &Block<'_>, hash: MeasurementHash) -> Result<Measurement, DecodeError> {
    let found = block.dmtf()?;
    let fits = match hash {
        MeasurementHash::Hash(hash) => found.raw || found.value.len() == hash.size(),
        MeasurementHash::Raw => found.raw,
    };
    if !fits {
        let wanted = "a digest of the negotiated size, or a raw bit stream that says that it is one";
        return Err(DecodeError::Invalid {
            what: "value size",
            found: found.value.len() as u64,
            wanted,
        });
    }
    Ok(Measurement {
        index: block.index,
        kind: found.kind,
        raw: found.raw,
        value: found.value.to_vec(),
    })
}

/// MEASUREMENTS param2 5:4 (DSP0274 1.2): the responder saw a change while it measured.
const CONTENT_CHANGED: u8 = 1;

#[cfg(test)]
mod tests;
