//! `/proc/iomem`: which guest-physical addresses are memory.

use core::ops::Range;

/// Ranges of `System RAM` at the top level. Empty if the file shows only zeros, as it does to all but root.
pub(super) fn system_ram(iomem: &str) -> Vec<Range<u64>> {
    let top = iomem.lines().filter(|line| !line.starts_with(' '));
    top.filter_map(|line| line.strip_suffix(" : System RAM").and_then(range))
        .collect()
}

fn range(text: &str) -> Option<Range<u64>> {
    let (start, last) = text.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let last = u64::from_str_radix(last, 16).ok()?;
    (start < last).then_some(start..last.checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_ram_is_read_and_what_lies_in_it_is_not() {
        let iomem = "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n00100000-3ffdbfff : System RAM\n  \
                     01000000-01ffffff : Kernel code\nfeb00000-febfffff : PCI Bus 0000:01\n";
        assert_eq!(system_ram(iomem), [0x1000..0x9_fc00, 0x10_0000..0x3ffd_c000]);
    }

    #[test]
    fn an_unprivileged_view_gives_no_memory() {
        assert_eq!(system_ram("00000000-00000000 : System RAM\n"), []);
    }
}
