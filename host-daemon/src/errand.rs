//! One errand for the TSM: what it has carried to devices, how long that took, and the evidence that came of it.

use std::{collections::BTreeMap, path::PathBuf};

use tdisp::relay::{ObjectKind, Rid, host::Owner};

use crate::{
    config::Device,
    steps::{Steps, name_of},
    transport::{Error, Mailbox},
};

/// The ways to all configured devices; each is opened when it is first needed.
#[derive(Debug)]
pub struct Mailboxes {
    locks: PathBuf,
    devices: BTreeMap<Rid, (Device, Option<Mailbox>)>,
}

impl Mailboxes {
    /// Nothing is open yet. `locks` is the directory of the per-device lock files.
    pub fn new(devices: &[Device], locks: PathBuf) -> Self {
        let devices = devices
            .iter()
            .map(|device| (device.bdf, (device.clone(), None)))
            .collect();
        Self { locks, devices }
    }

    /// Opens the way to `device` anew.
    pub async fn open(&mut self, device: Rid) -> Result<&mut Mailbox, Error> {
        let locks = self.locks.clone();
        let Some((config, mailbox)) = self.devices.get_mut(&device) else {
            return Err(unknown(device));
        };
        *mailbox = None;
        Ok(mailbox.insert(Mailbox::open(config, &locks).await?))
    }

    /// Closes the way to `device`, with a word of goodbye.
    pub async fn close(&mut self, device: Rid) {
        if let Some(mailbox) = self
            .devices
            .get_mut(&device)
            .and_then(|(_, mailbox)| mailbox.take())
        {
            mailbox.close().await;
        }
    }

    async fn exchange(&mut self, device: Rid, object: &[u8]) -> Result<Vec<u8>, Error> {
        match self.devices.get_mut(&device) {
            Some((_, Some(mailbox))) => mailbox.exchange(object).await,
            _ => self.open(device).await?.exchange(object).await,
        }
    }
}

/// One operation of the TSM's, as the daemon sees it.
#[derive(Debug)]
pub struct Errand<'a> {
    mailboxes: &'a mut Mailboxes,
    /// How long what took.
    pub steps: Steps,
    /// Evidence for the cache, in the order in which it came.
    pub evidence: Vec<(Owner, ObjectKind, Vec<u8>)>,
}

impl<'a> Errand<'a> {
    /// Nothing was carried yet.
    pub fn new(mailboxes: &'a mut Mailboxes) -> Self {
        Self {
            mailboxes,
            steps: Steps::begin(),
            evidence: Vec::new(),
        }
    }

    /// Opens the way to `device` anew, DOE discovery included.
    pub async fn open(&mut self, device: Rid) -> Result<(), Error> {
        self.steps
            .time("discovery", self.mailboxes.open(device))
            .await
            .map(drop)
    }

    /// Carries one object; on failure the step's name and why.
    pub async fn carry(&mut self, device: Rid, object: &[u8]) -> Result<Vec<u8>, (String, Error)> {
        let name = name_of(object);
        let answer = self
            .steps
            .time(&name, self.mailboxes.exchange(device, object))
            .await;
        answer.map_err(|error| (name, error))
    }

    /// Keeps evidence in the place of what came before of the same kind. False if it is of more owners and kinds than
    /// any operation has: a TSM that never ends must not fill memory and disk.
    pub fn keep(&mut self, owner: Owner, kind: ObjectKind, bytes: Vec<u8>) -> bool {
        self.evidence
            .retain(|(held, of_kind, _)| (*held, *of_kind) != (owner, kind));
        self.evidence.push((owner, kind, bytes));
        self.evidence.len() <= OBJECTS_MAX
    }
}

/// Three kinds of a device, and three of a TDI.
pub const OBJECTS_MAX: usize = 6;

fn unknown(device: Rid) -> Error {
    Error::Malformed {
        what: "address in the TSM's carriage",
        found: device.to_string(),
        wanted: "a configured device's".into(),
    }
}
