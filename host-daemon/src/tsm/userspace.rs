//! A session of the host's own, over the DOE mailbox: facts for an inventory.
//!
//! The host holds this session's secrets and could have made everything up, so nothing of it is evidence for a guest.
//! As a backend it connects nothing and binds nothing; what it is for is [`identify`].

use std::{fmt::Write as _, sync::Arc, time::Instant};

use tdisp::{
    clock,
    crypto::{HashAlg, Provider, Ring, digest},
    relay::Rid,
    spdm::{
        self, Event, Goal, Negotiated, Requester, RequesterConfig, Trust,
        msg::{Context, Message, Version, certificate},
    },
    wire::DecodeError,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Error, Later, Tsm};
use crate::{
    api::{Identity, Measurement},
    config::Device,
    errand::Errand,
};

/// What an inventory fact is worth; printed with every identity.
const NOTE: &str = "These are facts for an inventory, from a session whose secrets the host holds. They are never evidence for a guest.";

pub(super) struct Userspace;

/// Asks a device who it is: identity proven with its own key, then signed measurements. No session is opened.
pub async fn identify(device: &Device, errand: &mut Errand<'_>) -> Result<Identity, Error> {
    let during = "identify";
    let way = |source| Error::Device {
        during: "identify, at discovery,".into(),
        source,
    };
    errand.open(device.bdf).await.map_err(way)?;
    let config = RequesterConfig {
        slot: device.slot,
        roots: Trust::RelyingPartyDecides,
        goal: Goal::Identity,
        ..RequesterConfig::default()
    };
    let provider: Arc<dyn Provider> = Arc::new(Ring);
    let mut conversation = Conversation {
        requester: Requester::new(config, Arc::clone(&provider)),
        start: Instant::now(),
        facts: Facts::default(),
    };
    conversation.run(device.bdf, errand).await?;
    let facts = conversation.facts;
    let malformed = |error: String| Error::Spdm {
        during,
        reason: error,
    };
    let negotiated = facts
        .negotiated
        .ok_or_else(|| malformed("nothing was negotiated".into()))?;
    let (subjects, root_sha384) = subjects(&facts.chain, &negotiated, &*provider).map_err(malformed)?;
    let measurements = measurements(&facts.measurements, &negotiated)
        .map_err(|error| malformed(format!("the measurements cannot be read: {error}")))?;
    Ok(Identity {
        device: device.name.clone(),
        spdm: format!("{}.{}", negotiated.version.0 >> 4, negotiated.version.0 & 0xf),
        slot: device.slot,
        subjects,
        root_sha384,
        measurements,
        note: NOTE.into(),
        steps: errand.steps.list().to_vec(),
    })
}

#[derive(Default)]
struct Facts {
    negotiated: Option<Negotiated>,
    chain: Vec<u8>,
    measurements: Vec<u8>,
}

/// The loop around the machine: objects carried, timers waited for, until the measurements are there.
struct Conversation {
    requester: Requester,
    start: Instant,
    facts: Facts,
}

impl Conversation {
    async fn run(&mut self, device: Rid, errand: &mut Errand<'_>) -> Result<(), Error> {
        self.requester.connect(self.now());
        loop {
            while let Some(event) = self.requester.poll_event() {
                if self.happened(event)? {
                    return Ok(());
                }
            }
            let mut object = Vec::new();
            if self.requester.poll_transmit(&mut object) {
                let answer = errand.carry(device, &object).await;
                let answer = answer.map_err(|(step, source)| Error::Device {
                    during: format!("identify, at {step},"),
                    source,
                })?;
                self.requester.handle(self.now(), &answer);
            } else if let Some(at) = self.requester.poll_timeout() {
                tokio::time::sleep(at.since(self.now())).await;
                self.requester.handle_timeout(self.now());
            } else {
                return Err(spdm_error("the conversation came to rest before its end"));
            }
        }
    }

    /// Whether this was the last that is wanted.
    fn happened(&mut self, event: Event) -> Result<bool, Error> {
        match event {
            Event::Connected(negotiated) => self.facts.negotiated = Some(negotiated),
            Event::Certificates { chain, .. } => self.facts.chain = chain,
            Event::Challenged => match self.requester.measure(self.now(), None) {
                Ok(()) => {}
                // A device without signed measurements still has an identity.
                Err(spdm::Misuse::NoMeasurements) => return Ok(true),
                Err(error) => return Err(spdm_error(error)),
            },
            Event::Measurements(record) => {
                self.facts.measurements = record.blob;
                return Ok(true);
            }
            Event::Failed(error) => return Err(spdm_error(error)),
            _ => {}
        }
        Ok(false)
    }

    fn now(&self) -> clock::Instant {
        clock::Instant::at(self.start.elapsed())
    }
}

fn spdm_error(reason: impl std::fmt::Display) -> Error {
    Error::Spdm {
        during: "identify",
        reason: reason.to_string(),
    }
}

/// The subjects of a chain's certificates in order, and the SHA-384 of the first of them.
fn subjects(
    chain: &[u8],
    negotiated: &Negotiated,
    provider: &dyn Provider,
) -> Result<(Vec<String>, String), String> {
    let hash_size = negotiated.algorithms.hash.size();
    let unreadable = |error: &dyn std::fmt::Display| format!("the certificate chain cannot be read: {error}");
    let chain =
        certificate::Chain::decode(chain, negotiated.version, hash_size).map_err(|e| unreadable(&e))?;
    let (mut rest, mut subjects, mut root) = (chain.certificates, Vec::new(), String::new());
    while !rest.is_empty() {
        let (after, certificate) = X509Certificate::from_der(rest).map_err(|error| unreadable(&error))?;
        if root.is_empty() {
            let der = &rest[..rest.len() - after.len()];
            root = digest(provider, HashAlg::Sha384, der).to_string();
        }
        // A certificate's text is the device's: nothing in it may drive a terminal.
        let subject = certificate.subject().to_string();
        subjects.push(
            subject
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect(),
        );
        rest = after;
    }
    Ok((subjects, root))
}

/// The blocks of VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS.
fn measurements(blob: &[u8], negotiated: &Negotiated) -> Result<Vec<Measurement>, DecodeError> {
    let plain = Context::new(negotiated.version);
    let mut chosen = negotiated.algorithms.context(negotiated.version, false);
    chosen.signature_asked = true;
    let first = Context::new(Version::V1_0);
    let contexts = [&first, &first, &plain, &plain, &plain, &plain, &chosen, &chosen];
    let (mut rest, mut found) = (blob, Vec::new());
    for context in contexts.into_iter().take_while(|_| !blob.is_empty()) {
        let (message, consumed) = Message::decode(rest, context)?;
        if let Message::Measurements(answer) = &message {
            found = answer
                .record
                .blocks
                .iter()
                .map(measurement)
                .collect::<Result<_, _>>()?;
        }
        rest = rest.get(consumed..).unwrap_or_default();
    }
    Ok(found)
}

fn measurement(block: &spdm::msg::measurements::Block<'_>) -> Result<Measurement, DecodeError> {
    let dmtf = block.dmtf()?;
    let value = dmtf.value.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(Measurement {
        index: block.index,
        kind: dmtf.kind.0,
        value,
    })
}

impl Tsm for Userspace {
    fn name(&self) -> &'static str {
        "userspace"
    }

    fn note(&self) -> &'static str {
        "identifies devices for an inventory; never evidence for a guest"
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn open(&mut self) -> Later<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn lack(&self) -> &'static str {
        "a session of the host's own is no evidence for a guest; use `tidelock identify`, or another backend"
    }
}
