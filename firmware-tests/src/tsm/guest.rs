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
                vec![close, ask, run, Step::Gate { tdi, open: true }]
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
    fn check_range(&self, vm: VmId, asked: &ValidateMmio) -> Result<u64, Failure> {
        let tdi = self.in_lock(vm, asked.tdi, asked.generation)?;
        let report = Report::decode(&tdi.report).map_err(|error| {
            Failure::guest(
                Status::NOT_REPORTED,
                format!("the device's interface report is malformed: {error}"),
            )
        })?;
        let ranges = report.ranges.iter().filter(|range| range.id == asked.range_id);
        let pages: u64 = ranges.map(|range| u64::from(range.pages)).sum();
        if pages == 0 {
            let reason = format!("the interface report has no range {}", asked.range_id);
            return Err(Failure::guest(Status::NOT_REPORTED, reason));
        }
        if !asked.gpa.is_multiple_of(PAGE_SIZE) {
            let reason = format!(
                "{:#x} is not the address of a page of {PAGE_SIZE} bytes",
                asked.gpa
            );
            return Err(Failure::guest(Status::NOT_4K, reason));
        }
        if asked.pages == 0 || asked.pages > pages.min(PAGES_MAX) {
            let reason = format!("{} pages are asked for, the range has {pages}", asked.pages);
            return Err(Failure::guest(Status::OUT_OF_RANGE, reason));
        }
        Ok(pages)
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
        let pages = (0..asked.pages).map(|page| (asked.range_id, asked.gpa + page * PAGE_SIZE));
        let before = tdi.validated.len();
        tdi.validated.extend(pages);
        Ok(tdi.validated.len() > before)
    }
}
