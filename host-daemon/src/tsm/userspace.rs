//! A session of the host's own, over the DOE mailbox: facts for an inventory.
//!
//! The host holds this session's secrets and could have made everything up, so nothing of it is evidence for a guest.
//! As a backend it connects nothing and binds nothing; what it is for is [`identify`].

use tdisp::{
    relay::Rid,
    spdm::{RequesterConfig, requester::Measure},
};

use super::{Error, Later, Tsm};
use crate::{
    api::{Identity, Measurement},
    config::Device,
    errand::Errand,
    spdm::{
        device::{
            facts::{Facts, Measured},
            talk::{Carry, Failure, Lack, Plan, talk},
        },
        hex,
    },
    transport,
};

/// What an inventory fact is worth; printed with every identity.
const NOTE: &str = "These are facts for an inventory, from a session whose secrets the host holds. They are never evidence for a guest.";

pub(super) struct Userspace;

/// Asks a device who it is, as `tidelock spdm measure` does: identity proven with its own key, then signed measurements. No
/// session is opened.
pub async fn identify(device: &Device, errand: &mut Errand<'_>) -> Result<Identity, Error> {
    let opened = errand.open(device.bdf).await;
    opened.map_err(|source| Error::Device {
        during: "identify, at discovery,".into(),
        source,
    })?;
    let plan = Plan {
        config: RequesterConfig {
            slot: device.slot,
            ..RequesterConfig::default()
        },
        measure: Some(Measure::all(None)),
        session: None,
        every_slot: false,
    };
    let mut way = Way {
        device: device.bdf,
        errand,
    };
    let talk = talk(&mut way, &plan).await;
    match talk.failure {
        None => {}
        // A device without signed measurements still has an identity.
        Some(Failure::Lacks(Lack::Capability { .. })) => {}
        Some(Failure::Way { request, source }) => {
            return Err(Error::Device {
                during: format!("identify, at {},", request.to_lowercase()),
                source,
            });
        }
        Some(failure) => return Err(spdm_error(failure)),
    }
    identity(device, &Facts::of(&talk.capture, None, &[]), errand)
}

/// What was said, if it agrees and the device has proven its key.
fn identity(device: &Device, facts: &Facts, errand: &Errand<'_>) -> Result<Identity, Error> {
    if let Some(first) = facts.disagreement() {
        return Err(spdm_error(first));
    }
    let chain = facts.chains.iter().find(|chain| chain.slot == device.slot);
    let chain = chain.ok_or_else(|| spdm_error("the device shows no certificate chain (CERT_CAP)"))?;
    if !facts.challenged_slots.contains(&device.slot) {
        return Err(spdm_error(
            "the device shows a certificate chain, and cannot show that it has the key (CHAL_CAP)",
        ));
    }
    let signed = facts
        .measurements
        .iter()
        .filter(|measured| measured.signed == Some(device.slot))
        .map(measurement);
    Ok(Identity {
        device: device.name.clone(),
        spdm: facts.spdm.clone().unwrap_or_default(),
        slot: device.slot,
        subjects: chain.subjects(),
        root_sha384: chain.root.to_string(),
        measurements: signed.collect::<Result<_, _>>()?,
        note: NOTE.into(),
        steps: errand.steps.list().to_vec(),
    })
}

fn measurement(measured: &Measured) -> Result<Measurement, Error> {
    let kind = measured.kind_number.ok_or_else(|| {
        let index = measured.index;
        spdm_error(format!("measurement {index} is of a form that is not the DMTF's"))
    })?;
    Ok(Measurement {
        index: u8::try_from(measured.index).unwrap_or(u8::MAX),
        kind,
        value: hex(&measured.value),
    })
}

/// The way to one device that an errand goes.
struct Way<'e, 'a> {
    device: Rid,
    errand: &'e mut Errand<'a>,
}

impl Carry for Way<'_, '_> {
    async fn carry(&mut self, unit: &[u8]) -> Result<Vec<u8>, transport::Error> {
        let carried = self.errand.carry(self.device, unit).await;
        carried.map_err(|(_, source)| source)
    }
}

fn spdm_error(reason: impl std::fmt::Display) -> Error {
    Error::Spdm {
        during: "identify",
        reason: reason.to_string(),
    }
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
