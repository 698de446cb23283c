//! Network interfaces: from name to index, and what XDP each runs, whoever put it there.

use std::fs;
use std::io;

use libbpf_rs::MapHandle;
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use serde::Serialize;

use crate::error::Error;
use crate::rule::RULES_MAX;
use crate::stats::{self, Counter, Stats};
use crate::{Mode, kernel};

/// An XDP program found on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Native or generic; `None` if the hardware itself runs the program.
    pub mode: Option<Mode>,
    /// The program's kernel-wide ID.
    pub program_id: u32,
    /// Its name; needs CAP_SYS_ADMIN.
    pub program: Option<String>,
    /// Its counters, if it is ours; needs CAP_SYS_ADMIN. Rules after the last that decided anything are left out,
    /// because from outside nobody knows how many there are.
    pub stats: Option<Stats>,
}

/// The index of an interface of this network namespace.
pub fn index(name: &str) -> Result<u32, Error> {
    let find = || -> rustix::io::Result<u32> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        netdevice::name_to_index(socket, name)
    };
    find().map_err(|errno| Error::NoInterface {
        name: name.to_owned(),
        source: errno.into(),
    })
}

/// Every XDP program on every interface of this network namespace.
pub fn interfaces() -> Result<Vec<Interface>, Error> {
    let listing = |source| Error::Kernel {
        what: "list /sys/class/net",
        source,
    };
    let mut found = Vec::new();
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .map_err(listing)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    for name in names {
        // An interface may go while we look, and files that are no interface (bonding_masters) are here too.
        if let Ok(ifindex) = index(&name) {
            found.extend(on(&name, ifindex)?);
        }
    }
    Ok(found)
}

fn on(name: &str, ifindex: u32) -> Result<Vec<Interface>, Error> {
    let asked = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput.into());
    let running = asked.and_then(kernel::running).map_err(|source| Error::Kernel {
        what: "ask for the interface's XDP mode",
        source,
    })?;
    let modes = [
        (Some(Mode::Native), running.native),
        (Some(Mode::Generic), running.generic),
        (None, running.hardware),
    ];
    let found = modes
        .into_iter()
        .filter(|(_, id)| *id != 0)
        .map(|(mode, program_id)| {
            let info = information(program_id);
            let program = info.as_ref().map(|info| info.name.to_string_lossy().into_owned());
            let stats = info.as_ref().and_then(counters);
            Interface {
                name: name.to_owned(),
                ifindex,
                mode,
                program_id,
                program,
                stats,
            }
        });
    Ok(found.collect())
}

fn information(program_id: u32) -> Option<ProgramInfo> {
    let options = ProgInfoQueryOptions::default().include_map_ids(true);
    ProgInfoIter::with_query_opts(options).find(|info| info.id == program_id)
}

/// The counters of a program that is ours by its name and by its counters' shape.
fn counters(info: &ProgramInfo) -> Option<Stats> {
    if info.name != "tidelock_xdp" {
        return None;
    }
    let maps = info
        .map_ids
        .iter()
        .filter_map(|id| MapHandle::from_map_id(*id).ok());
    let counters = maps
        .into_iter()
        .find(|map| libbpf_rs::MapCore::name(map) == "counters")?;
    let mut stats = stats::read(&counters, RULES_MAX).ok()?;
    let used = stats
        .rules
        .iter()
        .rposition(|counter| *counter != Counter::default());
    stats.rules.truncate(used.map_or(0, |last| last + 1));
    Some(stats)
}
