//! What time it is, for the validity of certificates: never skipped, and never believed to go back.

use crate::config::high::Time;
use crate::error::{Fault, Refusal, Step};
use crate::platform::Platform;
use std::io::ErrorKind;
use std::path::Path;
use tdisp::clock::UnixTime;

/// The time by the clock that the policy names, if it can be right.
pub(crate) fn now(rules: &Time, platform: &dyn Platform) -> Result<UnixTime, Refusal> {
    let step = Step::Clock;
    let now = platform
        .unix_time(rules.source)
        .map_err(|error| Refusal::platform(step, &error))?;
    if let Some(UnixTime(floor)) = rules.not_before
        && now < floor
    {
        return Err(wrong(format!(
            "the clock says {now} (seconds since 1970), which is before this image was made; wanted at least {floor}"
        )));
    }
    if let Some(path) = &rules.latest_seen {
        keep_latest(path, now)?;
    }
    Ok(UnixTime(now))
}

/// The host sets the clock, and could set it back to when a certificate was still valid.
fn keep_latest(path: &Path, now: i64) -> Result<(), Refusal> {
    let unusable = |what: String| {
        let cure =
            "see that its file system is mounted and writable, or remove time.latest_seen from the policy";
        Refusal::new(
            Step::Clock,
            Fault::Guest,
            format!("{}: {what}; wanted the latest time seen; {cure}", path.display()),
        )
    };
    let seen = match std::fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse::<i64>()
            .map_err(|_| unusable(format!("`{}` is no time", text.trim())))?,
        Err(error) if error.kind() == ErrorKind::NotFound => i64::MIN,
        Err(error) => return Err(unusable(error.to_string())),
    };
    if now < seen {
        return Err(wrong(format!(
            "the clock says {now} (seconds since 1970), but it has been {seen} before; wanted no step back"
        )));
    }
    let part = path.with_extension("new");
    let written = std::fs::write(&part, format!("{now}\n")).and_then(|()| std::fs::rename(&part, path));
    written.map_err(|error| unusable(error.to_string()))
}

fn wrong(what: String) -> Refusal {
    Refusal::new(
        Step::Clock,
        Fault::Host,
        format!("{what}; set the virtual machine's clock right"),
    )
}
