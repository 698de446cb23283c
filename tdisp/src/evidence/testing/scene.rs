//! A whole scene of a verification: a device that signs, a TSM that vouches, a guest that expects.

#[path = "../../../tests/vouched/mod.rs"]
mod vouched;

use super::{NOW, Plan, pin};
use crate::{
    crypto::{ExchangeAlg, HashAlg, Ring, SignAlg, Signer, digest},
    evidence::{
        Bundle, Crls, Expectation, Floor, IdentityRule, Refusal, Root, Verified, transcript::signed_message,
        verify,
    },
    relay::{
        TdiId,
        guest::{Binding, Negotiated, TdiInfo, TdiState},
    },
    spdm::{
        algorithms::Offer,
        msg::{
            Payload, Version,
            algorithms::{self, Table, TableKind},
            capabilities::{self, Flags, Sizes},
            measurements::{self, Block, Dmtf, Kind, Operation, Record, Signed},
            version::{self, Entry},
        },
    },
    tdi::report::{Attributes, Info, Range, Report},
    wire::Write,
};
use alloc::{vec, vec::Vec};

pub(in crate::evidence) const NONCE: [u8; 32] = [0x5a; 32];
pub(in crate::evidence) use vouched::{GUEST, vouched};

/// Everything that a test may spoil before [`Scene::evidence`] is made of it.
pub(in crate::evidence) struct Scene {
    pub(in crate::evidence) plan: Plan,
    pub(in crate::evidence) chain: Vec<u8>,
    pub(in crate::evidence) version: Version,
    pub(in crate::evidence) offered_versions: Vec<Version>,
    pub(in crate::evidence) flags: Flags,
    pub(in crate::evidence) offer: algorithms::Set<'static>,
    pub(in crate::evidence) choice: algorithms::Set<'static>,
    pub(in crate::evidence) measurement_hash: u32,
    pub(in crate::evidence) asked: measurements::Request,
    pub(in crate::evidence) param2: u8,
    pub(in crate::evidence) blocks: Vec<(u8, Vec<u8>)>,
    pub(in crate::evidence) report: Report,
    pub(in crate::evidence) floor: Floor,
}

impl Scene {
    pub(in crate::evidence) fn good() -> Self {
        let plan = Plan::good();
        let mut offer = Offer::default().to_set(Version::V1_2);
        // The requester offers the weaker ones too: what is below the floor is the verifier's business.
        (offer.asym, offer.hash) = (0x90, 0x03);
        Self {
            chain: plan.object(),
            plan,
            version: Version::V1_2,
            offered_versions: vec![Version::V1_1, Version::V1_2],
            flags: Flags::CERT | Flags::CHAL | Flags::MEAS_SIG,
            offer,
            choice: Offer::default().to_set(Version::V1_2),
            measurement_hash: 4,
            asked: measurements::Request {
                version: Version::V1_2,
                operation: Operation::ALL,
                raw: false,
                fresh: false,
                signed: Some(Signed {
                    nonce: NONCE,
                    slot: 0,
                }),
                context: None,
            },
            param2: 0x20,
            blocks: vec![
                block(1, Kind::ROM, false, &[1; 48]),
                block(2, Kind::FIRMWARE, false, &[2; 48]),
                block(
                    3,
                    Kind::FIRMWARE_SECURITY_VERSION,
                    true,
                    &[7, 0, 0, 0, 0, 0, 0, 0],
                ),
            ],
            report: report(),
            floor: Floor::default(),
        }
    }

    /// The same in 1.4 with ML-DSA-65 and ML-KEM-768, which the floor allows beside what is usual. What stands in the
    /// signature's place is none.
    pub(in crate::evidence) fn post_quantum() -> Self {
        let version = Version::V1_4;
        let offer = |sign: &[SignAlg], exchange: &[ExchangeAlg]| {
            let (sign, exchange) = (sign.to_vec(), exchange.to_vec());
            let offer = Offer {
                sign,
                exchange,
                ..Offer::default()
            };
            offer.to_set(version)
        };
        let mut scene = Self::good();
        scene.asked.context = Some([0; 8]);
        Self {
            version,
            offered_versions: vec![Version::V1_2, version],
            offer: offer(&SignAlg::ALL, &ExchangeAlg::ALL),
            choice: offer(&[SignAlg::MlDsa65], &[ExchangeAlg::MlKem768]),
            asked: measurements::Request {
                version,
                ..scene.asked
            },
            floor: Floor {
                pqc_asym: 2,
                kem: 2,
                ..Floor::default()
            },
            ..scene
        }
    }

    /// Sets what is chosen in one algorithm structure.
    pub(in crate::evidence) fn choose(&mut self, kind: TableKind, mask: u16) {
        let tables = &mut self.choice.tables;
        tables.retain(|table| table.kind != kind);
        let extended = &[];
        tables.push(Table { kind, mask, extended });
        tables.sort_by_key(|table| table.kind);
    }

    /// What the host brings, all of it genuine for this scene.
    pub(in crate::evidence) fn bundle(&self) -> Bundle {
        let mut report = Vec::new();
        self.report.encode(&mut report);
        Bundle {
            certificates: self.chain.clone(),
            measurements: self.transcript(),
            report,
        }
    }

    /// What the TSM says when these are the bytes that it saw.
    pub(in crate::evidence) fn info(&self, bundle: &Bundle) -> TdiInfo {
        let of = |bytes: &[u8]| digest(&Ring, HashAlg::Sha384, bytes).as_ref().try_into().unwrap();
        TdiInfo {
            guest: GUEST,
            status: Binding::BOUND,
            tdi: TdiId(0x1001),
            function_id: 0x0101,
            state: TdiState::LOCKED,
            generation: 7,
            report_count: 1,
            lock_flags: 1,
            dma_enabled: false,
            measurements_valid: true,
            measurements_fresh: true,
            spdm: Negotiated {
                version: self.version.0,
                measurement_hash: self.measurement_hash,
                asym: self.choice.asym,
                pqc_asym: self.choice.pqc_asym,
                hash: self.choice.hash,
                dhe: self.choice.table(TableKind::DHE),
                kem: self.choice.table(TableKind::KEM),
                aead: self.choice.table(TableKind::AEAD),
                key_schedule: self.choice.table(TableKind::KEY_SCHEDULE),
            },
            slot: 0,
            certificates_digest: of(&bundle.certificates),
            measurements_digest: of(&bundle.measurements),
            report_digest: of(&bundle.report),
        }
    }

    /// Verifies what an honest host and TSM make of this scene.
    pub(in crate::evidence) fn judge(&self) -> Result<Verified, Refusal> {
        let bundle = self.bundle();
        self.judge_as(&bundle, self.info(&bundle))
    }

    /// Verifies what a host brings and a TSM says, by this scene's floor.
    pub(in crate::evidence) fn judge_as(&self, bundle: &Bundle, info: TdiInfo) -> Result<Verified, Refusal> {
        let roots = [pin(&self.chain)];
        let expected = Expectation {
            floor: self.floor,
            ..expectation(&roots)
        };
        verify(bundle, &vouched(info), &expected, &Ring)
    }

    /// The text a person reads when this scene is refused.
    pub(in crate::evidence) fn refusal(&self) -> alloc::string::String {
        alloc::string::ToString::to_string(&self.judge().unwrap_err())
    }

    fn transcript(&self) -> Vec<u8> {
        let mut out = self.vca();
        self.asked.encode(&mut out);
        let blocks = self.blocks.iter();
        let blocks = blocks.map(|(index, measurement)| Block {
            index: *index,
            specification: 1,
            measurement,
        });
        let answer = measurements::Response {
            version: self.version,
            count: 0,
            param2: self.param2,
            record: Record {
                blocks: blocks.collect(),
            },
            nonce: [0xd0; 32],
            opaque: &[],
            context: self.asked.context,
            signature: None,
        };
        answer.encode(&mut out);
        if self.choice.pqc_asym != 0 {
            out.zeros(SignAlg::MlDsa65.signature_size());
            return out;
        }
        let message = signed_message(self.version, HashAlg::Sha384, &out, &Ring);
        out.extend(self.plan.signer().sign(&message).unwrap());
        out
    }

    fn vca(&self) -> Vec<u8> {
        let version = self.version;
        let sizes = Some(Sizes {
            transfer: 4608,
            message: 4608,
        });
        let mut out = Vec::new();
        version::Request.encode(&mut out);
        let versions = self
            .offered_versions
            .iter()
            .map(|version| Entry::of(*version))
            .collect();
        version::Response { versions }.encode(&mut out);
        capabilities::Request {
            version,
            ct_exponent: 0,
            extended_flags: 0,
            flags: Flags::default(),
            sizes,
            algorithms_asked: false,
        }
        .encode(&mut out);
        capabilities::Response {
            version,
            ct_exponent: 0,
            extended_flags: 0,
            flags: self.flags,
            sizes,
            algorithms: None,
            algorithms_told: false,
        }
        .encode(&mut out);
        algorithms::Request {
            version,
            offer: self.offer.clone(),
        }
        .encode(&mut out);
        let (choice, measurement_hash) = (self.choice.clone(), self.measurement_hash);
        algorithms::Response {
            version,
            choice,
            measurement_hash,
        }
        .encode(&mut out);
        out
    }
}

pub(in crate::evidence) fn expectation(roots: &[Root]) -> Expectation<'_> {
    Expectation {
        nonce: NONCE,
        guest: GUEST,
        function_id: Some(0x0101),
        roots,
        identity: IdentityRule::default(),
        now: NOW,
        floor: Floor::default(),
        crls: Crls::default(),
    }
}

pub(in crate::evidence) fn judge(
    bundle: &Bundle,
    info: TdiInfo,
    roots: &[Root],
) -> Result<Verified, Refusal> {
    verify(bundle, &vouched(info), &expectation(roots), &Ring)
}

/// A measurement in the DMTF's form, as a block holds it.
pub(in crate::evidence) fn block(index: u8, kind: Kind, raw: bool, value: &[u8]) -> (u8, Vec<u8>) {
    let mut measurement = Vec::new();
    Dmtf { kind, raw, value }.encode(&mut measurement);
    (index, measurement)
}

pub(in crate::evidence) fn range(id: u16, first_page: u64, pages: u32) -> Range {
    Range {
        first_page,
        pages,
        attributes: Attributes::default(),
        id,
    }
}

fn report() -> Report {
    Report {
        info: Info::NO_FW_UPDATE | Info::DMA,
        ranges: vec![range(0, 0x100, 4), range(2, 0x200, 1)],
        ..Report::default()
    }
}
