//! The only code that makes a device trusted.
//!
//! No code path can enable a device without an [`Accepted`], and no `Accepted` exists without a [`Verified`].
//!
//! ```text
//!   Accepted ─► ValidateMmio each range ─► nothing moved? ─► START ─► EnableDma ─► RUN and DMA on? ─► group DMA ─► driver
//!                         │                                    └──────── any error from here on ────────┐
//!                         └ error: nothing was enabled                       DisableDma, driver away, Stop ◄┘
//! ```
//! The requests that enable something, in [`Link`] and in [`Platform`], take a [`Grant`], and only this file makes one.

use crate::channel::Link;
use crate::config::high::Device;
use crate::error::{Fault, Refusal, Step};
use crate::platform::{Path, Platform};
use crate::policy::{Accepted, Placement};
use crate::steps::Steps;
use tdisp::evidence::{Lock, Verified};
use tdisp::relay::TdiId;
use tdisp::relay::guest::{Binding, TdiInfo, TdiState, ValidateMmio};

/// Permission to enable one device; there is one while, and only while, its [`Accepted`] is being used.
#[derive(Debug)]
pub struct Grant<'a>(&'a Accepted);

impl Grant<'_> {
    /// The function that may be enabled.
    pub fn bdf(&self) -> sriov::Bdf {
        self.0.bdf()
    }
}

/// A device that is trusted and works. What it rests on is watched by [`monitor`](crate::monitor).
#[derive(Debug)]
pub struct Running {
    accepted: Accepted,
}

impl Running {
    /// The evidence that the verdict rests on.
    pub fn verified(&self) -> &Verified {
        self.accepted.verified()
    }

    /// The TSM's name of the interface.
    pub fn tdi(&self) -> TdiId {
        self.verified().lock().tdi
    }

    /// Whether the TSM still says what the verdict rests on, and that the device runs.
    pub fn still_holds(&self, info: &TdiInfo) -> Result<(), String> {
        unmoved(self.verified(), info)?;
        running(info)
    }
}

/// Enables the device. On an error nothing is enabled.
pub fn accept(
    accepted: Accepted,
    device: &Device,
    link: &mut Link,
    platform: &mut dyn Platform,
    steps: &mut Steps,
) -> Result<Running, Refusal> {
    let grant = Grant(&accepted);
    steps.time(Step::ValidateMmio, || validate(&accepted, &grant, link))?;
    steps.time(Step::Recheck, || recheck(&accepted, link))?;
    let enabled = enable(&accepted, device, &grant, link, platform, steps);
    match enabled {
        Ok(()) => Ok(Running { accepted }),
        Err(refusal) => {
            disable(accepted.verified().lock().tdi, &accepted, link, platform);
            Err(refusal)
        }
    }
}

/// Takes everything back that [`accept`] gave. Each part is tried whatever becomes of the others; a link that has
/// failed is opened anew first, because a device must not be left enabled for the host's convenience.
pub fn revoke(running: Running, link: &mut Link, platform: &mut dyn Platform) {
    disable(running.tdi(), &running.accepted, link, platform);
}

fn disable(tdi: TdiId, accepted: &Accepted, link: &mut Link, platform: &mut dyn Platform) {
    // DMA goes first: a driver may wait for its device without end, and what its going unmaps is unmapped in the host's
    // IOMMU. The interface still runs meanwhile, because a driver cannot say goodbye to one that does not answer.
    let mut dma = link.disable_dma(tdi);
    // Without a driver nothing maps memory for the device any more, whatever else fails.
    if let Err(error) = platform.unbind(accepted.bdf()) {
        tell(format_args!("{}: the driver stays: {error}", accepted.bdf()));
    }
    for attempt in [false, true] {
        if attempt && link.reopen().is_err() {
            break;
        }
        if attempt && !settled(&dma) {
            dma = link.disable_dma(tdi);
        }
        let stop = link.stop(tdi);
        if settled(&dma) && settled(&stop) {
            return;
        }
    }
    tell(format_args!(
        "{}: the TSM could not be told to stop the interface; it has no driver",
        accepted.bdf()
    ));
}

/// What the TSM itself refuses (it has no such interface any more) it will refuse again.
fn settled(done: &Result<(), crate::channel::Error>) -> bool {
    matches!(done, Ok(()) | Err(crate::channel::Error::Tsm { .. }))
}

fn validate(accepted: &Accepted, grant: &Grant<'_>, link: &mut Link) -> Result<(), Refusal> {
    let step = Step::ValidateMmio;
    let lock = accepted.verified().lock();
    for Placement { range_id, gpa, pages } in accepted.placements().iter().copied() {
        let range = ValidateMmio {
            tdi: lock.tdi,
            generation: lock.generation,
            range_id,
            gpa,
            pages,
        };
        let changed = link
            .validate(range, grant)
            .map_err(|error| Refusal::channel(step, &error))?;
        if !changed {
            return Err(Refusal::new(
                step,
                Fault::Tsm,
                format!(
                    "the memory of BAR {range_id} at {gpa:#x} was validated before; wanted pages that this lock validates first; bind the device anew"
                ),
            ));
        }
    }
    Ok(())
}

/// The last question before the device is started.
fn recheck(accepted: &Accepted, link: &mut Link) -> Result<(), Refusal> {
    let step = Step::Recheck;
    let info = link
        .info(accepted.bdf())
        .map_err(|error| Refusal::channel(step, &error))?;
    let locked = |info: &TdiInfo| match info.state {
        TdiState::LOCKED if !info.dma_enabled => Ok(()),
        TdiState::LOCKED => Err("DMA is enabled before the start".to_owned()),
        state => Err(format!("the interface is in state {state}; wanted LOCKED")),
    };
    let holds = unmoved(accepted.verified(), &info).and_then(|()| locked(&info));
    holds.map_err(|what| {
        Refusal::new(
            step,
            Fault::Host,
            format!("{what}; the verdict is void: bind and verify the device anew"),
        )
    })
}

fn enable(
    accepted: &Accepted,
    device: &Device,
    grant: &Grant<'_>,
    link: &mut Link,
    platform: &mut dyn Platform,
    steps: &mut Steps,
) -> Result<(), Refusal> {
    let (bdf, lock) = (accepted.bdf(), accepted.verified().lock());
    steps.time(Step::Start, || {
        let started = link.start(lock.tdi, lock.generation, lock.report_count, grant);
        started.map_err(|error| Refusal::channel(Step::Start, &error))
    })?;
    steps.time(Step::EnableDma, || {
        let step = Step::EnableDma;
        let enabled = link.enable_dma(lock.tdi, lock.generation, grant);
        enabled.map_err(|error| Refusal::channel(step, &error))?;
        // That a request was answered proves nothing about what it did.
        let info = link.info(bdf).map_err(|error| Refusal::channel(step, &error))?;
        let holds = unmoved(accepted.verified(), &info).and_then(|()| running(&info));
        holds.map_err(|what| {
            Refusal::new(
                step,
                Fault::Tsm,
                format!("{what}; see the host's and the TSM's logs, then bind the device anew"),
            )
        })
    })?;
    steps.time(Step::Direct, || {
        let step = Step::Direct;
        platform.direct(bdf, grant).map_err(|error| Refusal::platform(step, &error))?;
        match platform.path(bdf).map_err(|error| Refusal::platform(step, &error))? {
            Path::Direct => Ok(()),
            Path::Bounce => Err(Refusal::new(
                step,
                Fault::Guest,
                "the kernel still bounces its transfers; wanted the direct path; boot with a vIOMMU (intel_iommu=on)",
            )),
        }
    })?;
    steps.time(Step::Driver, || {
        platform
            .bind(bdf, &device.driver)
            .map_err(|error| Refusal::platform(Step::Driver, &error))
    })
}

/// Whether the lock is the one that was verified.
fn unmoved(verified: &Verified, info: &TdiInfo) -> Result<(), String> {
    let lock = verified.lock();
    if info.status != Binding::BOUND {
        return Err(format!(
            "no interface is bound any more ({}); wanted {}",
            info.status, lock.tdi
        ));
    }
    if info.tdi != lock.tdi {
        return Err(format!(
            "another interface is bound: {}; wanted {}",
            info.tdi, lock.tdi
        ));
    }
    if info.generation != lock.generation {
        return Err(format!(
            "the interface was locked anew: generation {}; wanted {}",
            info.generation, lock.generation
        ));
    }
    if info.report_count != lock.report_count {
        return Err(format!(
            "the report was read anew: count {}; wanted {}",
            info.report_count, lock.report_count
        ));
    }
    if Lock::of(info) != *lock {
        return Err(format!(
            "the lock has other flags ({:#x}) or another interface ({:#x}); wanted {:#x} and {:#x}",
            info.lock_flags, info.function_id, lock.flags, lock.function_id
        ));
    }
    Ok(())
}

fn running(info: &TdiInfo) -> Result<(), String> {
    match (info.state, info.dma_enabled) {
        (TdiState::RUN, true) => Ok(()),
        (TdiState::RUN, false) => Err("the interface runs, but its DMA is off; wanted DMA on".to_owned()),
        (state, _) => Err(format!("the interface is in state {state}; wanted RUN")),
    }
}

fn tell(message: core::fmt::Arguments<'_>) {
    eprintln!("tidelock-agent: {message}");
}
