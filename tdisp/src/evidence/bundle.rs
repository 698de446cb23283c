//! What the host brought.

use super::Refusal;
use crate::{
    crypto::{Digest, HashAlg, Provider, digest, same},
    relay::{ObjectKind, guest::TdiInfo},
};
use alloc::{boxed::Box, vec::Vec};

/// A TDI's evidence, as it came. Anyone can build one, and nothing in it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// The SPDM certificate chain object.
    pub certificates: Vec<u8>,
    /// VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS with its signature.
    pub measurements: Vec<u8>,
    /// The interface report.
    pub report: Vec<u8>,
}

impl Bundle {
    /// Whether each object is the one whose digest the TSM states.
    pub(super) fn check_digests(&self, info: &TdiInfo, provider: &dyn Provider) -> Result<(), Refusal> {
        let objects = [
            (
                ObjectKind::CERTIFICATES,
                &self.certificates,
                &info.certificates_digest,
            ),
            (
                ObjectKind::MEASUREMENTS,
                &self.measurements,
                &info.measurements_digest,
            ),
            (ObjectKind::REPORT, &self.report, &info.report_digest),
        ];
        objects
            .into_iter()
            .try_for_each(|(object, bytes, vouched)| check(object, bytes, vouched, provider))
    }
}

fn check(
    object: ObjectKind,
    bytes: &[u8],
    vouched: &[u8; 48],
    provider: &dyn Provider,
) -> Result<(), Refusal> {
    // The digest of nothing would match a TSM that has nothing to state.
    if bytes.is_empty() {
        return Err(Refusal::Missing { object });
    }
    let found = digest(provider, HashAlg::Sha384, bytes);
    if same(found.as_ref(), vouched) {
        return Ok(());
    }
    let wanted = Box::new(Digest::new(vouched).unwrap_or(found));
    let found = Box::new(found);
    Err(Refusal::Digest {
        object,
        found,
        wanted,
    })
}
