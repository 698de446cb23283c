//! From a function that the host offers to evidence that holds: lock, nonce, fetch, verify. Nothing is enabled here.
//!
//! ```text
//!   detach ─► lock (host) ─► inform (TSM) ─► nonce ─► measure (TSM) ─► fetch (host) ─► inform (TSM) ─► verify ─► Verified
//! ```

use crate::channel::{self, Link};
use crate::config::high::Device;
use crate::error::{Fault, Refusal, Step};
use crate::platform::Platform;
use crate::revocation;
use crate::steps::Steps;
use tdisp::clock::UnixTime;
use tdisp::crypto::Provider;
use tdisp::evidence::{self, Bundle, Crls, Expectation, Verified};
use tdisp::relay::guest::{Binding, TdiInfo, TdiState};
use tdisp::relay::{ObjectKind, TdiId, Vouched};

/// What is the same for all devices of one run.
pub struct Collector<'a> {
    /// For hashes, signatures and random bytes.
    pub provider: &'a dyn Provider,
    /// For the validity of certificates.
    pub now: UnixTime,
    /// Nonces drawn so far.
    pub nonces: Vec<[u8; 32]>,
    /// Interfaces that earlier devices have.
    pub taken: Vec<(TdiId, u32)>,
}

impl core::fmt::Debug for Collector<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Collector({} nonces drawn)", self.nonces.len())
    }
}

impl Collector<'_> {
    /// Walks one device to verified evidence.
    pub fn collect(
        &mut self,
        device: &Device,
        link: &mut Link,
        platform: &mut dyn Platform,
        steps: &mut Steps,
    ) -> Result<Verified, Refusal> {
        steps.time(Step::Detach, || detach(device, link, platform))?;
        steps.time(Step::Lock, || {
            let name = link.bind(device.bdf, device.lock.require);
            name.map(drop)
                .map_err(|error| Refusal::channel(Step::Lock, &error))
        })?;
        let before = steps.time(Step::Inform, || self.inform(device, link))?;
        let nonce = steps.time(Step::Measure, || {
            let nonce = self.nonce()?;
            let measured = link.refresh(before.tdi, before.generation, nonce);
            measured
                .map(|()| nonce)
                .map_err(|error| Refusal::channel(Step::Measure, &error))
        })?;
        let bundle = steps.time(Step::Fetch, || {
            fetch(before.tdi, link).map_err(|error| Refusal::channel(Step::Fetch, &error))
        })?;
        steps.time(Step::Verify, || {
            self.verify(device, &before, nonce, &bundle, link)
        })
    }

    /// What the TSM has locked; the host's word for it is not looked at.
    fn inform(&mut self, device: &Device, link: &mut Link) -> Result<Vouched<TdiInfo>, Refusal> {
        let step = Step::Inform;
        let info = link
            .info(device.bdf)
            .map_err(|error| Refusal::channel(step, &error))?;
        check_locked(step, &info)?;
        let taken = |(tdi, function): &(TdiId, u32)| *tdi == info.tdi || *function == info.function_id;
        if self.taken.iter().any(taken) {
            return Err(Refusal::new(
                step,
                Fault::Host,
                format!(
                    "interface {} (function {:#x}) is another device's already; wanted one for each; the host binds one interface to two functions",
                    info.tdi, info.function_id
                ),
            ));
        }
        self.taken.push((info.tdi, info.function_id));
        Ok(info)
    }

    fn nonce(&mut self) -> Result<[u8; 32], Refusal> {
        let mut nonce = [0; 32];
        let drawn = self.provider.random(&mut nonce);
        if drawn.is_err() || nonce == [0; 32] || self.nonces.contains(&nonce) {
            return Err(Refusal::new(
                Step::Measure,
                Fault::Guest,
                "the random source fails or repeats itself; wanted a fresh nonce; nothing is verified with it: see the kernel's log and the machine's random sources",
            ));
        }
        self.nonces.push(nonce);
        Ok(nonce)
    }

    fn verify(
        &self,
        device: &Device,
        before: &TdiInfo,
        nonce: [u8; 32],
        bundle: &Bundle,
        link: &mut Link,
    ) -> Result<Verified, Refusal> {
        let step = Step::Verify;
        let info = link
            .info(device.bdf)
            .map_err(|error| Refusal::channel(step, &error))?;
        check_locked(step, &info)?;
        if (info.tdi, info.generation) != (before.tdi, before.generation) {
            return Err(Refusal::new(
                step,
                Fault::Host,
                format!(
                    "the interface was locked anew while its evidence was fetched: {} generation {}; wanted {} generation {}; bind the device anew",
                    info.tdi, info.generation, before.tdi, before.generation
                ),
            ));
        }
        let lists = revocation::read(&device.crls)?;
        let expectation = Expectation {
            nonce,
            guest: channel::rid(device.bdf),
            roots: &device.roots,
            now: self.now,
            function_id: device.function_id,
            identity: device.identity.clone(),
            floor: device.floor,
            crls: Crls {
                lists: &lists,
                rule: device.crl,
            },
        };
        evidence::verify(bundle, &info, &expectation, self.provider)
            .map_err(|refusal| Refusal::new(step, Fault::Device, refusal.to_string()))
    }
}

/// Takes the device out of whatever it was in before, and readies it for a lock.
fn detach(device: &Device, link: &mut Link, platform: &mut dyn Platform) -> Result<(), Refusal> {
    let step = Step::Detach;
    platform
        .unbind(device.bdf)
        .map_err(|error| Refusal::platform(step, &error))?;
    let info = link
        .info(device.bdf)
        .map_err(|error| Refusal::channel(step, &error))?;
    if info.status == Binding::BOUND {
        // An agent before this one was interrupted. Its lock is not ours: it goes, and its verdict with it.
        release(info.tdi, device, link).map_err(|error| Refusal::channel(step, &error))?;
    }
    platform
        .enable_memory_and_bus_master(device.bdf)
        .map_err(|error| Refusal::platform(step, &error))
}

/// Has the TSM stop an interface and the host forget it.
pub(crate) fn release(tdi: TdiId, device: &Device, link: &mut Link) -> Result<(), channel::Error> {
    let settled = |done: Result<(), channel::Error>| match done {
        // Nothing to stop is as good as stopped.
        Err(channel::Error::Tsm { .. } | channel::Error::Refused { .. }) => Ok(()),
        done => done,
    };
    settled(link.stop(tdi))?;
    settled(link.unbind(device.bdf))
}

fn fetch(tdi: TdiId, link: &mut Link) -> Result<Bundle, channel::Error> {
    Ok(Bundle {
        certificates: link.object(tdi, ObjectKind::CERTIFICATES)?,
        measurements: link.object(tdi, ObjectKind::MEASUREMENTS)?,
        report: link.object(tdi, ObjectKind::REPORT)?,
    })
}

/// Whether an interface is bound and locked, and nothing more.
fn check_locked(step: Step, info: &TdiInfo) -> Result<(), Refusal> {
    let refused = |fault, message: String| Err(Refusal::new(step, fault, message));
    if info.status != Binding::BOUND {
        return refused(
            Fault::Host,
            format!(
                "the TSM knows no interface for the function ({}); wanted one that is bound; the host says it bound one: see its log",
                info.status
            ),
        );
    }
    if info.dma_enabled {
        return refused(
            Fault::Tsm,
            format!(
                "ALERT: DMA is enabled in state {} before any verdict; wanted it off; do not use this machine",
                info.state
            ),
        );
    }
    if info.state != TdiState::LOCKED {
        return refused(
            Fault::Host,
            format!(
                "the interface is in state {}; wanted LOCKED; bind the device anew",
                info.state
            ),
        );
    }
    Ok(())
}
