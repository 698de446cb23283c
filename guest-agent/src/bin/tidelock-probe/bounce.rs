//! Counts the transfers of one device that went through bounce buffers.
//!
//! The tracepoint `swiotlb:swiotlb_bounced` names the device. A histogram trigger in a tracing instance of our own
//! counts in the kernel, keyed by that name, so that no event is lost however many there are.

use crate::Failure;
use sriov::Bdf;
use std::path::PathBuf;

/// Counts from [`Counter::start`] on; the instance is removed when it is dropped.
pub(crate) struct Counter {
    instance: PathBuf,
    bdf: Bdf,
}

const EVENT: &str = "events/swiotlb/swiotlb_bounced";
const TRIGGER: &str = "hist:keys=dev_name";

impl Counter {
    pub(crate) fn start(bdf: Bdf) -> Result<Self, Failure> {
        let roots = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(PathBuf::from);
        let root = roots.into_iter().find(|root| root.join(EVENT).exists()).ok_or_else(|| {
            format!("there is no tracepoint {EVENT}; mount tracefs at /sys/kernel/tracing, and boot a kernel with swiotlb and tracing")
        })?;
        let instance = root.join(format!("instances/tidelock-probe-{}", std::process::id()));
        std::fs::create_dir(&instance).map_err(|error| format!("{}: {error}", instance.display()))?;
        let counter = Self { instance, bdf };
        std::fs::write(counter.file("trigger"), TRIGGER).map_err(|error| {
            format!("the kernel takes no histogram trigger ({error}); it needs CONFIG_HIST_TRIGGERS")
        })?;
        Ok(counter)
    }

    /// Events of the device so far.
    pub(crate) fn count(&self) -> Result<u64, Failure> {
        let path = self.file("hist");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        parse(&text, &self.bdf.to_string())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.instance.join(EVENT).join(name)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Best effort: an instance that stays costs memory, nothing else.
        let _ = std::fs::write(self.file("trigger"), format!("!{TRIGGER}"));
        let _ = std::fs::remove_dir(&self.instance);
    }
}

/// Lines are `{ dev_name: NAME } hitcount: N`, and at the end `Dropped: N`.
fn parse(histogram: &str, device: &str) -> Result<u64, Failure> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|_| format!("`{text}` in the histogram is no number"))
    };
    let mut count = 0;
    for line in histogram.lines().map(str::trim) {
        if let Some(dropped) = line.strip_prefix("Dropped:")
            && number(dropped)? > 0
        {
            return Err("the kernel dropped events from the histogram".into());
        }
        let Some((key, hits)) = line.split_once("} hitcount:") else {
            continue;
        };
        if key
            .trim_start_matches('{')
            .trim()
            .strip_prefix("dev_name:")
            .map(str::trim)
            == Some(device)
        {
            count += number(hits)?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const HISTOGRAM: &str = "# event histogram\n#\n# trigger info: hist:keys=dev_name:vals=hitcount:sort=hitcount:size=2048 [active]\n#\n\n\
        { dev_name: 0000:00:02.0                                        } hitcount:         12\n\
        { dev_name: 0000:01:00.1                                        } hitcount:      34567\n\n\
        Totals:\n    Hits: 34579\n    Entries: 2\n    Dropped: 0\n";

    #[test]
    fn the_events_of_one_device_are_counted() {
        assert_eq!(parse(HISTOGRAM, "0000:01:00.1"), Ok(34567));
        assert_eq!(parse(HISTOGRAM, "0000:00:02.0"), Ok(12));
    }

    #[test]
    fn a_device_without_events_has_none() {
        assert_eq!(parse(HISTOGRAM, "0000:01:00.2"), Ok(0));
        assert_eq!(parse("", "0000:01:00.2"), Ok(0));
    }

    #[test]
    fn dropped_events_are_an_error() {
        assert!(parse("    Dropped: 3\n", "0000:01:00.1").is_err());
    }
}
