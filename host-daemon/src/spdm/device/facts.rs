//! What a conversation says of a device, and how well it is proven. Live or recorded makes no difference: both are a
//! capture, which is followed and checked anew.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use tdisp::{
    clock::UnixTime,
    crypto::{Digest, HashAlg, digest},
    evidence::{
        CrlRule, Crls, IdentityRule, Root,
        chain::{Error as ChainError, Role, Rules, validate},
    },
};

use crate::spdm::{
    certificate,
    check::{Disagreement, Kind, Ledger, Outcome},
    decode,
    field::{Field, Fields, Value},
    follow::Entry,
    known::Known,
    names,
    pcap::Capture,
    record::provider,
    secrets::Secrets,
};

/// See the module.
#[derive(Debug, Default)]
pub struct Facts {
    /// Versions that the device offers.
    pub versions: Vec<String>,
    /// The version spoken.
    pub spdm: Option<String>,
    /// Capability flags.
    pub capabilities: Option<(u32, String)>,
    /// What was chosen of each kind of algorithm.
    pub algorithms: Vec<(String, String)>,
    /// What could have been chosen of each, if the device says so (1.3).
    pub supported: Vec<(String, String)>,
    /// Slots, and the digests of the chains in them.
    pub slots: Vec<(u8, String)>,
    /// The chains that were fetched.
    pub chains: Vec<Chain>,
    /// Whether the device has proven that it has the key of a slot, for each that it was asked for.
    pub challenges: Vec<(u8, Outcome)>,
    /// Measurements.
    pub measurements: Vec<Measured>,
    /// Whether the last of them are signed.
    pub measured: Option<Outcome>,
    /// Slots whose key has answered a challenge.
    pub challenged_slots: BTreeSet<u8>,
    /// Sessions: how each was opened, and whether the device has proven itself by that.
    pub sessions: Vec<(String, Option<Outcome>)>,
    /// How many checks there were.
    pub ledger: Ledger,
}

/// A chain of the device's.
#[derive(Debug)]
pub struct Chain {
    /// Its slot.
    pub slot: u8,
    /// The chain object.
    pub object: Vec<u8>,
    /// What is in it.
    pub fields: Vec<Field>,
    /// The certificates, in DER.
    pub certificates: Vec<Vec<u8>>,
    /// SHA-384 of the first certificate, which a policy or `--root` pins.
    pub root: Digest,
    /// Who vouches for it.
    pub vouched: Vouched,
}

/// Who vouches for a chain's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// Nobody: no root was given to compare it with.
    Nobody,
    /// The root of that name, along a path that keeps all the rules.
    By(String),
    /// Roots were given, and the chain does not lead to one; or it breaks a rule.
    Refused(String),
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Its index.
    pub index: u64,
    /// What it is of.
    pub kind: String,
    /// The DMTF's number for that, if it is the DMTF's.
    pub kind_number: Option<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// What the value reads as, if it does.
    pub meaning: String,
    /// The message that it was in.
    pub message: usize,
    /// The slot whose key has signed it.
    pub signed: Option<u8>,
}

impl Facts {
    /// Follows a capture. Certificates are judged by the time that it is.
    pub fn of(capture: &Capture, secrets: Option<&Secrets>, roots: &[Root]) -> Self {
        let now = now();
        let mut facts = Self::default();
        let followed = decode::follow_with(capture, secrets, |entry, known| {
            facts.learn(entry, known, roots, now);
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(ledger) = followed;
        facts.ledger = ledger;
        facts
    }

    /// The first thing that does not agree with the rest.
    pub fn disagreement(&self) -> Option<&Disagreement> {
        self.ledger.first()
    }

    /// Learns from a message, and from one that was complete with its last chunk.
    fn learn(&mut self, entry: &Entry, known: &Known, roots: &[Root], now: UnixTime) {
        self.learn_from((&entry.title, &entry.fields), entry, known, roots, now);
        for part in &entry.parts {
            self.learn_from((&part.message, &part.fields), entry, known, roots, now);
        }
    }

    fn learn_from(
        &mut self,
        (name, fields): (&str, &[Field]),
        entry: &Entry,
        known: &Known,
        roots: &[Root],
        now: UnixTime,
    ) {
        match name {
            "VERSION" => {
                let entries = fields.iter().filter(|field| field.name == "VersionNumberEntry");
                self.versions = entries.map(|field| field.meaning.clone()).collect();
            }
            "CAPABILITIES" => {
                self.spdm = Some(names::version(known.version));
                let flags = fields.field("Flags");
                self.capabilities = flags.map(|field| (known.responder, field.meaning.clone()));
                let listed = fields.field("SupportedAlgorithms");
                self.supported = listed.map_or_else(Vec::new, |block| algorithms(&block.inside));
            }
            "ALGORITHMS" => self.algorithms = algorithms(fields),
            "DIGESTS" => {
                let slots = (0..8).filter(|slot| fields.int("Param2").unwrap_or(0) >> slot & 1 == 1);
                let digests = fields.iter().filter(|field| field.name == "Digest");
                self.slots = slots.zip(digests.map(value)).collect();
            }
            "CERTIFICATE" => self.chain(entry, fields, known, roots, now),
            "KEY_EXCHANGE_RSP" => self.sessions.push(("KEY_EXCHANGE".into(), outcome(entry))),
            "PSK_EXCHANGE_RSP" => self.sessions.push(("PSK_EXCHANGE".into(), verified(entry))),
            "CHALLENGE_AUTH" => {
                let slot = fields.int("Param1").unwrap_or(0) as u8 & 0xf;
                self.challenges.retain(|(before, _)| *before != slot);
                self.challenges
                    .extend(outcome(entry).map(|outcome| (slot, outcome)));
                self.challenged_slots
                    .extend(entry.proof.iter().map(|proof| proof.slot));
            }
            "MEASUREMENTS" => {
                self.measured = outcome(entry);
                self.take_measurements(entry, fields);
            }
            _ => {}
        }
    }

    fn chain(&mut self, entry: &Entry, fields: &[Field], known: &Known, roots: &[Root], now: UnixTime) {
        let Some(object) = &entry.chain else { return };
        let slot = fields.int("Param1").unwrap_or(0) as u8 & 0xf;
        let certificates = certificate::certificates(object, known.hash_size()).unwrap_or_default();
        let first = certificates.first().copied().unwrap_or_default();
        if !self
            .chains
            .iter()
            .any(|chain| chain.slot == slot && chain.object == *object)
        {
            self.forget_proofs(slot);
        }
        self.chains.retain(|chain| chain.slot != slot);
        self.chains.push(Chain {
            slot,
            object: object.clone(),
            fields: certificate::chain(object, known.version, known.hash_size()).unwrap_or_default(),
            root: digest(provider(), HashAlg::Sha384, first),
            certificates: certificates.iter().map(|der| der.to_vec()).collect(),
            vouched: vouch(object, known, roots, now),
        });
    }

    /// What was signed with the key of another chain proves nothing of the one that is in its slot now.
    fn forget_proofs(&mut self, slot: u8) {
        self.challenged_slots.remove(&slot);
        self.challenges.retain(|(before, _)| *before != slot);
        for measured in &mut self.measurements {
            measured.signed = measured.signed.filter(|signer| *signer != slot);
        }
    }

    fn take_measurements(&mut self, entry: &Entry, fields: &[Field]) {
        let Some(record) = fields.field("MeasurementRecord") else {
            return;
        };
        for block in &record.inside {
            let index = block.inside.int("Index").unwrap_or(0);
            let inside = block
                .inside
                .field("Measurement")
                .map(|field| &field.inside[..])
                .unwrap_or_default();
            let kind = inside.field("DMTFSpecMeasurementValueType");
            let value = inside.field("DMTFSpecMeasurementValue");
            let raw = || block.inside.string("Measurement").unwrap_or_default().to_vec();
            self.measurements.retain(|measured| measured.index != index);
            self.measurements.push(Measured {
                index,
                kind: kind.map_or("not the DMTF's".into(), |field| field.meaning.clone()),
                kind_number: inside
                    .int("DMTFSpecMeasurementValueType")
                    .and_then(|number| u8::try_from(number & 0x7f).ok()),
                value: inside
                    .string("DMTFSpecMeasurementValue")
                    .map_or_else(raw, <[u8]>::to_vec),
                meaning: value.map(|field| field.meaning.clone()).unwrap_or_default(),
                message: entry.number,
                signed: None,
            });
        }
        let Some(proof) = &entry.proof else { return };
        for measured in &mut self.measurements {
            if proof.covers.contains(&measured.message) {
                measured.signed = Some(proof.slot);
            }
        }
    }
}

impl Chain {
    /// Whom its certificates name, in their order.
    pub fn subjects(&self) -> Vec<String> {
        let certificates = self.fields.iter().filter(|field| field.name == "Certificate");
        certificates.map(|field| field.meaning.clone()).collect()
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn value(field: &Field) -> String {
    match &field.value {
        Value::Bytes(bytes) => crate::spdm::hex(bytes),
        _ => String::new(),
    }
}

/// What a proof of a key came to.
fn verified(entry: &Entry) -> Option<Outcome> {
    let check = entry.checks.iter().find(|check| check.kind == Kind::VerifyData);
    check.map(|check| match &check.outcome {
        Outcome::Agrees(_) => Outcome::Agrees("the device has the pre-shared key".into()),
        other => other.clone(),
    })
}

/// What a signature came to.
fn outcome(entry: &Entry) -> Option<Outcome> {
    let check = entry.checks.iter().find(|check| check.kind == Kind::Signature);
    check.map(|check| check.outcome.clone())
}

/// Of ALGORITHMS, or of the block of CAPABILITIES that says what there is.
fn algorithms(fields: &[Field]) -> Vec<(String, String)> {
    let single = [
        ("BaseAsymSel", "BaseAsymAlgo", "signature"),
        ("PqcAsymSel", "PqcAsymAlgo", "post-quantum signature"),
        ("BaseHashSel", "BaseHashAlgo", "hash"),
        ("MeasurementHashAlgo", "", "measurement hash"),
    ];
    let single = single.iter().filter_map(|(chosen, offered, kind)| {
        let field = fields.field(chosen).or_else(|| fields.field(offered))?;
        Some(((*kind).to_owned(), field.meaning.clone()))
    });
    let tables = fields
        .iter()
        .filter(|field| field.name == "AlgStruct")
        .filter_map(|table| {
            let kind = table.inside.field("AlgType")?.meaning.clone();
            Some((kind, table.inside.field("AlgSupported")?.meaning.clone()))
        });
    single
        .chain(tables)
        .filter(|(_, value)| value != "none")
        .collect()
}

/// Judges a chain by the roots that were given.
fn vouch(object: &[u8], known: &Known, roots: &[Root], now: UnixTime) -> Vouched {
    if roots.is_empty() {
        return Vouched::Nobody;
    }
    let (hash, leaf) = match (known.hash_alg(), known.sign_alg()) {
        (Ok(hash), Ok(leaf)) => (hash, leaf),
        (hash, leaf) => {
            let name = hash.err().or(leaf.err()).unwrap_or_default();
            return Vouched::Refused(format!("{name} is not offered by the cryptographic provider"));
        }
    };
    let rules = Rules {
        version: known.version,
        hash,
        leaf,
        roots,
        now,
        identity: &IdentityRule::default(),
        role: Role::Responder,
        model: None,
        crls: Crls {
            lists: &[],
            rule: CrlRule::WhenPresent,
        },
    };
    match validate(object, &rules, provider()) {
        Ok(leaf) => Vouched::By(leaf.identity.root.name.clone()),
        Err(ChainError::RootNotPinned {
            found,
            subject,
            wanted,
        }) => Vouched::Refused(format!(
            "it leads to the root {found} ({subject}); wanted {}. If that root is the vendor's, give it with --root: \
             `certs --out` writes it",
            names(&wanted)
        )),
        Err(error) => Vouched::Refused(error.to_string()),
    }
}

fn names(roots: &[Root]) -> String {
    let names: Vec<_> = roots
        .iter()
        .map(|root| format!("{} ({})", root.digest, root.name))
        .collect();
    names.join(" or ")
}
