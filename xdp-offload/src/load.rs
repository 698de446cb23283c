//! From rules to a program that the kernel has verified.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapMut};

use crate::attach::{Attached, Mode};
use crate::error::{self, Error};
use crate::skel::{OffloadSkelBuilder, bytes, types};
use crate::stats::{self, Stats};
use crate::{Action, Rules, kernel};

/// The offload program; [`Offload::load`] is the way in.
#[derive(Debug)]
pub struct Offload;

impl Offload {
    /// Loads the program with these rules as its constants. It runs nowhere yet.
    ///
    /// Needs CAP_BPF and CAP_NET_ADMIN, no more.
    ///
    /// # Errors
    /// [`Error::Load`] if the kernel refuses.
    pub fn load(rules: &Rules) -> Result<Loaded, Error> {
        let mut place = MaybeUninit::uninit();
        let mut open = OffloadSkelBuilder::default()
            .open(&mut place)
            .map_err(error::load)?;
        let constants = open.maps.rodata_data.as_mut();
        configure(
            constants.ok_or(Error::Layout {
                found: 0,
                wanted: size_of::<types::rodata>(),
            })?,
            rules,
        );
        let loaded = open.load().map_err(error::load)?;
        fill(&loaded.maps.rules, rules)?;
        // The kernel's objects live by these two descriptors; libbpf's own copies go with the skeleton.
        let program = loaded.progs.tidelock_xdp.as_fd().try_clone_to_owned();
        let program = program.map_err(|source| Error::Kernel {
            what: "keep the program",
            source,
        })?;
        let counters =
            MapHandle::try_from(&loaded.maps.counters).map_err(error::kernel("keep the counters"))?;
        Ok(Loaded {
            program,
            counters,
            rules: rules.rules().len(),
        })
    }
}

fn configure(constants: &mut types::rodata, rules: &Rules) {
    // `Rules` holds at most as many as there are entries.
    constants.rule_count = rules.rules().len() as u32;
    constants.default_action = rules.default_action().entry();
    constants.non_ip_action = rules.non_ip().entry();
}

/// After this nobody can change the rules, not even who loaded them.
fn fill(map: &MapMut<'_>, rules: &Rules) -> Result<(), Error> {
    for (place, rule) in (0..).zip(rules.rules()) {
        let place: u32 = place;
        map.update(&place.to_ne_bytes(), bytes(&rule.entry()), MapFlags::ANY)
            .map_err(error::kernel("fill in the rules"))?;
    }
    let map = MapHandle::try_from(map).map_err(error::kernel("reach the rules"))?;
    map.freeze().map_err(error::kernel("freeze the rules"))
}

/// A program that the kernel has verified. Dropping it unloads it.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) program: OwnedFd,
    pub(crate) counters: MapHandle,
    pub(crate) rules: usize,
}

impl Loaded {
    /// Puts the program on an interface of this network namespace, in this mode and no other.
    ///
    /// # Errors
    /// [`Error::Attach`] if the kernel does not have it, [`Error::ModeDiffers`] if it says it runs otherwise.
    pub fn attach(self, ifindex: u32, mode: Mode) -> Result<Attached, Error> {
        Attached::new(self, ifindex, mode)
    }

    /// The kernel-wide ID of the program.
    pub fn program_id(&self) -> Result<u32, Error> {
        let source = kernel::program_id(self.program.as_fd());
        source.map_err(|source| Error::Kernel {
            what: "ask for the program's ID",
            source,
        })
    }

    /// What the rules do with one Ethernet frame (without its checksum), tried in the kernel on no interface.
    /// The counters count it. The kernel takes no frame under 14 bytes.
    pub fn verdict(&self, frame: &[u8]) -> Result<Action, Error> {
        let (verdict, _) = self.run(frame, 1)?;
        match verdict {
            libbpf_sys::XDP_PASS => Ok(Action::Pass),
            _ => Ok(Action::Drop),
        }
    }

    /// The mean time that the program takes for `frame` over `repeat` runs.
    pub fn time(&self, frame: &[u8], repeat: u16) -> Result<Duration, Error> {
        let (_, nanoseconds) = self.run(frame, repeat)?;
        Ok(Duration::from_nanos(nanoseconds.into()))
    }

    fn run(&self, frame: &[u8], repeat: u16) -> Result<(u32, u32), Error> {
        let run = kernel::test_run(self.program.as_fd(), frame, repeat);
        run.map_err(|source| Error::Kernel {
            what: "try the program on a frame",
            source,
        })
    }

    /// What the program has done since it was loaded.
    pub fn stats(&self) -> Result<Stats, Error> {
        stats::read(&self.counters, self.rules)
    }
}
