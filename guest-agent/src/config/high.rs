//! What is meant: every text is parsed, every name resolved, every contradiction refused.

mod device;
mod packets;
mod spdm;

use super::error::Fault;
use super::low;
use sriov::Bdf;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tdisp::clock::UnixTime;
use tdisp::crypto::Digest;
use tdisp::evidence::Root;
use toml::Spanned;

pub use device::{Device, Expected, LOCK_FLAGS, Lock, Mmio};
pub use low::{Clock, DeviceMode, Refused, Unlisted, Untrusted};
pub use packets::Xdp;

/// Bytes of a SHA-384 digest.
pub const SHA384_SIZE: usize = 48;

/// The agent's configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// How the host and the TSM are reached.
    pub channel: Channel,
    /// Functions that belong to the virtual machine itself.
    pub platform: Vec<Pattern>,
    /// What time it is.
    pub time: Time,
    /// The devices that may earn their way in, in the order of the file.
    pub devices: Vec<Device>,
}

/// How the host and the TSM are reached.
#[derive(Debug, Clone)]
pub struct Channel {
    /// The serial port of the courier.
    pub port: PathBuf,
    /// The file with the key shared with the TSM.
    pub key: PathBuf,
    /// Within which the host must answer one request.
    pub timeout: Duration,
}

/// What time it is.
#[derive(Debug, Clone)]
pub struct Time {
    /// Which clock is asked.
    pub source: Clock,
    /// Before this it cannot be.
    pub not_before: Option<UnixTime>,
    /// A file that keeps the latest time seen.
    pub latest_seen: Option<PathBuf>,
}

/// The address of a platform function, or of all functions whose address begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    prefix: String,
    open: bool,
}

impl Pattern {
    /// Whether `bdf` is named.
    pub fn matches(&self, bdf: Bdf) -> bool {
        let address = bdf.to_string();
        if self.open {
            address.starts_with(&self.prefix)
        } else {
            address == self.prefix
        }
    }

    fn parse(text: &Spanned<String>) -> Result<Self, Fault> {
        let wrong = || {
            let found = text.get_ref();
            Fault::at(
                text.span(),
                format!(
                    "`{found}` is no address: wanted one like \"0000:00:1f.2\", or \"0000:00:*\" for a whole bus"
                ),
            )
        };
        match text.get_ref().strip_suffix('*') {
            // Less than a bus would quietly name half the machine.
            Some(prefix) if is_bus_prefix(prefix) => Ok(Self {
                prefix: prefix.to_owned(),
                open: true,
            }),
            Some(_) => Err(wrong()),
            None => {
                let bdf: Bdf = text.get_ref().parse().map_err(|_| wrong())?;
                Ok(Self {
                    prefix: bdf.to_string(),
                    open: false,
                })
            }
        }
    }
}

fn is_bus_prefix(prefix: &str) -> bool {
    let lower_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match prefix.split(':').collect::<Vec<_>>()[..] {
        [domain, bus, rest] => {
            domain.len() == 4 && bus.len() == 2 && lower_hex(domain) && lower_hex(bus) && rest.len() <= 3
        }
        _ => false,
    }
}

impl Config {
    /// Gives `file` its meaning.
    pub fn from_low(file: low::File) -> Result<Self, Fault> {
        let platform = file
            .platform
            .functions
            .iter()
            .map(Pattern::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let roots = roots(&file.root)?;
        let devices = file
            .device
            .iter()
            .map(|device| Device::from_low(device, &roots))
            .collect::<Result<Vec<_>, _>>()?;
        check_addresses(&file.device, &devices, &platform)?;
        Ok(Self {
            channel: Channel {
                port: file.channel.port,
                key: file.channel.key,
                timeout: Duration::from_millis(file.channel.timeout_ms),
            },
            platform,
            time: time(file.time)?,
            devices,
        })
    }

    /// Whether `bdf` is a function of the virtual machine itself.
    pub fn is_platform(&self, bdf: Bdf) -> bool {
        self.platform.iter().any(|pattern| pattern.matches(bdf))
    }

    /// The device of the policy at `bdf`.
    pub fn device(&self, bdf: Bdf) -> Option<&Device> {
        self.devices.iter().find(|device| device.bdf == bdf)
    }
}

fn roots(written: &[low::Root]) -> Result<BTreeMap<String, device::KnownRoot>, Fault> {
    let mut roots = BTreeMap::new();
    for root in written {
        let name = root.name.get_ref().clone();
        let sha384 =
            sha384(root.sha384.get_ref()).map_err(|message| Fault::at(root.sha384.span(), message))?;
        let digest =
            Digest::new(&sha384).ok_or_else(|| Fault::at(root.sha384.span(), "wanted a SHA-384 digest"))?;
        let known = device::KnownRoot {
            root: Root {
                name: name.clone(),
                digest,
            },
            crls: root.crls.clone(),
        };
        if roots.insert(name, known).is_some() {
            return Err(Fault::at(
                root.name.span(),
                "this root is given twice; names are unique",
            ));
        }
    }
    Ok(roots)
}

fn check_addresses(written: &[low::Device], devices: &[Device], platform: &[Pattern]) -> Result<(), Fault> {
    for (n, device) in devices.iter().enumerate() {
        let (before, low) = (&devices[..n], &written[n]);
        if before.iter().any(|other| other.bdf == device.bdf) {
            return Err(Fault::at(
                low.bdf.span(),
                "this address is given twice; each device has its own",
            ));
        }
        if before.iter().any(|other| other.name == device.name) {
            return Err(Fault::at(
                low.name.span(),
                "this name is given twice; each device has its own",
            ));
        }
        if platform.iter().any(|pattern| pattern.matches(device.bdf)) {
            return Err(Fault::at(
                low.bdf.span(),
                "this address is also named in [platform], whose functions are bound without a verdict: remove it from one of them",
            ));
        }
    }
    Ok(())
}

fn time(written: low::Time) -> Result<Time, Fault> {
    let not_before = written.not_before.map(|at| {
        unix_time(at.get_ref()).ok_or_else(|| {
            Fault::at(
                at.span(),
                "wanted a date, or a date and time with its offset: 2026-11-01T00:00:00Z",
            )
        })
    });
    Ok(Time {
        source: written.source,
        not_before: not_before.transpose()?,
        latest_seen: written.latest_seen,
    })
}

/// Seconds since 1970 of a date (its midnight, UTC) or of a date and time with an offset.
fn unix_time(at: &toml::value::Datetime) -> Option<UnixTime> {
    let date = at.date?;
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let seconds = match (at.time, at.offset) {
        (None, None) => 0,
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                toml::value::Offset::Z => 0,
                toml::value::Offset::Custom { minutes } => i64::from(minutes),
            };
            let second = i64::from(time.second.unwrap_or(0));
            (i64::from(time.hour) * 60 + i64::from(time.minute) - minutes) * 60 + second
        }
        _ => return None,
    };
    Some(UnixTime(days * 86_400 + seconds))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (the year begins in March here, so that a leap day is last).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A SHA-384 digest from 96 hexadecimal digits.
fn sha384(text: &str) -> Result<[u8; SHA384_SIZE], String> {
    let wrong = |found: String| format!("{found}; wanted a SHA-384 digest: 96 hexadecimal digits");
    if text.len() != 2 * SHA384_SIZE {
        return Err(wrong(format!("{} characters", text.chars().count())));
    }
    let mut digest = [0; SHA384_SIZE];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (high, low) else {
            return Err(wrong("something that is no hexadecimal digit".into()));
        };
        *byte = u8::try_from(high * 16 + low).map_err(|_| wrong("a digit".into()))?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970_through_leap_years() {
        let known = [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 20), 20_777),
        ];
        for ((year, month, day), days) in known {
            assert_eq!(days_since_1970(year, month, day), days, "{year}-{month}-{day}");
        }
    }
}
