//! What a configuration means: names resolved, ranges checked, nothing twice.

use std::{collections::BTreeSet, fmt::Display, ops::Range, path::PathBuf, time::Duration};

use tdisp::{
    relay::{Rid, VmId},
    tdi::msg::InterfaceId,
};
use toml::Spanned;

use super::low;

/// Everything that the daemon was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the journal and the evidence cache live.
    pub state_dir: PathBuf,
    /// The operator's socket.
    pub api_socket: PathBuf,
    /// Who holds the secrets.
    pub tsm: Tsm,
    /// The devices, in the file's order.
    pub devices: Vec<Device>,
    /// The VMs, in the file's order.
    pub vms: Vec<Vm>,
}

/// The TSM backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tsm {
    /// The emulated TSM behind a unix socket.
    Emulated {
        /// Its host socket.
        socket: PathBuf,
    },
    /// No TSM: the daemon's own SPDM session, inventory facts only.
    Userspace,
    /// The kernel's PCI/TSM core.
    SysfsLink {
        /// Root of sysfs.
        root: PathBuf,
        /// `tsmN`, or the only one there is.
        name: Option<String>,
    },
}

/// One device with a DSM in its function 0.
#[derive(Debug, Clone)]
pub struct Device {
    /// The operator's name for it.
    pub name: String,
    /// Function 0.
    pub bdf: Rid,
    /// Certificate slot, 0 to 7.
    pub slot: u8,
    /// The way to its DOE mailbox.
    pub doe: Doe,
}

/// A way to a DOE mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doe {
    /// The DMTF emulators' socket framing.
    Emulator {
        /// `host:port`.
        address: String,
        /// Longest wait for one answer.
        timeout: Duration,
    },
    /// Config space through sysfs.
    Sysfs {
        /// Root of sysfs.
        root: PathBuf,
        /// Longest wait for one answer.
        timeout: Duration,
    },
}

/// One VM.
#[derive(Debug, Clone)]
pub struct Vm {
    /// Its number, the same towards the TSM.
    pub id: VmId,
    /// Where its virtio-serial port connects.
    pub courier_socket: PathBuf,
    /// What it may bind.
    pub leases: Vec<Lease>,
}

/// The right of a VM to one function, as the operator gave it.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Index into [`Config::devices`].
    pub device: usize,
    /// Function number, 0 to 7.
    pub function: u8,
    /// TDISP's FUNCTION_ID on the host: requester id (bus 15:8, device 7:3, function 2:0), segment 23:16, segment valid 24.
    pub interface: u32,
    /// Where the guest sees it.
    pub guest: Rid,
    /// LOCK flags (TDISP LOCK_INTERFACE_REQUEST) that are set whatever the guest asks.
    pub lock: u16,
}

/// A refusal with its place in the file.
pub(super) struct Wrong {
    pub(super) span: Option<Range<usize>>,
    pub(super) what: String,
}

/// LOCK_INTERFACE_REQUEST flags by bit.
pub(crate) const LOCK_FLAGS: [&str; 5] = [
    "no-fw-update",
    "system-cache-line-size",
    "lock-msix",
    "bind-p2p",
    "all-request-redirect",
];
const TIMEOUT_MS_DEFAULT: u64 = 5_000;
const TIMEOUT_MS_MAX: u64 = 60_000;
/// `sun_path` holds 108 bytes with its final zero.
const SOCKET_PATH_MAX: usize = 107;

pub(super) fn resolve(file: low::File) -> Result<Config, Wrong> {
    let tsm = tsm(file.tsm)?;
    let mut once = Once::default();
    once.socket(&file.api_socket)?;
    let devices = file
        .device
        .into_iter()
        .map(|device| resolve_device(device, &mut once))
        .collect::<Result<Vec<_>, _>>()?;
    let vms = file
        .vm
        .into_iter()
        .map(|vm| resolve_vm(vm, &tsm, &devices, &mut once))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Config {
        state_dir: file.state_dir,
        api_socket: file.api_socket.into_inner(),
        tsm,
        devices,
        vms,
    })
}

fn tsm(low: low::Tsm) -> Result<Tsm, Wrong> {
    let backend = low.backend.get_ref().as_str();
    let needless = |key: &str, span: Option<Range<usize>>| match span {
        Some(span) => Err(wrong(
            span,
            format!("backend \"{backend}\" takes no `{key}`; remove it"),
        )),
        None => Ok(()),
    };
    let (socket, root, name) = (
        low.socket.as_ref().map(Spanned::span),
        low.root.as_ref().map(Spanned::span),
        low.name.as_ref().map(Spanned::span),
    );
    match backend {
        "emulated" => {
            needless("root", root)?;
            needless("name", name)?;
            let socket = low
                .socket
                .ok_or_else(|| missing(&low.backend, "socket", "the TSM's host socket"))?;
            Ok(Tsm::Emulated {
                socket: socket.into_inner(),
            })
        }
        "userspace" => {
            needless("socket", socket)?;
            needless("root", root)?;
            needless("name", name)?;
            Ok(Tsm::Userspace)
        }
        "sysfs-link" => {
            needless("socket", socket)?;
            Ok(Tsm::SysfsLink {
                root: low.root.map_or_else(|| "/sys".into(), Spanned::into_inner),
                name: low.name.map(Spanned::into_inner),
            })
        }
        other => Err(wrong(
            low.backend.span(),
            format!("backend is \"{other}\", wanted \"emulated\", \"userspace\" or \"sysfs-link\""),
        )),
    }
}

fn resolve_device(low: low::Device, once: &mut Once) -> Result<Device, Wrong> {
    let bdf = bdf("bdf", &low.bdf)?;
    let function = bdf.requester_id() & 7;
    if function != 0 {
        let what = format!("bdf {bdf} is function {function}, wanted function 0, where the DSM is");
        return Err(wrong(low.bdf.span(), what));
    }
    if bdf.segment() > 0xff {
        let what = format!(
            "bdf {bdf} is in segment {:#x}, wanted 0 to 0xff: TDISP has eight bits for it",
            bdf.segment()
        );
        return Err(wrong(low.bdf.span(), what));
    }
    if low.name.get_ref().is_empty() {
        return Err(wrong(
            low.name.span(),
            "name is empty; give the device a name to call it by".into(),
        ));
    }
    once.check(&low.name, format!("device {}", low.name.get_ref()))?;
    once.check(&low.bdf, format!("bdf {bdf}"))?;
    let slot = low.slot.map_or(Ok(0), |slot| below_8("slot", &slot))?;
    Ok(Device {
        name: low.name.into_inner(),
        bdf,
        slot,
        doe: doe(low.transport)?,
    })
}

fn doe(low: low::Transport) -> Result<Doe, Wrong> {
    let timeout = match &low.timeout_ms {
        None => TIMEOUT_MS_DEFAULT,
        Some(ms) if (1..=TIMEOUT_MS_MAX).contains(ms.get_ref()) => *ms.get_ref(),
        Some(ms) => {
            let what = format!("timeout_ms is {}, wanted 1 to {TIMEOUT_MS_MAX}", ms.get_ref());
            return Err(wrong(ms.span(), what));
        }
    };
    let timeout = Duration::from_millis(timeout);
    match (low.kind.get_ref().as_str(), low.address, low.root) {
        ("emulator", Some(address), None) => Ok(Doe::Emulator {
            address: host_port(address)?,
            timeout,
        }),
        ("emulator", None, _) => Err(missing(&low.kind, "address", "host:port of the emulator")),
        ("emulator", _, Some(root)) => Err(wrong(
            root.span(),
            "kind \"emulator\" takes no `root`; remove it".into(),
        )),
        ("sysfs", Some(address), _) => Err(wrong(
            address.span(),
            "kind \"sysfs\" takes no `address`; remove it".into(),
        )),
        ("sysfs", None, root) => Ok(Doe::Sysfs {
            root: root.map_or_else(|| "/sys".into(), Spanned::into_inner),
            timeout,
        }),
        (other, ..) => Err(wrong(
            low.kind.span(),
            format!("kind is \"{other}\", wanted \"emulator\" or \"sysfs\""),
        )),
    }
}

fn resolve_vm(low: low::Vm, tsm: &Tsm, devices: &[Device], once: &mut Once) -> Result<Vm, Wrong> {
    let id = *low.id.get_ref();
    if !matches!(tsm, Tsm::Emulated { .. }) {
        let what = "this backend cannot bind a function to a VM; use backend \"emulated\", or remove [[vm]]";
        return Err(wrong(low.id.span(), what.into()));
    }
    once.check(&low.id, format!("vm {id}"))?;
    once.socket(&low.courier_socket)?;
    let leases = low
        .tdi
        .into_iter()
        .map(|tdi| lease(id, tdi, devices, once))
        .collect::<Result<_, _>>()?;
    Ok(Vm {
        id: VmId(id),
        courier_socket: low.courier_socket.into_inner(),
        leases,
    })
}

fn lease(vm: u32, low: low::Tdi, devices: &[Device], once: &mut Once) -> Result<Lease, Wrong> {
    let name = low.device.get_ref();
    let device = devices
        .iter()
        .position(|device| device.name == *name)
        .ok_or_else(|| {
            let known: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
            let known = if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            };
            wrong(
                low.device.span(),
                format!("device \"{name}\" is not configured; known: {known}"),
            )
        })?;
    let function = below_8("function", &low.function)?;
    let guest = bdf("guest", &low.guest)?;
    once.check(&low.function, format!("function {function} of {name}"))?;
    once.check(&low.guest, format!("guest {guest} of vm {vm}"))?;
    let lock = low
        .lock
        .iter()
        .try_fold(0, |flags, name| Ok(flags | lock_flag(name)?))?;
    Ok(Lease {
        device,
        function,
        interface: interface(devices[device].bdf, function),
        guest,
        lock,
    })
}

/// FUNCTION_ID of a function of the device; TDISP's segments have eight bits, which [`resolve_device`] made sure of.
fn interface(device: Rid, function: u8) -> u32 {
    let requester = device.requester_id() | u16::from(function);
    match u8::try_from(device.segment()) {
        Ok(0) | Err(_) => InterfaceId::new(requester).function,
        Ok(segment) => InterfaceId::in_segment(segment, requester).function,
    }
}

fn lock_flag(name: &Spanned<String>) -> Result<u16, Wrong> {
    let bit = LOCK_FLAGS.iter().position(|known| known == name.get_ref());
    bit.map(|bit| 1 << bit).ok_or_else(|| {
        let what = format!(
            "lock flag \"{}\" is not known; known: {}",
            name.get_ref(),
            LOCK_FLAGS.join(", ")
        );
        wrong(name.span(), what)
    })
}

fn bdf(key: &str, text: &Spanned<String>) -> Result<Rid, Wrong> {
    text.get_ref()
        .parse()
        .map_err(|error| wrong(text.span(), format!("{key} \"{}\": {error}", text.get_ref())))
}

fn below_8(key: &str, value: &Spanned<u8>) -> Result<u8, Wrong> {
    match *value.get_ref() {
        good @ 0..=7 => Ok(good),
        other => Err(wrong(value.span(), format!("{key} is {other}, wanted 0 to 7"))),
    }
}

fn host_port(address: Spanned<String>) -> Result<String, Wrong> {
    let text = address.get_ref();
    match text
        .rsplit_once(':')
        .map(|(host, port)| (host.is_empty(), port.parse::<u16>()))
    {
        Some((false, Ok(_))) => Ok(address.into_inner()),
        _ => Err(wrong(
            address.span(),
            format!("address \"{text}\" is not host:port, like \"127.0.0.1:2323\""),
        )),
    }
}

fn missing(span_of: &Spanned<String>, key: &str, what: &str) -> Wrong {
    let text = format!("\"{}\" needs `{key}`, {what}", span_of.get_ref());
    let kind = if key == "socket" { "backend" } else { "kind" };
    wrong(span_of.span(), format!("{kind} {text}"))
}

fn wrong(span: Range<usize>, what: String) -> Wrong {
    Wrong {
        span: Some(span),
        what,
    }
}

/// Things that may be there once.
#[derive(Default)]
struct Once(BTreeSet<String>);

impl Once {
    fn check<T>(&mut self, place: &Spanned<T>, thing: impl Display) -> Result<(), Wrong> {
        let thing = thing.to_string();
        if self.0.contains(&thing) {
            return Err(wrong(
                place.span(),
                format!("{thing} is configured twice; remove one"),
            ));
        }
        self.0.insert(thing);
        Ok(())
    }

    fn socket(&mut self, path: &Spanned<PathBuf>) -> Result<(), Wrong> {
        let size = path.get_ref().as_os_str().len();
        if size > SOCKET_PATH_MAX {
            let what = format!("the socket path has {size} bytes, at most {SOCKET_PATH_MAX} fit; shorten it");
            return Err(wrong(path.span(), what));
        }
        self.check(path, format!("socket {}", path.get_ref().display()))
    }
}
