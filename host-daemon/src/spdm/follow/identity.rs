//! What a side shows of itself and signs: certificate chains, CHALLENGE_AUTH, MEASUREMENTS, ENDPOINT_INFO.

use std::collections::BTreeMap;

use tdisp::{
    crypto::{
        Ability, SignAlg,
        x509::{PublicKey, X509Error},
    },
    spdm::{
        msg::{Code, Version},
        signing::{self, Context},
        transcript::Transcript,
    },
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    At, Entry, Follow, Part, Proof, Said, connection::Shown, digest, lane::Measured, session::not_shown,
    subject,
};
use crate::spdm::{
    certificate,
    check::{Check, Kind},
    field::Fields,
    known::Known,
    record::provider,
};

/// A signature, and what it may be over.
pub(super) struct Signed<'a> {
    /// What is checked, for people.
    pub(super) what: &'static str,
    /// Which message it is of.
    pub(super) context: Context,
    /// Transcripts that it may be over: the standard's first, each with a word about what is different.
    pub(super) transcripts: Vec<(String, Vec<u8>)>,
    /// The signature.
    pub(super) signature: &'a [u8],
    /// The signer's slot, and the chain in it.
    pub(super) slot: u8,
    pub(super) chain: Option<Vec<u8>>,
}

impl Signed<'_> {
    /// Checks it; which of the transcripts it was over, if it could be found out. `known` is as the signer sees it.
    pub(super) fn check(&self, known: &Known, entry: &mut Entry) -> Option<usize> {
        match self.verify(known) {
            Ok((index, how)) => {
                entry.checks.push(Check::agrees(Kind::Signature, self.what, how));
                entry.proof = Some(Proof {
                    slot: self.slot,
                    covers: Vec::new(),
                });
                Some(index)
            }
            Err(Problem::NotChecked(why)) => {
                entry
                    .checks
                    .push(Check::not_checked(Kind::Signature, self.what, why));
                None
            }
            Err(Problem::Wrong { found, wanted }) => {
                entry
                    .checks
                    .push(Check::disagrees(Kind::Signature, self.what, found, wanted));
                None
            }
        }
    }

    fn verify(&self, known: &Known) -> Result<(usize, String), Problem> {
        let (alg, key) = self.key(known)?;
        let hash = known.hash_alg().map_err(unsupported)?;
        if !provider().supports(Ability::Verify(alg, hash)) {
            return Err(unsupported(format!("{alg} with {hash}")));
        }
        for (index, (how, bytes)) in self.transcripts.iter().enumerate() {
            let mut transcript = Transcript::new(provider(), hash, known.version);
            transcript.add(bytes);
            let message = signing::message(known.version, self.context, &transcript);
            if provider().verify(alg, &key, &message, self.signature).is_ok() {
                let chain = self.chain.as_deref().unwrap_or_default();
                let how = match how.is_empty() {
                    true => format!("{alg}, slot {}, {}", self.slot, subject(chain, known)),
                    false => format!(
                        "{alg}, slot {}, over another transcript than the standard's: {how}",
                        self.slot
                    ),
                };
                return Ok((index, how));
            }
        }
        let standard = self
            .transcripts
            .first()
            .map(|(_, bytes)| &bytes[..])
            .unwrap_or_default();
        let hashed = digest(known, standard)
            .map(|digest| digest.to_string())
            .unwrap_or_default();
        Err(Problem::Wrong {
            found: format!(
                "a signature that does not verify with the {alg} key of slot {}",
                self.slot
            ),
            wanted: format!("one over the {} bytes with {hash} {hashed}", standard.len()),
        })
    }

    fn key(&self, known: &Known) -> Result<(SignAlg, Vec<u8>), Problem> {
        let alg = known.sign_alg().map_err(unsupported)?;
        let chain = self
            .chain
            .as_ref()
            .ok_or_else(|| Problem::NotChecked(not_shown(self.slot)))?;
        let wrong = |found: String| Problem::Wrong {
            found,
            wanted: format!("a chain whose leaf has a key for {alg}"),
        };
        // In the place of a chain there may be a provisioned key, which only the secrets can have.
        let provisioned = PublicKey::from_der(chain).ok().filter(|_| self.slot >= 0xf);
        let key = match provisioned {
            Some(key) => key,
            None => {
                let certificates = certificate::certificates(chain, known.hash_size()).map_err(wrong)?;
                let der = certificates.last().copied().unwrap_or_default();
                let (_, leaf) = X509Certificate::from_der(der).map_err(|error| wrong(error.to_string()))?;
                PublicKey::from_der(leaf.public_key().raw).map_err(|error| wrong(error.to_string()))?
            }
        };
        let key = key.for_alg(alg).map_err(|error| wrong(error.to_string()))?;
        Ok((alg, key.to_vec()))
    }
}

enum Problem {
    NotChecked(String),
    Wrong { found: String, wanted: String },
}

fn unsupported(name: impl std::fmt::Display) -> Problem {
    Problem::NotChecked(format!("{name} is not offered by the cryptographic provider"))
}

impl Follow<'_> {
    /// Compares A with what the secrets have.
    pub(super) fn check_vca(&mut self, entry: &mut Entry) {
        let Some(secrets) = self.secrets else { return };
        let own = self.plan_connections.remove(&self.connection.number);
        let any = self.plan_connections.remove(&super::NO_CONNECTION);
        let sets: Vec<_> = own.into_iter().chain(any).flatten().collect();
        let found = self.connection.vca();
        let wanted = sets.iter().filter_map(|set| secrets.sets.get(*set)?.bytes("A"));
        entry
            .checks
            .extend(wanted.map(|wanted| Check::equal(Kind::Transcript, "A", &found, wanted)));
    }

    /// DIGESTS or CERTIFICATE of the responder's.
    pub(super) fn shown(&mut self, at: At, request: &Said, response: &Said, entry: &mut Entry) {
        let known = self.connection.known.clone();
        let shown = &mut self.connection.shown;
        if at == At::Clear {
            let begins = response.code() == Code::DIGESTS;
            shown.add(&request.bytes, &response.bytes, begins);
        }
        let whole = learn(shown, &known, [request, response], entry);
        if let Some((slot, chain)) = whole {
            self.whole_chain(&known, slot, &chain, false, entry);
        }
    }

    /// A chain is there: it must be the one that DIGESTS and the secrets have.
    pub(super) fn whole_chain(
        &mut self,
        known: &Known,
        slot: u8,
        chain: &[u8],
        of_requester: bool,
        entry: &mut Entry,
    ) {
        let whose = if of_requester {
            "requester's"
        } else {
            "responder's"
        };
        if let Some(fields) = certificate::chain(chain, known.version, known.hash_size()) {
            entry.parts.push(Part {
                message: String::new(),
                title: format!("{whose} certificate chain in slot {slot}, {} bytes", chain.len()),
                fields,
            });
        }
        let shown = if of_requester {
            &self.connection.requester
        } else {
            &self.connection.shown
        };
        let said = shown
            .digest_of
            .get(&slot)
            .map(|said| (said.clone(), digest(known, chain)));
        match said {
            Some((said, Ok(digest))) => {
                let what = format!("digest of the {whose} chain in slot {slot} that DIGESTS said");
                entry
                    .checks
                    .push(Check::equal(Kind::Digest, what, digest.as_ref(), &said));
            }
            Some((_, Err(why))) => entry.checks.push(Check::not_checked(Kind::Digest, "chain", why)),
            None => {}
        }
        signatures(chain, known, entry);
        if !of_requester {
            entry.chain = Some(chain.to_vec());
        }
        self.chains.push(ChainSeen {
            number: entry.number,
            title: entry.title.clone(),
            of_requester,
            slot,
            chain: chain.to_vec(),
        });
    }

    /// Compares the secrets' chains with those that were shown.
    pub(super) fn check_chains(&mut self) {
        let Some(secrets) = self.secrets else { return };
        for (name, wanted) in &secrets.chains {
            let named: Vec<_> = self
                .chains
                .iter()
                .filter(|seen| names_slot(name, seen.slot, seen.of_requester))
                .collect();
            let what = format!("chains.{name} of the secrets");
            let (number, title, check) =
                match named.iter().find(|seen| seen.chain == *wanted).or(named.first()) {
                    Some(seen) => {
                        let check = Check::equal(Kind::Message, what, &seen.chain, wanted);
                        (seen.number, seen.title.clone(), check)
                    }
                    None => {
                        let check =
                            Check::not_checked(Kind::Message, what, "chain that the recording does not show");
                        (self.last_number, String::new(), check)
                    }
                };
            self.ledger.count(number, &title, &check);
        }
    }

    /// The chain of a slot: what was shown, or else what the secrets have.
    pub(super) fn chain(&self, slot: u8, of_requester: bool) -> Option<Vec<u8>> {
        let shown = if of_requester {
            &self.connection.requester
        } else {
            &self.connection.shown
        };
        let secrets = self.secrets.map(|secrets| &secrets.chains);
        let told = || {
            let mut chains = secrets?.iter();
            chains
                .find(|(name, _)| names_slot(name, slot, of_requester))
                .map(|(_, chain)| chain.clone())
        };
        shown.chains.get(&slot).cloned().or_else(told)
    }

    pub(super) fn challenged(&mut self, request: &Said, response: &Said, entry: &mut Entry) {
        let known = self.connection.known.clone();
        let slot = request.message.param1();
        let chain = self.chain(slot, false);
        chain_hash(chain.as_deref(), response, &known, entry);
        let vca = self.connection.vca();
        let c = [&request.bytes[..], response.until("Signature")].concat();
        let candidates = self.connection.shown.candidates().into_iter();
        let transcripts = candidates
            .map(|(how, b)| (how.to_owned(), [&vca[..], b, &c].concat()))
            .collect();
        let signed = Signed {
            what: "CHALLENGE_AUTH over M1",
            context: Context::ChallengeAuth,
            transcripts,
            signature: response.part("Signature").unwrap_or_default(),
            slot,
            chain,
        };
        self.sign(signed, &known, entry);
        self.connection.challenged = true;
        self.connection.shown.challenged();
    }

    /// Checks a signature of the responder's, if the negotiation was seen.
    pub(super) fn sign(&self, signed: Signed<'_>, known: &Known, entry: &mut Entry) -> Option<usize> {
        if !self.connection.is_negotiated() {
            let why = "the capture began after the negotiation";
            entry
                .checks
                .push(Check::not_checked(Kind::Signature, signed.what, why));
            return None;
        }
        signed.check(known, entry)
    }

    pub(super) fn measured(&mut self, at: At, request: &Said, response: &Said, entry: &mut Entry) {
        let known = self.connection.known.clone();
        let measured = &mut self.lane(at).measured;
        if response.part("Signature").is_none() {
            return measured.push(Measured {
                number: response.number,
                bytes: [&request.bytes[..], &response.bytes].concat(),
                before_error: false,
            });
        }
        let gathered = std::mem::take(measured);
        let last = [&request.bytes[..], response.until("Signature")].concat();
        let a = if known.version >= Version::V1_2 {
            self.connection.vca()
        } else {
            Vec::new()
        };
        let ways: [Way; 3] = [
            ("", |measured| !measured.before_error),
            ("L1 with what came before the last ERROR", |_| true),
            ("L1 with this exchange alone", |_| false),
        ];
        let kept = |since: Since| gathered.iter().filter(move |measured| since(measured));
        let transcripts = ways.map(|(how, since)| {
            let before: Vec<u8> = kept(since).flat_map(|measured| measured.bytes.clone()).collect();
            (how.to_owned(), [&a[..], &before, &last].concat())
        });
        let slot = request.message.fields.int("SlotIDParam").unwrap_or(0) as u8 & 0xf;
        let signed = Signed {
            what: "MEASUREMENTS over L1",
            context: Context::Measurements,
            transcripts: transcripts.into(),
            signature: response.part("Signature").unwrap_or_default(),
            slot,
            chain: self.chain(slot, false),
        };
        let index = self.sign(signed, &known, entry);
        if let (Some((_, since)), Some(proof)) = (index.and_then(|index| ways.get(index)), &mut entry.proof) {
            let before = kept(*since).map(|measured| measured.number);
            proof.covers = before.chain([response.number]).collect();
        }
    }

    pub(super) fn endpoint(&mut self, request: &Said, response: &Said, entry: &mut Entry) {
        let Some(signature) = response.part("Signature") else {
            return;
        };
        let known = self.connection.known.clone();
        let slot = request.message.param2() & 0xf;
        let e = [&request.bytes[..], response.until("Signature")].concat();
        let signed = Signed {
            what: "ENDPOINT_INFO over IL1",
            context: Context::EndpointInfo,
            transcripts: vec![
                (String::new(), [&self.connection.vca()[..], &e].concat()),
                ("without A".into(), e),
            ],
            signature,
            slot,
            chain: self.chain(slot, false),
        };
        self.sign(signed, &known, entry);
    }
}

/// Whether an exchange of measurements counts to a transcript, and a word about what is different with that.
type Way = (&'static str, Since);
type Since = fn(&Measured) -> bool;

/// CertChainHash of a CHALLENGE_AUTH.
pub(super) fn chain_hash(chain: Option<&[u8]>, response: &Said, known: &Known, entry: &mut Entry) {
    let (Some(chain), Some(said)) = (chain, response.part("CertChainHash")) else {
        return;
    };
    match digest(known, chain) {
        Ok(wanted) => {
            entry
                .checks
                .push(Check::equal(Kind::Digest, "CertChainHash", said, wanted.as_ref()));
        }
        Err(why) => entry
            .checks
            .push(Check::not_checked(Kind::Digest, "CertChainHash", why)),
    }
}

/// Learns from DIGESTS or CERTIFICATE; the slot and chain that are complete with it.
pub(super) fn learn(
    shown: &mut Shown,
    known: &Known,
    [request, response]: [&Said; 2],
    entry: &mut Entry,
) -> Option<(u8, Vec<u8>)> {
    let fields = &response.message.fields;
    if response.code() == Code::DIGESTS {
        let first = shown
            .digests
            .take()
            .map_or_else(|| response.bytes.clone(), |[first, _]| first);
        shown.digests = Some([first, response.bytes.clone()]);
        shown.digest_of = digests(response);
        return None;
    }
    if known.version >= Version::V1_3 && request.message.param2() & 1 == 1 {
        // Only the size was asked for.
        return None;
    }
    let slot = response.message.param1() & 0xf;
    let offset = request.message.fields.int("Offset")? as usize;
    let portion = response.part("CertChain")?;
    let mut chain = match shown.partial.take() {
        Some((of, begun)) if of == slot && offset == begun.len() => begun,
        _ if offset == 0 => Vec::new(),
        _ => {
            entry.notes.push(format!(
                "a portion from byte {offset} on; what is before it was not seen"
            ));
            return None;
        }
    };
    chain.extend_from_slice(portion);
    if fields.int("RemainderLength") != Some(0) {
        shown.partial = Some((slot, chain));
        return None;
    }
    shown.chains.insert(slot, chain.clone());
    Some((slot, chain))
}

fn digests(response: &Said) -> BTreeMap<u8, Vec<u8>> {
    let slots = (0..8).filter(|slot| response.message.param2() >> slot & 1 == 1);
    let digests = response
        .message
        .fields
        .iter()
        .filter(|field| field.name == "Digest");
    slots
        .zip(digests)
        .filter_map(|(slot, field)| Some((slot, response.bytes.get(field.at.clone())?.to_vec())))
        .collect()
}

/// Each certificate by the key of the one before it.
fn signatures(chain: &[u8], known: &Known, entry: &mut Entry) {
    let Ok(certificates) = certificate::certificates(chain, known.hash_size()) else {
        return entry.notes.push("the chain's certificates cannot be read".into());
    };
    for (number, pair) in certificates.windows(2).enumerate() {
        let what = format!("certificate {} of the chain", number + 2);
        let issuer = X509Certificate::from_der(pair[0]).ok();
        let key = issuer.and_then(|(_, issuer)| PublicKey::from_der(issuer.public_key().raw).ok());
        let check = match key {
            None => Check::not_checked(Kind::Certificate, what, "its issuer's key is of no known kind"),
            Some(key) => match key.check_signed(pair[1], provider()) {
                Ok(()) => Check::agrees(Kind::Certificate, what, "signed by the one before"),
                Err(error @ (X509Error::Algorithm { .. } | X509Error::Unsupported(_))) => {
                    Check::not_checked(Kind::Certificate, what, error.to_string())
                }
                Err(error) => Check::disagrees(
                    Kind::Certificate,
                    what,
                    error.to_string(),
                    "a signature of the one before",
                ),
            },
        };
        entry.checks.push(check);
    }
}

/// Whether a name in the secrets' chains may mean a slot of a side: a number is either side's, `req` in it the
/// requester's. A key that was provisioned has the number 15 or 255, or is called a key.
fn names_slot(name: &str, slot: u8, of_requester: bool) -> bool {
    let lower = name.to_lowercase();
    let number: String = lower.chars().filter(char::is_ascii_digit).collect();
    let side = number == lower || lower.contains("req") == of_requester;
    let key = ["15", "255"].contains(&number.as_str()) || lower.contains("key");
    side && match slot {
        0xf | 0xff => key,
        _ => !key && (number.is_empty() || number.parse() == Ok(slot)),
    }
}

/// A chain that was complete with a message.
#[derive(Debug)]
pub(super) struct ChainSeen {
    number: usize,
    title: String,
    of_requester: bool,
    slot: u8,
    chain: Vec<u8>,
}
