//! GET_DIGESTS, GET_CERTIFICATE, CHALLENGE, GET_MEASUREMENTS: in clear, and but for CHALLENGE in a session too.

use super::{Agreed, INVALID, Measurement, Open, Refusal, Reply, Responder, UNEXPECTED};
use crate::{
    crypto::Digest,
    spdm::{
        connection::Connection,
        msg::{
            NONCE_SIZE, Payload, Summary, certificate, challenge, digests,
            measurements::{self, Block, Dmtf, Kind, Operation, Record, SPECIFICATION_DMTF},
        },
        secured, signing,
        transcript::Transcript,
    },
    wire::DecodeError,
};
use alloc::vec::Vec;

/// Bytes of CERTIFICATE in front of the portion.
const CERTIFICATE_HEADER_SIZE: usize = 8;

/// What is in MEASUREMENTS' bits 5:4: measurements changed, or did not, since they were last signed.
const CHANGED: u8 = 1 << 4;
const UNCHANGED: u8 = 2 << 4;

impl Responder {
    pub(super) fn get_digests(&mut self, session: Option<u32>, body: &[u8]) -> Reply {
        let agreed = self.phase.agreed_mut().ok_or(UNEXPECTED)?;
        let (_, request) = read::<digests::Request>(agreed, session, body)?;
        let digests = digests(&self.config.chains, &agreed.connection);
        let slots = digests.iter().map(|(number, digest)| digests::Slot {
            number: *number,
            digest: digest.as_ref(),
            key: None,
        });
        let response = digests::Response {
            version: agreed.connection.negotiated.version,
            supported: 0,
            slots: slots.collect(),
        };
        let response = response.to_vec();
        agreed.add_to_m1(session, &[request, &response]);
        self.fitting(response)
    }

    pub(super) fn get_certificate(&mut self, session: Option<u32>, body: &[u8]) -> Reply {
        let agreed = self.phase.agreed_mut().ok_or(UNEXPECTED)?;
        let (message, request) = read::<certificate::Request>(agreed, session, body)?;
        let chain = chain_of(&self.config.chains, message.slot).ok_or(INVALID)?;
        let rest = chain.get(message.offset as usize..).ok_or(INVALID)?;
        let room = agreed.connection.negotiated.peer_transfer_size as usize;
        let room = room.saturating_sub(CERTIFICATE_HEADER_SIZE + secured::OVERHEAD);
        let size = rest.len().min(message.length as usize).min(room);
        if size == 0 {
            return Err(INVALID);
        }
        let response = certificate::Response {
            version: message.version,
            slot: message.slot,
            certificate_info: 0,
            large: false,
            portion: &rest[..size],
            remainder: (rest.len() - size) as u32,
        };
        let response = response.to_vec();
        agreed.add_to_m1(session, &[request, &response]);
        Ok(Some(response))
    }

    pub(super) fn challenge(&mut self, body: &[u8]) -> Reply {
        let nonce = self.random()?;
        let agreed = self.phase.agreed_mut().ok_or(UNEXPECTED)?;
        let (message, request) = read::<challenge::Request>(agreed, None, body)?;
        let chain = chain_of(&self.config.chains, message.slot).ok_or(INVALID)?;
        let chain_hash = agreed.connection.digest(chain);
        let summary = summary(&self.config.measurements, message.summary, &agreed.connection);
        let mut response = challenge::Response {
            version: message.version,
            slot: message.slot,
            mutual: false,
            slots: provisioned(&self.config.chains),
            chain_hash: chain_hash.as_ref(),
            nonce,
            summary: summary.as_ref().map(AsRef::as_ref),
            opaque: &[],
            context: message.context,
            signature: &[],
        };
        agreed.m1.add(request);
        agreed.m1.add(&response.to_vec());
        let m1 = core::mem::replace(&mut agreed.m1, agreed.connection.transcript_from_vca());
        let version = message.version;
        let to_sign = signing::message(version, signing::Context::ChallengeAuth, &m1);
        let signature = self.config.signer.sign(&to_sign)?;
        response.signature = &signature;
        self.fitting(response.to_vec())
    }

    pub(super) fn get_measurements(&mut self, session: Option<u32>, body: &[u8]) -> Reply {
        let nonce = self.random()?;
        let agreed = self.phase.agreed_mut().ok_or(UNEXPECTED)?;
        let (message, request) = read::<measurements::Request>(agreed, session, body)?;
        let slot = message.signed.map_or(0, |signed| signed.slot);
        if message.signed.is_some() && chain_of(&self.config.chains, slot).is_none() {
            return Err(INVALID);
        }
        let wanted = select(&self.config.measurements, message.operation)?;
        let encoded = encode(&wanted);
        let blocks = encoded.iter().map(|(index, measurement)| Block {
            index: *index,
            specification: SPECIFICATION_DMTF,
            measurement,
        });
        let count = self.config.measurements.len() as u8;
        let mut response = measurements::Response {
            version: message.version,
            count: if message.operation == Operation::COUNT {
                count
            } else {
                0
            },
            param2: slot | if self.changed { CHANGED } else { UNCHANGED },
            record: Record {
                blocks: blocks.collect(),
            },
            nonce,
            opaque: &[],
            context: message.context,
            signature: None,
        };
        // Before the transcript is touched: what is not said is not in it.
        let unsigned = response.to_vec();
        let signature_size = message
            .signed
            .map_or(0, |_| agreed.connection.context.signature_size);
        agreed.check_fits(unsigned.len() + signature_size)?;
        let l1 = match session {
            None => &mut agreed.l1,
            Some(id) => match self.sessions.find(id) {
                Some(Open::Live(live)) => &mut live.l1,
                _ => return Err(UNEXPECTED),
            },
        };
        l1.add(request);
        l1.add(&unsigned);
        if message.signed.is_none() {
            return Ok(Some(unsigned));
        }
        let l1: Transcript = core::mem::replace(l1, agreed.connection.measurement_transcript());
        let to_sign = signing::message(message.version, signing::Context::Measurements, &l1);
        let signature = self.config.signer.sign(&to_sign)?;
        response.signature = Some(&signature);
        self.changed = false;
        Ok(Some(response.to_vec()))
    }

    pub(super) fn random(&self) -> Result<[u8; NONCE_SIZE], Refusal> {
        let mut nonce = [0; NONCE_SIZE];
        self.provider.random(&mut nonce)?;
        Ok(nonce)
    }
}

impl Agreed {
    /// M1/M2 is of what is said in clear.
    fn add_to_m1(&mut self, session: Option<u32>, messages: &[&[u8]]) {
        if session.is_none() {
            messages.iter().for_each(|message| self.m1.add(message));
        }
    }
}

/// A request and its bytes without the object's padding, which only a message in clear can have.
pub(super) fn read<'a, M: Payload<'a>>(
    agreed: &Agreed,
    session: Option<u32>,
    body: &'a [u8],
) -> Result<(M, &'a [u8]), DecodeError> {
    let context = &agreed.connection.context;
    if session.is_some() {
        return Ok((M::decode_exact(body, context)?, body));
    }
    let (message, size) = M::decode_padded(body, context)?;
    Ok((message, body.get(..size).unwrap_or_default()))
}

pub(super) fn chain_of(chains: &[Option<Vec<u8>>; 8], slot: u8) -> Option<&[u8]> {
    chains.get(usize::from(slot)).and_then(Option::as_deref)
}

fn digests(chains: &[Option<Vec<u8>>; 8], connection: &Connection) -> Vec<(u8, Digest)> {
    let held = (0u8..).zip(chains);
    held.filter_map(|(slot, chain)| chain.as_ref().map(|chain| (slot, connection.digest(chain))))
        .collect()
}

fn provisioned(chains: &[Option<Vec<u8>>; 8]) -> u8 {
    let held = chains.iter().enumerate().filter(|(_, chain)| chain.is_some());
    held.fold(0, |mask, (slot, _)| mask | 1 << slot)
}

/// The measurements that an operation asks for.
fn select(all: &[Measurement], operation: Operation) -> Result<Vec<&Measurement>, Refusal> {
    match operation {
        Operation::COUNT => Ok(Vec::new()),
        Operation::ALL => Ok(all.iter().collect()),
        Operation(index) => {
            let one = all.iter().find(|measurement| measurement.index == index);
            Ok(Vec::from([one.ok_or(INVALID)?]))
        }
    }
}

fn encode(measurements: &[&Measurement]) -> Vec<(u8, Vec<u8>)> {
    let encode = |measurement: &&Measurement| {
        let mut bytes = Vec::new();
        let dmtf = Dmtf {
            kind: measurement.kind,
            raw: measurement.raw,
            value: &measurement.value,
        };
        dmtf.encode(&mut bytes);
        (measurement.index, bytes)
    };
    measurements.iter().map(encode).collect()
}

/// The hash over the blocks of all measurements, or of those that the trusted computing base is made of: ROM, firmware,
/// and the configurations of both.
pub(super) fn summary(all: &[Measurement], which: Summary, connection: &Connection) -> Option<Digest> {
    let in_tcb = |measurement: &&Measurement| measurement.kind <= Kind::FIRMWARE_CONFIGURATION;
    let wanted: Vec<_> = match which {
        Summary::NONE => return None,
        Summary::TCB => all.iter().filter(in_tcb).collect(),
        _ => all.iter().collect(),
    };
    let encoded = encode(&wanted);
    let blocks = encoded.iter().map(|(index, measurement)| Block {
        index: *index,
        specification: SPECIFICATION_DMTF,
        measurement,
    });
    let record = Record {
        blocks: blocks.collect(),
    };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    Some(connection.digest(&bytes))
}
