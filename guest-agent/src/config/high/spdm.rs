//! `[device.spdm]`, checked: the floor of what may have been negotiated.
//!
//! A list that is not given is the usual one; for post-quantum algorithms that is the empty one. What is written is all that
//! is allowed.

use super::{Fault, low};
use crate::CRYPTOGRAPHY;
use low::Names;
use tdisp::crypto::{Ability, HashAlg, Provider, SignAlg};
use tdisp::evidence::{Floor, Parameter};
use tdisp::spdm::algorithms::pqc_sign_bit;

/// What a kind of algorithms is called in the file.
struct Kind {
    what: Parameter,
    key: &'static str,
    /// The names by bit; a bit without one cannot be allowed.
    names: &'static [&'static str],
}

const SIGNATURES: Kind = Kind {
    what: Parameter::Signature,
    key: "signatures",
    names: &[
        "rsassa-2048",
        "rsapss-2048",
        "rsassa-3072",
        "rsapss-3072",
        "ecdsa-p256",
        "rsassa-4096",
        "rsapss-4096",
        "ecdsa-p384",
    ],
};

const POST_QUANTUM_SIGNATURES: Kind = Kind {
    what: Parameter::PostQuantumSignature,
    key: "post_quantum_signatures",
    names: &["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"],
};

const GROUPS: Kind = Kind {
    what: Parameter::Group,
    key: "groups",
    names: &["", "", "", "secp256r1", "secp384r1"],
};

const KEMS: Kind = Kind {
    what: Parameter::Kem,
    key: "kems",
    names: &["ml-kem-512", "ml-kem-768", "ml-kem-1024"],
};

pub(super) fn floor(written: &low::Spdm) -> Result<Floor, Fault> {
    let usual = Floor::default();
    let signatures = [
        (&SIGNATURES, usual.asym),
        (&POST_QUANTUM_SIGNATURES, usual.pqc_asym),
    ];
    let exchanges = [(&GROUPS, usual.dhe.into()), (&KEMS, usual.kem.into())];
    let [asym, pqc_asym] = purpose(
        signatures,
        [&written.signatures, &written.post_quantum_signatures],
    )?;
    if let Some(list) = &written.post_quantum_signatures
        && asym == 0
        && !verifies_any(pqc_asym)
    {
        return Err(Fault::at(
            list.span(),
            "this agent verifies none of these, so that no device could be trusted: build it with the feature \
             `post-quantum`, or name one in `signatures`",
        ));
    }
    let [dhe, kem] = purpose(exchanges, [&written.groups, &written.kems])?;
    Ok(Floor {
        version: min_version(written)?,
        asym,
        pqc_asym,
        // No name has a bit beyond the sixteenth.
        dhe: dhe as u16,
        kem: kem as u16,
        ..usual
    })
}

/// Whether the agent, as it is built, verifies one of these post-quantum signatures.
fn verifies_any(bits: u32) -> bool {
    let allowed = |alg: &SignAlg| pqc_sign_bit(*alg) & bits != 0;
    let hash = |alg| Ability::Verify(alg, HashAlg::Sha384);
    let mut allowed = SignAlg::ALL.into_iter().filter(allowed);
    allowed.any(|alg| CRYPTOGRAPHY.supports(hash(alg)))
}

/// The bits that are allowed for one purpose, by classical and by post-quantum algorithms. At least one is.
fn purpose(kinds: [(&Kind, u32); 2], written: [&Option<Names>; 2]) -> Result<[u32; 2], Fault> {
    let [first, second] = kinds;
    let bits = [
        first.0.bits(written[0].as_ref(), first.1, second.0)?,
        second.0.bits(written[1].as_ref(), second.1, first.0)?,
    ];
    match (bits, written) {
        ([0, 0], [Some(list), _]) => Err(Fault::at(
            list.span(),
            format!(
                "nothing is allowed, so that no device could be trusted: name one here, or in `{}`",
                second.0.key
            ),
        )),
        _ => Ok(bits),
    }
}

impl Kind {
    fn bits(&self, written: Option<&Names>, usual: u32, other: &Self) -> Result<u32, Fault> {
        let Some(list) = written else {
            return Ok(usual);
        };
        list.get_ref().iter().try_fold(0, |bits, name| {
            let bit = self.names.iter().position(|known| known == name.get_ref());
            let unknown = || Fault::at(name.span(), self.unknown(name.get_ref(), other));
            bit.filter(|_| !name.get_ref().is_empty())
                .map(|bit| bits | 1 << bit)
                .ok_or_else(unknown)
        })
    }

    fn unknown(&self, name: &str, other: &Self) -> String {
        if !name.is_empty() && other.names.contains(&name) {
            return format!("`{name}` is a {}: it belongs in `{}`", other.what, other.key);
        }
        let known: Vec<_> = self
            .names
            .iter()
            .copied()
            .filter(|name| !name.is_empty())
            .collect();
        format!(
            "unknown {} `{name}`, expected one of `{}`",
            self.what,
            known.join("`, `")
        )
    }
}

fn min_version(written: &low::Spdm) -> Result<u8, Fault> {
    let Some(text) = &written.min_version else {
        return Ok(Floor::default().version);
    };
    match text.get_ref().as_str() {
        "1.2" => Ok(0x12),
        "1.3" => Ok(0x13),
        "1.4" => Ok(0x14),
        other => Err(Fault::at(
            text.span(),
            format!(
                "`{other}` is no floor: wanted \"1.2\", \"1.3\" or \"1.4\" (TDISP needs the secured sessions of 1.2)"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tdisp::crypto::ExchangeAlg;
    use tdisp::spdm::algorithms::{dh_bit, kem_bit, sign_bit};

    /// The name, as the algorithm's own is written.
    fn plain(name: &str) -> String {
        name.to_lowercase().replace([' ', '-'], "")
    }

    #[test]
    fn every_algorithm_that_is_known_has_its_name_at_its_bit() {
        let at = |kind: &Kind, bit: u32| plain(kind.names[bit.trailing_zeros() as usize]);
        for alg in SignAlg::ALL {
            let found = match alg.is_post_quantum() {
                true => at(&POST_QUANTUM_SIGNATURES, pqc_sign_bit(alg)),
                false => at(&SIGNATURES, sign_bit(alg)),
            };
            assert_eq!(found, plain(&alg.to_string()));
        }
        for alg in ExchangeAlg::ALL {
            let found = match alg.is_kem() {
                true => at(&KEMS, kem_bit(alg).into()),
                false => at(&GROUPS, dh_bit(alg).into()),
            };
            let wanted = alg.to_string().replace("ECDH P-256", "secp256r1");
            assert_eq!(found, plain(&wanted.replace("ECDH P-384", "secp384r1")));
        }
    }
}
