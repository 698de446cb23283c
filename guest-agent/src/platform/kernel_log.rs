//! What the kernel's log and command line say about bounce buffers.

use super::Error;
use core::ops::Range;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The line of `kernel/dma/swiotlb.c` that says where the pool is; the second address is the first after it.
/// The kernel writes it where it would use the pool without being forced to: in an encrypted guest, and in one whose
/// memory reaches, or can grow, beyond 4 GiB.
const MARK: &str = "software IO TLB: mapped [mem ";

/// Whether the command line makes the kernel bounce every transfer (`swiotlb=force`, also behind numbers).
pub(super) fn is_bounce_forced(command_line: &str) -> bool {
    command_line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("swiotlb="))
        .any(|value| value.split(',').any(|part| part == "force"))
}

/// The bounce buffers' range in the records of `/dev/kmsg`: `PRIORITY,SEQUENCE,TIME,FLAGS;TEXT`. Only the kernel's own
/// records count (facility 0: priority below 8), since any program of the guest can add one to the log.
pub(super) fn pool(records: &str) -> Option<Range<u64>> {
    records.lines().find_map(|record| {
        let (head, text) = record.split_once(';')?;
        let priority: u32 = head.split(',').next()?.parse().ok()?;
        let (range, _) = text.strip_prefix(MARK)?.split_once(']')?;
        let (start, end) = range.split_once('-')?;
        let range = hex(start)?..hex(end)?;
        (priority < 8 && !range.is_empty()).then_some(range)
    })
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// All records that the kernel still holds.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |error: &std::io::Error| {
        let found = format!("{} cannot be read ({error})", path.display());
        Error::new(
            found,
            "the kernel's log",
            "mount devtmpfs and run the agent as root",
        )
    };
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|e| unreadable(&e.into()))?;
    let mut file = std::fs::File::from(fd);
    let (mut log, mut record) = (Vec::new(), [0; RECORD_SIZE_MAX]);
    while log.len() < LOG_SIZE_MAX {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(size) => log.extend_from_slice(&record[..size]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // EPIPE: records were overwritten while we read; the next read goes on behind them.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
    Ok(String::from_utf8_lossy(&log).into_owned())
}

/// The kernel gives one record a read, and none is longer (`CONSOLE_EXT_LOG_MAX` is 8192).
const RECORD_SIZE_MAX: usize = 8192;
/// More than the largest log buffer that a distribution sets.
const LOG_SIZE_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_stands_in_the_log() {
        let log = "6,112,0,-;PCI-DMA: Using software bounce buffering for IO (SWIOTLB)\n\
                   6,113,0,-;software IO TLB: mapped [mem 0x0000000039fdc000-0x000000003dfdc000] (64MB)\n";
        assert_eq!(pool(log), Some(0x39fd_c000..0x3dfd_c000));
    }

    #[test]
    fn a_pool_that_is_missing_empty_or_garbled_is_none() {
        for log in [
            "",
            "6,1,0,-;software IO TLB: area num 2.",
            "6,1,0,-;software IO TLB: mapped [mem 0x2000-0x2000] (0MB)",
            "6,1,0,-;software IO TLB: mapped [mem 0x3000-0x2000] (0MB)",
            "6,1,0,-;software IO TLB: mapped [mem 0x+100-0x2000] (0MB)",
            "6,1,0,-;software IO TLB: mapped [mem 0x1000",
            "software IO TLB: mapped [mem 0x1000-0x2000] (0MB)",
        ] {
            assert_eq!(pool(log), None, "{log}");
        }
    }

    #[test]
    fn a_line_that_a_program_wrote_into_the_log_does_not_count() {
        let forged = "12,1,0,-;software IO TLB: mapped [mem 0x1000-0x9000] (0MB)\n";
        assert_eq!(pool(forged), None);
        let genuine = "6,113,0,-;software IO TLB: mapped [mem 0x10000-0x20000] (0MB)\n";
        assert_eq!(pool(&[forged, genuine].concat()), Some(0x1_0000..0x2_0000));
    }

    #[test]
    fn bouncing_is_forced_by_its_word_alone_or_behind_sizes() {
        assert!(is_bounce_forced("quiet swiotlb=force panic=-1"));
        assert!(is_bounce_forced("swiotlb=65536,force"));
        for not in [
            "",
            "swiotlb=noforce",
            "swiotlb=65536",
            "xswiotlb=force",
            "swiotlb=forced",
        ] {
            assert!(!is_bounce_forced(not), "{not}");
        }
    }
}
