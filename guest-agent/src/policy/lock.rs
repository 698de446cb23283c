//! The flags that the interface was locked with.

use super::Finding;
use crate::config::high::{LOCK_FLAGS, Lock};
use tdisp::tdi::msg::LockFlags;
use tdisp::tdi::report::Info;

pub(super) fn judge(flags: u16, info: Info, lock: &Lock, findings: &mut Vec<Finding>) {
    let missing = lock.require & !flags;
    if missing != 0 {
        findings.push(Finding::new(
            format!("the interface was locked without {}", names(missing)),
            format!("{} set", names(lock.require)),
            "let the host bind with these flags, if the device supports them; if they are not needed, change [device.lock]",
        ));
    }
    let forbidden = flags & (lock.forbid | !KNOWN);
    if forbidden != 0 {
        findings.push(Finding::new(
            format!("the interface was locked with {}", names(forbidden)),
            "a lock without it",
            "let the host bind without these flags; the guest did not ask for them",
        ));
    }
    let no_update = LockFlags::NO_FW_UPDATE.0;
    if lock.require & flags & no_update != 0 && !info.contains(Info::NO_FW_UPDATE) {
        findings.push(Finding::new(
            "the lock says no-fw-update, but the device reports that its firmware can be updated while locked",
            "a report that says the same as the lock",
            "do not use this device; its firmware is faulty or lies",
        ));
    }
}

const KNOWN: u16 = (1 << LOCK_FLAGS.len()) - 1;

/// Names of the bits that are set.
pub(crate) fn flag_names(flags: u16) -> Vec<String> {
    let name = |bit: usize| {
        LOCK_FLAGS
            .get(bit)
            .map_or_else(|| format!("unknown flag {bit}"), |name| (*name).to_owned())
    };
    (0..16).filter(|bit| flags >> bit & 1 == 1).map(name).collect()
}

fn names(flags: u16) -> String {
    flag_names(flags).join(", ")
}
