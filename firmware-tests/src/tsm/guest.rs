//! A guest's requests as lists of steps. A guest can name only TDIs that are bound to its own VM, and only in the
//! lock that its verdict is about.

use tdisp::{
    relay::{
        Rid, TdiId, VmId,
        guest::{PAGE_SIZE, Request, Response, Status, TdiState, ValidateMmio},
    },
    tdi::report::Report,
};

use super::{
    command::stop,
    core::Core,
    platform::Effected,
    state::Tdi,
    step::{Ask, Failure, Reply, Step, Told},
};

/// Ranges that one VM may share: bounce buffers are one, or a few.
const SHARES_MAX: usize = 64;
/// Pages in one validation: 64 MiB.
const PAGES_MAX: u64 = 16 * 1024;

impl Core {
    /// What `request` takes; a refusal is an answer too, given at the end of no steps.
    pub(super) fn guest_script(&mut self, vm: VmId, request: Request) -> (Reply, Vec<Step>) {
        match self.guest_steps(vm, request) {
            Ok((told, steps)) => (Reply::Guest(vm, told), steps),
            Err(Failure { status, reason, .. }) => (
                Reply::Sealed(vm, Response::Refused { status, reason }),
                Vec::new(),
            ),
        }
    }

    fn guest_steps(&mut self, vm: VmId, request: Request) -> Result<(Told, Vec<Step>), Failure> {
        let steps = match request {
            Request::TdiInfo { guest } => return Ok(self.info_steps(vm, guest)),
            Request::RefreshMeasurements {
                tdi,
                generation,
                nonce,
            } => {
                let device = self.in_lock(vm, tdi, generation)?.device;
                let owner = tdisp::relay::host::Owner::Tdi(tdi);
                vec![Step::Measure {
                    device,
                    nonce: Some(nonce),
                    owner,
                }]
            }
            Request::ValidateMmio(asked) => {
                self.check_range(vm, &asked)?;
                vec![Step::Validate(asked)]
            }
            Request::Start {
                tdi,
                generation,
                report_count,
            } => self.start_steps(vm, tdi, generation, report_count)?,
            Request::EnableDma { tdi, generation } => {
                self.in_lock(vm, tdi, generation)?;
                let ask = Step::Ask { tdi, ask: Ask::State };
                let run = Step::Expect {
                    tdi,
                    state: TdiState::RUN,
                };
                let close = Step::OnFailure(vec![Step::Gate { tdi, open: false }]);
                // Held first, asked then: the device answers over our session only while the lock is ours, and a host
                // that keeps the answer back to lock anew over a session of its own finds the hold gone.
                let hold = Step::Hold { tdi };
                vec![close, hold, ask, run, Step::Gate { tdi, open: true }]
            }
            Request::DisableDma { tdi } => {
                self.named(vm, tdi)?;
                vec![Step::Gate { tdi, open: false }]
            }
            Request::Stop { tdi } => {
                self.named(vm, tdi)?;
                stop(tdi)
            }
            Request::Share { gpa, len } => self.share_steps(vm, gpa, len)?,
            Request::Unshare { gpa, len } => {
                let shared = self
                    .state
                    .vms
                    .get(&vm)
                    .is_some_and(|vm| vm.shares.contains(&(gpa, len)));
                if !shared {
                    let reason = format!("{len} bytes at {gpa:#x} are not a range that was shared");
                    return Err(Failure::guest(Status::BAD_REQUEST, reason));
                }
                vec![Step::Unshare { vm, gpa, len }]
            }
        };
        Ok((Told::Done, steps))
    }

    /// The state is asked of the device each time: a TDI that left RUN has its gate closed before the guest is told.
    fn info_steps(&self, vm: VmId, guest: Rid) -> (Told, Vec<Step>) {
        match self.state.tdi_at(vm, guest) {
            Some(tdi) => {
                let steps = vec![Step::Ask { tdi, ask: Ask::State }, Step::FollowState { tdi }];
                (
                    Told::Info {
                        guest,
                        tdi: Some(tdi),
                    },
                    steps,
                )
            }
            None => (Told::Info { guest, tdi: None }, Vec::new()),
        }
    }

    fn start_steps(
        &self,
        vm: VmId,
        tdi: TdiId,
        generation: u64,
        report_count: u64,
    ) -> Result<Vec<Step>, Failure> {
        let found = self.in_lock(vm, tdi, generation)?.report_count;
        if found != report_count {
            let reason =
                format!("the report was read {found} times, the verdict saw {report_count}; verify again");
            return Err(Failure::guest(Status::STALE, reason));
        }
        let ask = |ask| Step::Ask { tdi, ask };
        Ok(vec![
            ask(Ask::State),
            Step::Expect {
                tdi,
                state: TdiState::LOCKED,
            },
            // From here the device may be running: a failure stops it.
            Step::OnFailure(stop(tdi)),
            ask(Ask::Start),
            ask(Ask::State),
            Step::Expect {
                tdi,
                state: TdiState::RUN,
            },
        ])
    }

    fn share_steps(&self, vm: VmId, gpa: u64, len: u64) -> Result<Vec<Step>, Failure> {
        let end = gpa.checked_add(len);
        if len == 0 || end.is_none() || !gpa.is_multiple_of(PAGE_SIZE) || !len.is_multiple_of(PAGE_SIZE) {
            let reason = format!("{len} bytes at {gpa:#x} are not whole pages of {PAGE_SIZE} bytes");
            return Err(Failure::guest(Status::NOT_4K, reason));
        }
        let shares = self.state.vms.get(&vm).map_or(0, |vm| vm.shares.len());
        if shares >= SHARES_MAX {
            let reason =
                format!("{shares} ranges are shared, at most {SHARES_MAX} may be; share larger ones");
            return Err(Failure::guest(Status::RESOURCES, reason));
        }
        Ok(vec![Step::Share { vm, gpa, len }])
    }

    /// The TDI, if it is this VM's.
    fn named(&self, vm: VmId, tdi: TdiId) -> Result<&Tdi, Failure> {
        let found = self
            .state
            .tdis
            .get(&tdi)
            .filter(|found| found.bound && found.vm == vm);
        found.ok_or_else(|| {
            Failure::guest(
                Status::INVALID_TDI,
                format!("no TDI {tdi} is bound to this VM; ask for its info"),
            )
        })
    }

    /// The TDI, if it is this VM's and in the lock that is meant.
    fn in_lock(&self, vm: VmId, tdi: TdiId, generation: u64) -> Result<&Tdi, Failure> {
        let tdi = self.named(vm, tdi)?;
        if tdi.generation == generation {
            return Ok(tdi);
        }
        let reason = format!(
            "the lock is number {}, the request means {generation}; verify again",
            tdi.generation
        );
        Err(Failure::guest(Status::STALE, reason))
    }

    /// Checks a range against the interface report, before the platform is asked what is mapped there.
    fn check_range(&self, vm: VmId, asked: &ValidateMmio) -> Result<(), Failure> {
        let tdi = self.in_lock(vm, asked.tdi, asked.generation)?;
        let reported = reported(tdi, asked.range_id)?;
        if !asked.gpa.is_multiple_of(PAGE_SIZE) {
            let reason = format!(
                "{:#x} is not the address of a page of {PAGE_SIZE} bytes",
                asked.gpa
            );
            return Err(Failure::guest(Status::NOT_4K, reason));
        }
        if asked.pages == 0 || asked.pages > reported.pages.min(PAGES_MAX) {
            let (asked, has) = (asked.pages, reported.pages);
            let reason = format!("{asked} pages are asked for, the range has {has}");
            return Err(Failure::guest(Status::OUT_OF_RANGE, reason));
        }
        Ok(())
    }

    /// Compares what the host mapped with what the guest says; whether any page is new.
    pub(super) fn validated(&mut self, asked: &ValidateMmio, found: Effected) -> Result<bool, Failure> {
        let Effected::Mmio { base, len } = found else {
            return Err(Failure::platform("the platform did not say where the range is"));
        };
        if base != asked.gpa || len < asked.pages.saturating_mul(PAGE_SIZE) {
            let reason = format!(
                "the host mapped {len} bytes at {base:#x}, the guest means {} pages at {:#x}",
                asked.pages, asked.gpa
            );
            return Err(Failure::guest(Status::NOT_MAPPED, reason));
        }
        let Some(tdi) = self.state.tdis.get_mut(&asked.tdi) else {
            return Err(Failure::guest(Status::UNBOUND, "the TDI is not bound any more"));
        };
        // What the device says its range is must be what the platform mapped: another function's report names other addresses.
        let reported = reported(tdi, asked.range_id)?.address;
        if reported != base {
            let reason = format!(
                "the interface report puts range {} at {reported:#x}, the platform has it at {base:#x}: the report is of \
                 another function, or of another configuration",
                asked.range_id
            );
            return Err(Failure::guest(Status::NOT_REPORTED, reason));
        }
        let pages = (0..asked.pages).map(|page| (asked.range_id, asked.gpa + page * PAGE_SIZE));
        let before = tdi.validated.len();
        tdi.validated.extend(pages);
        Ok(tdi.validated.len() > before)
    }
}

/// A range as the interface report has it, the reporting offset taken off.
struct Reported {
    address: u64,
    pages: u64,
}

/// The parts of a range in a TDI's report, which must follow each other without a gap.
fn reported(tdi: &Tdi, range_id: u16) -> Result<Reported, Failure> {
    let refused = |reason| Failure::guest(Status::NOT_REPORTED, reason);
    let report = Report::decode(&tdi.report)
        .map_err(|error| refused(format!("the device's interface report is malformed: {error}")))?;
    let mut parts = report.ranges.iter().filter(|range| range.id == range_id);
    let first = parts.next();
    let first = first.ok_or_else(|| refused(format!("the interface report has no range {range_id}")))?;
    let end = parts.try_fold(first.end_page(), |end, part| {
        let gap = || refused(format!("the interface report leaves a gap in range {range_id}"));
        (part.first_page == end).then(|| part.end_page()).ok_or_else(gap)
    })?;
    Ok(Reported {
        address: first.address().wrapping_sub(tdi.mmio_offset),
        pages: end - first.first_page,
    })
}
