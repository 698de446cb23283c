//! What a guest judges: certificate chains and whole evidence.

use super::gullible::{self, Gullible};
use crate::{
    clock::UnixTime,
    crypto::{HashAlg, Ring, Secret, SignAlg, x509::PublicKey},
    evidence::{
        Bundle, CrlRule, Crls, Expectation, Floor, IdentityRule, Root,
        chain::{self, Role},
        verify,
    },
    relay::{
        Vouched,
        guest::{Request, Response, TdiInfo},
        sealed,
    },
    spdm::msg::{Version, certificate::Chain},
    tdi::report::Report,
    wire::{Reader, Write},
};
use alloc::{string::String, sync::Arc, vec, vec::Vec};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A moment at which the certificates of [`CERTIFICATES`] are valid: 2026-11-20.
const NOW: UnixTime = UnixTime(1_795_132_800);

/// A vendor's root, the model's certificate and a device's, as evidence's own tests make them.
pub const CERTIFICATES: &[u8] = include_bytes!("../../fuzz/certificates.der");

/// The chain object with these certificates, for [`Gullible`], to which all digests are the same.
#[must_use]
pub fn chain_object(certificates: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    Chain {
        root_hash: gullible::digest(HashAlg::Sha384).as_ref(),
        certificates,
    }
    .encode(Version::V1_2, &mut object);
    object
}

fn root() -> Root {
    Root {
        name: String::from("vendor"),
        digest: gullible::digest(HashAlg::Sha384),
    }
}

/// Certificate chain objects: once where every signature and digest is believed, and once where none is.
pub fn certificate_chain(bytes: &[u8]) {
    let roots = [root()];
    let rules = chain::Rules {
        version: Version::V1_2,
        hash: HashAlg::Sha384,
        leaf: SignAlg::EcdsaP384,
        roots: &roots,
        now: NOW,
        identity: &IdentityRule::default(),
        role: Role::Responder,
        model: None,
        crls: Crls::default(),
    };
    drop(chain::validate(bytes, &rules, &Gullible::default()));
    let judged = chain::validate(bytes, &rules, &Ring);
    assert!(
        judged.is_err(),
        "nobody has a certificate whose digest is {:?}",
        roots[0].digest
    );
}

/// Public keys, and certificates with [`CERTIFICATES`]' root for their issuer: once where every signature is believed, and
/// once where none is.
pub fn public_key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_der(bytes) {
        let fitting = SignAlg::ALL.into_iter().filter(|alg| key.for_alg(*alg).is_ok());
        assert!(
            fitting.count() <= 2,
            "RSA keys are for two paddings, others for one algorithm"
        );
        drop(key.check_signed(CERTIFICATES, &Ring));
    }
    let Ok((rest, root)) = X509Certificate::from_der(CERTIFICATES) else {
        return;
    };
    let Ok(root) = PublicKey::from_der(root.public_key().raw) else {
        return;
    };
    drop(root.check_signed(bytes, &Gullible::default()));
    let signed = root.check_signed(bytes, &Ring).is_ok();
    let ours = !bytes.is_empty() && (CERTIFICATES.starts_with(bytes) || rest.starts_with(bytes));
    assert!(
        !signed || ours,
        "the root signed itself and the next, and nothing else"
    );
}

/// Revocation lists, held against [`CERTIFICATES`] where every signature is believed.
pub fn revocation_list(bytes: &[u8]) {
    let lists = [bytes.to_vec()];
    let required = held_against(CERTIFICATES, &lists, CrlRule::Required);
    assert!(required.is_err(), "one list is of one CA, and there are two");
    if let Err(chain::Error::Revoked { position, .. }) =
        held_against(CERTIFICATES, &lists, CrlRule::WhenPresent)
    {
        assert!(position > 0, "nobody revokes a root but who pins it");
    }
}

/// What becomes of certificates with these revocation lists, where every signature and digest is believed.
pub fn held_against(
    certificates: &[u8],
    lists: &[Vec<u8>],
    rule: CrlRule,
) -> Result<chain::Leaf, chain::Error> {
    let rules = chain::Rules {
        version: Version::V1_2,
        hash: HashAlg::Sha384,
        leaf: SignAlg::EcdsaP384,
        roots: &[root()],
        now: NOW,
        identity: &IdentityRule::default(),
        role: Role::Responder,
        model: None,
        crls: Crls { lists, rule },
    };
    chain::validate(&chain_object(certificates), &rules, &Gullible::default())
}

/// Evidence as the host brings it, and what the TSM says about it:
/// `u16 size ‖ certificates ‖ u16 size ‖ measurements ‖ u16 size ‖ report ‖ TdiInfo response`. The digests in the TdiInfo are
/// made right.
pub fn evidence(bytes: &[u8]) {
    let _ = accepts(bytes);
}

/// Whether [`evidence()`] is accepted.
#[must_use]
pub fn accepts(bytes: &[u8]) -> bool {
    let mut r = Reader::new(bytes);
    let mut object = || {
        let size = r.u16("size").map_or(0, usize::from);
        r.take(size.min(r.remaining()), "object")
            .map_or(Vec::new(), <[u8]>::to_vec)
    };
    let bundle = Bundle {
        certificates: object(),
        measurements: object(),
        report: object(),
    };
    let Ok(Response::TdiInfo(info)) = Response::decode(r.rest()) else {
        return false;
    };
    let Some(vouched) = vouched(info.clone()) else {
        return false;
    };
    let roots = [root()];
    let expectation = Expectation {
        nonce: NONCE,
        guest: info.guest,
        function_id: None,
        roots: &roots,
        identity: IdentityRule::default(),
        now: NOW,
        floor: Floor {
            pqc_asym: 7,
            kem: 7,
            ..Floor::default()
        },
        crls: Crls::default(),
    };
    let verified = verify(&bundle, &vouched, &expectation, &Gullible::default());
    if let Ok(verified) = &verified {
        assert_eq!(Report::decode(&bundle.report).as_ref(), Ok(verified.report()));
        assert_eq!(verified.lock().generation, info.generation);
    }
    verified.is_ok()
}

/// The nonce that the guest of [`evidence()`] has asked with.
pub const NONCE: [u8; 32] = [0x11; 32];

/// A case for [`evidence()`].
pub fn evidence_case(bundle: &Bundle, info: TdiInfo, out: &mut Vec<u8>) {
    for object in [&bundle.certificates, &bundle.measurements, &bundle.report] {
        out.u16(u16::try_from(object.len()).unwrap_or(u16::MAX));
        out.bytes(object);
    }
    Response::TdiInfo(info).encode(out);
}

/// A statement of the TSM, through a channel: there is no other way to make one.
fn vouched(mut info: TdiInfo) -> Option<Vouched<TdiInfo>> {
    for digest in [
        &mut info.certificates_digest,
        &mut info.measurements_digest,
        &mut info.report_digest,
    ] {
        *digest = [gullible::BYTE; 48];
    }
    let provider = || Arc::new(Gullible::default());
    let key = || Secret::new(vec![1; sealed::KEY_SIZE_MIN]);
    let mut tsm = sealed::Tsm::new(key(), provider()).ok()?;
    let (opening, open) = sealed::Guest::begin(&key(), provider()).ok()?;
    let sealed::Incoming::Opened(opened) = tsm.receive(&open).ok()? else {
        return None;
    };
    let mut guest = opening.opened(&opened).ok()?;
    let asked = guest.seal(&Request::TdiInfo { guest: info.guest }).ok()?;
    tsm.receive(&asked).ok()?;
    let response = tsm.seal(&Response::TdiInfo(info)).ok()?;
    guest.open(&response).ok()?.tdi_info()
}
