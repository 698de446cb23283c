//! GET_MEASUREMENTS, in clear and in a session; and the summaries of measurements that other answers have.

use super::{
    Asked, At, INVALID, Measured, Measurement, Open, Refusal, Reply, Responder, TOO_MUCH, UNEXPECTED, usage,
};
use crate::{
    crypto::Digest,
    spdm::{
        msg::{
            Code, Payload, Summary, Version,
            capabilities::Flags,
            measurements::{self, Block, Dmtf, Kind, Operation, Record, SPECIFICATION_DMTF},
        },
        signing,
        transcript::Transcript,
    },
};
use alloc::{vec, vec::Vec};

/// What is in bits 5:4 of signed MEASUREMENTS from 1.2 on: measurements changed, or did not, since they were last signed.
const CHANGED: u8 = 1 << 4;
const UNCHANGED: u8 = 2 << 4;

/// Bytes of GET_MEASUREMENTS, and of MEASUREMENTS but for the measurement.
const TOLD_WITH_SIZE: usize = 64;

impl Responder {
    /// An error begins L1/L2 anew, as everything does that is no part of it.
    pub(super) fn get_measurements(&mut self, asked: Asked<'_>) -> Reply {
        let reply = self.measurements(asked);
        if reply.is_err() {
            self.forget_measurements(asked.at);
        }
        reply
    }

    fn measurements(&mut self, asked: Asked<'_>) -> Reply {
        let nonce = self.random()?;
        let (message, request) = self.read::<measurements::Request>(asked)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        // A requester that did not offer the DMTF's measurements would not know what these are.
        if agreed.connection.negotiated.algorithms.measurement_hash.is_none() {
            return Err(UNEXPECTED);
        }
        let signer = match message.signed {
            Some(_) if self.config.measured != Measured::Signed => {
                return Err(Refusal::unsupported(Code::GET_MEASUREMENTS));
            }
            Some(signed) => Some(self.identity(signed.slot, usage::MEASUREMENTS)?),
            None => None,
        };
        let wanted = select(&self.config.measurements, message.operation)?;
        let encoded = encode(&wanted, message.raw);
        let count = self.config.measurements.len() as u8;
        let mut response = measurements::Response {
            version: message.version,
            count: if message.operation == Operation::COUNT {
                count
            } else {
                0
            },
            param2: signer
                .as_ref()
                .map_or(0, |signer| signer.slot | self.content_changed(message.version)),
            record: Record {
                blocks: blocks(&encoded),
            },
            nonce,
            opaque: &[],
            context: message.context,
            signature: None,
        };
        // Before the transcript is touched: what is not said is not in it.
        let unsigned = response.to_vec();
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let signature_size = signer
            .as_ref()
            .map_or(0, |_| agreed.connection.context.signature_size);
        agreed.check_fits(asked.at, unsigned.len() + signature_size)?;
        let fresh = agreed.connection.measurement_transcript();
        let told = self.config.measurements.iter().map(Measurement::told).sum();
        let l1_of = self.l1_mut(asked.at)?;
        let mut l1 = l1_of.take().unwrap_or(fresh);
        if !l1.has_room(request.len() + unsigned.len(), told) {
            return Err(TOO_MUCH);
        }
        l1.add(request);
        l1.add(&unsigned);
        let Some(signer) = signer else {
            *l1_of = Some(l1);
            return Ok(Some(unsigned));
        };
        let to_sign = signing::message(message.version, signing::Context::Measurements, &l1);
        let signature = signer.signer.sign(&to_sign)?;
        response.signature = Some(&signature);
        let signed = response.to_vec();
        self.changed = false;
        Ok(Some(signed))
    }

    fn content_changed(&self, version: Version) -> u8 {
        match self.changed {
            _ if version < Version::V1_2 => 0,
            true => CHANGED,
            false => UNCHANGED,
        }
    }

    /// L1/L2, once it has begun: one outside sessions, and one in each.
    fn l1_mut(&mut self, at: At) -> Result<&mut Option<Transcript>, Refusal> {
        match at {
            At::Clear => Ok(&mut self.phase.agreed_mut().ok_or(UNEXPECTED)?.l1),
            At::Session(id) => match self.sessions.find(id) {
                Some(Open::Live(live)) => Ok(&mut live.l1),
                _ => Err(UNEXPECTED),
            },
        }
    }

    /// Begins L1/L2 anew.
    pub(super) fn forget_measurements(&mut self, at: At) {
        if let Ok(l1) = self.l1_mut(at) {
            *l1 = None;
        }
    }

    /// The hash over the blocks of all measurements, or of those that the trusted computing base is made of: ROM,
    /// firmware, and the configurations of both. Of a base in which nothing is measured it is zeros. It is not to be
    /// asked for where there are no measurements, or no format for them was agreed on.
    pub(super) fn summary(&self, which: Summary) -> Result<Option<Digest>, Refusal> {
        let connection = &self.phase.agreed().ok_or(UNEXPECTED)?.connection;
        let flags = self.config.flags(connection.negotiated.version);
        let formatted = connection.negotiated.algorithms.measurement_hash.is_some();
        let in_tcb = |measurement: &&Measurement| measurement.kind <= Kind::FIRMWARE_CONFIGURATION;
        let all = self.config.measurements.iter();
        let wanted: Vec<_> = match which {
            Summary::NONE => return Ok(None),
            _ if !flags.any(Flags::MEAS_MASK) || !formatted => return Err(INVALID),
            Summary::TCB => all.filter(in_tcb).collect(),
            _ => all.collect(),
        };
        if which == Summary::TCB && wanted.is_empty() {
            return Ok(Digest::new(&vec![0; connection.context.hash_size]));
        }
        let encoded = encode(&wanted, false);
        let record = Record {
            blocks: blocks(&encoded),
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        Ok(Some(connection.digest(&bytes)))
    }
}

impl Measurement {
    /// Bytes of it and of what it is told with, where it is asked for alone.
    fn told(&self) -> usize {
        let raw = self.bit_stream.as_ref().map_or(0, Vec::len);
        self.value.len().max(raw) + TOLD_WITH_SIZE
    }
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

/// Each measurement's block; with `raw` by its bit stream where there is one.
fn encode(measurements: &[&Measurement], raw: bool) -> Vec<(u8, Vec<u8>)> {
    let encode = |measurement: &&Measurement| {
        let mut bytes = Vec::new();
        let bit_stream = measurement.bit_stream.as_deref().filter(|_| raw);
        let dmtf = Dmtf {
            kind: measurement.kind,
            raw: measurement.raw || bit_stream.is_some(),
            value: bit_stream.unwrap_or(&measurement.value),
        };
        dmtf.encode(&mut bytes);
        (measurement.index, bytes)
    };
    measurements.iter().map(encode).collect()
}

fn blocks(encoded: &[(u8, Vec<u8>)]) -> Vec<Block<'_>> {
    let blocks = encoded.iter().map(|(index, measurement)| Block {
        index: *index,
        specification: SPECIFICATION_DMTF,
        measurement,
    });
    blocks.collect()
}
