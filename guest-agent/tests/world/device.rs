//! A device's evidence, made and signed here.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, RevocationReason, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use tdisp::crypto::{ExchangeAlg, HashAlg, Ring, RingSigner, SignAlg, Signable, Signer, digest};
use tdisp::relay::guest::Negotiated;
use tdisp::spdm::algorithms::Offer;
use tdisp::spdm::msg::measurements::{self, Block, Dmtf, Kind, Operation, Record, Signed};
use tdisp::spdm::msg::{Payload, Version, algorithms, algorithms::TableKind, capabilities, version};
use tdisp::tdi::report::{Attributes, Info, Range, Report};
use tdisp::wire::Write;

/// A device whose evidence tests may spoil.
pub(crate) struct Device {
    pub(crate) chain: Vec<u8>,
    pub(crate) blocks: Vec<(u8, Kind, bool, Vec<u8>)>,
    pub(crate) report: Report,
    /// Measures for this nonce, whatever it is asked.
    pub(crate) own_nonce: Option<[u8; 32]>,
    version: Version,
    /// Just what it chooses.
    algorithms: Offer,
    signer: Box<dyn Signer>,
    root: (CertificateParams, KeyPair),
    serial: SerialNumber,
}

impl Device {
    pub(crate) fn honest() -> Self {
        let (root, leaf) = (
            certificate("Example root", true),
            certificate("Example NIC", false),
        );
        let serial = SerialNumber::from(vec![1, 2, 3, 4]);
        let mut device = leaf.0;
        device.serial_number = Some(serial.clone());
        let issuer = Issuer::from_params(&root.0, &root.1);
        let ders = [
            root.0.clone().self_signed(&root.1).unwrap().der().to_vec(),
            device.signed_by(&leaf.1, &issuer).unwrap().der().to_vec(),
        ];
        let range = |id, first_page, pages| Range {
            first_page,
            pages,
            attributes: Attributes::default(),
            id,
        };
        Self {
            chain: chain(&ders),
            blocks: vec![
                (1, Kind::FIRMWARE, false, vec![0x11; 48]),
                (2, Kind::FIRMWARE_CONFIGURATION, false, vec![0x22; 48]),
                (
                    3,
                    Kind::FIRMWARE_SECURITY_VERSION,
                    true,
                    7u64.to_le_bytes().to_vec(),
                ),
                (
                    4,
                    Kind::DEVICE_MODE,
                    true,
                    [[0; 4], [4, 0, 0, 0], [0; 4], [0; 4]].concat(),
                ),
            ],
            report: Report {
                info: Info::NO_FW_UPDATE | Info::DMA,
                ranges: vec![range(0, 0x100, 4), range(4, 0x200, 1)],
                ..Report::default()
            },
            own_nonce: None,
            version: Version::V1_2,
            algorithms: Offer::default(),
            signer: Box::new(RingSigner::from_pkcs8(SignAlg::EcdsaP384, leaf.1.serialized_der()).unwrap()),
            root,
            serial,
        }
    }

    /// The same in SPDM 1.4, with this certificate chain, key and key exchange.
    #[allow(dead_code, reason = "each test program uses its own part")]
    pub(crate) fn of_1_4(chain: Vec<u8>, signer: Box<dyn Signer>, exchange: ExchangeAlg) -> Self {
        let algorithms = Offer {
            sign: vec![signer.algorithm()],
            exchange: vec![exchange],
            ..Offer::default()
        };
        Self {
            chain,
            version: Version::V1_4,
            algorithms,
            signer,
            ..Self::honest()
        }
    }

    /// Its root's revocation list of this month, with its own certificate in it or not.
    pub(crate) fn revocation_list(&self, revoked: bool) -> Vec<u8> {
        let entry = RevokedCertParams {
            serial_number: self.serial.clone(),
            revocation_time: date_time_ymd(2026, 11, 2),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 11, 1),
            next_update: date_time_ymd(2026, 12, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::from_iter(revoked.then_some(entry)),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.root.0, &self.root.1);
        params.signed_by(&issuer).unwrap().der().to_vec()
    }

    /// SHA-384 of the root certificate, hexadecimal.
    pub(crate) fn root(&self) -> String {
        self.chain[4..52]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub(crate) fn report_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.report.encode(&mut bytes);
        bytes
    }

    /// VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS, signed.
    pub(crate) fn transcript(&self, nonce: [u8; 32]) -> Vec<u8> {
        let nonce = self.own_nonce.unwrap_or(nonce);
        let (version, mut out) = (self.version, self.vca());
        let context = (version >= Version::V1_3).then_some([0; 8]);
        let signed = Some(Signed { nonce, slot: 0 });
        let operation = Operation::ALL;
        measurements::Request {
            version,
            operation,
            raw: false,
            fresh: false,
            signed,
            context,
        }
        .encode(&mut out);
        let encoded: Vec<_> = self
            .blocks
            .iter()
            .map(|(index, kind, raw, value)| {
                let mut bytes = Vec::new();
                Dmtf {
                    kind: *kind,
                    raw: *raw,
                    value,
                }
                .encode(&mut bytes);
                (*index, bytes)
            })
            .collect();
        let blocks = encoded.iter().map(|(index, measurement)| Block {
            index: *index,
            specification: 1,
            measurement,
        });
        measurements::Response {
            version,
            count: 0,
            param2: 0x20,
            record: Record {
                blocks: blocks.collect(),
            },
            nonce: [0xd0; 32],
            opaque: &[],
            context,
            signature: None,
        }
        .encode(&mut out);
        let hash = digest(&Ring, HashAlg::Sha384, &out);
        let context = b"responder-measurements signing";
        let prefix = format!("dmtf-spdm-v1.{}.*", version.0 & 0xf).repeat(4);
        let message = [prefix.as_bytes(), &[0; 6], context, hash.as_ref()].concat();
        let what = Signable {
            context,
            ..Signable::plain(HashAlg::Sha384, &message)
        };
        out.extend(self.signer.sign(&what).unwrap());
        out
    }

    /// What [`Device::transcript`]'s VCA negotiates.
    pub(crate) fn negotiated(&self) -> Negotiated {
        let choice = self.algorithms.to_set(self.version);
        Negotiated {
            version: self.version.0,
            measurement_hash: 4,
            asym: choice.asym,
            pqc_asym: choice.pqc_asym,
            hash: choice.hash,
            dhe: choice.table(TableKind::DHE),
            kem: choice.table(TableKind::KEM),
            aead: choice.table(TableKind::AEAD),
            key_schedule: choice.table(TableKind::KEY_SCHEDULE),
        }
    }

    fn vca(&self) -> Vec<u8> {
        let (version, mut out) = (self.version, Vec::new());
        version::Request.encode(&mut out);
        version::Response {
            versions: vec![version::Entry::of(version)],
        }
        .encode(&mut out);
        let sizes = Some(capabilities::Sizes {
            transfer: 4608,
            message: 4608,
        });
        let flags = capabilities::Flags::CERT | capabilities::Flags::CHAL | capabilities::Flags::MEAS_SIG;
        capabilities::Request {
            version,
            ct_exponent: 0,
            extended_flags: 0,
            flags: capabilities::Flags::default(),
            sizes,
            algorithms_asked: false,
        }
        .encode(&mut out);
        capabilities::Response {
            version,
            ct_exponent: 0,
            extended_flags: 0,
            flags,
            sizes,
            algorithms: None,
            algorithms_told: false,
        }
        .encode(&mut out);
        algorithms::Request {
            version,
            offer: self.algorithms.to_set(version),
        }
        .encode(&mut out);
        algorithms::Response {
            version,
            choice: self.algorithms.to_set(version),
            measurement_hash: 4,
        }
        .encode(&mut out);
        out
    }
}

fn certificate(name: &str, ca: bool) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params.is_ca = if ca {
        IsCa::Ca(BasicConstraints::Unconstrained)
    } else {
        IsCa::ExplicitNoCa
    };
    params.key_usages = if ca {
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
    } else {
        vec![KeyUsagePurpose::DigitalSignature]
    };
    (params, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())
}

fn chain(ders: &[Vec<u8>]) -> Vec<u8> {
    let mut object = Vec::new();
    object.u16(u16::try_from(4 + 48 + ders.concat().len()).unwrap());
    object.zeros(2);
    object.bytes(digest(&Ring, HashAlg::Sha384, &ders[0]).as_ref());
    object.bytes(&ders.concat());
    object
}
