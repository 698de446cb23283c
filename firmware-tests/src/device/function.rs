//! One function of the card as the VMM sees it: configuration space, BARs, interrupts, reset.
//!
//! | function | IDs | what |
//! |---|---|---|
//! | 0 | 1b36:7ee0, class 088000 | the security manager's: DOE mailbox, TEE-IO, IDE |
//! | 1, 2 | 1b36:1041, class 020000 | a virtio network card each: the interfaces that are assigned |
//!
//! Each has an ACS capability, so that an IOMMU group is one function.

use super::config::{ConfigSpace, Identity};
use super::dma::Bus;
use super::interrupts::Interrupts;
use super::mailbox::{self, Mailbox};
use super::manager::Manager;
use super::nic::{Nic, Wake};
use super::virtio::registers;
use super::watch::{Breach, breach};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The card's vendor, as the PCI-SIG numbers it: the one that QEMU's own devices have.
pub const VENDOR: u16 = 0x1b36;
/// BAR of the virtio registers.
pub const REGISTERS_BAR: usize = 0;
/// BAR of the MSI-X table.
pub const MSIX_BAR: usize = 2;
/// MSI-X vectors: configuration changes and one a queue, rounded up.
pub const VECTORS: u16 = 4;
/// Bytes of the MSI-X BAR.
pub const MSIX_BAR_SIZE: u32 = 0x1000;

/// IDE Capability register: selective streams, IDE_KM, TEE-limited streams.
pub const IDE_CAPABILITY: u32 = 1 << 1 | 1 << 6 | 1 << 24;
/// Bytes of a selective stream's registers: capability, control, status, two of RID association.
const SELECTIVE_STREAM: usize = 4 * 5;

/// Device Control's bit that resets the function.
const INITIATE_FLR: u16 = 1 << 15;

/// A function.
pub struct Function {
    index: usize,
    config: Arc<Mutex<ConfigSpace>>,
    device_control: usize,
    doe: Option<Doe>,
    nic: Option<Arc<Mutex<Nic>>>,
    interrupts: Arc<Interrupts>,
    bus: Bus,
    manager: Arc<Manager>,
}

struct Doe {
    at: usize,
    mailbox: Arc<Mutex<Mailbox>>,
}

/// A poisoned lock is taken over: registers are whole at each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Function {
    /// Function 0, with registers laid out as [`manager_layout`] says.
    pub fn manager(
        layout: &Layout,
        config: Arc<Mutex<ConfigSpace>>,
        bus: Bus,
        manager: Arc<Manager>,
    ) -> Self {
        Self {
            index: 0,
            config,
            device_control: layout.device_control,
            doe: layout.doe.map(|at| Doe {
                at,
                mailbox: Arc::default(),
            }),
            nic: None,
            interrupts: Arc::new(Interrupts::new(0)),
            bus,
            manager,
        }
    }

    /// A network function, with registers laid out as [`network_layout`] says. `wake` rings for the worker that moves
    /// its frames.
    pub fn network(
        layout: &Layout,
        config: Arc<Mutex<ConfigSpace>>,
        bus: Bus,
        manager: Arc<Manager>,
        wake: Arc<Wake>,
    ) -> Self {
        let interrupts = Arc::new(Interrupts::new(VECTORS.into()));
        let nic = Nic::new(bus.clone(), interrupts.clone(), wake);
        Self {
            index: bus.function(),
            config,
            device_control: layout.device_control,
            doe: None,
            nic: Some(Arc::new(Mutex::new(nic))),
            interrupts,
            bus,
            manager,
        }
    }

    /// The network card in it, for its worker.
    pub fn nic(&self) -> Option<Arc<Mutex<Nic>>> {
        self.nic.clone()
    }

    /// Its way to memory.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Its interrupts.
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Guest physical address and bytes of a BAR, once software has placed it.
    pub fn bar(&self, index: usize) -> Option<(u64, u64)> {
        let bar = lock(&self.config).bar(index)?;
        (bar.base != 0).then_some((bar.base.into(), bar.size.into()))
    }

    /// Bytes of a BAR; zero if there is none.
    pub fn bar_size(&self, index: usize) -> u64 {
        lock(&self.config).bar(index).map_or(0, |bar| bar.size.into())
    }

    /// Vectors that it can be given.
    pub fn vectors(&self) -> u16 {
        if self.nic.is_some() { VECTORS } else { 0 }
    }

    /// Reads configuration space.
    pub fn read_config(&self, at: usize, out: &mut [u8]) {
        lock(&self.config).read(at, out);
        let Some(doe) = &self.doe else { return };
        let mailbox = lock(&doe.mailbox);
        for (offset, byte) in out.iter_mut().enumerate() {
            let Some(register) = doe.register(at.saturating_add(offset)) else {
                continue;
            };
            *byte = mailbox.read(register & !3).to_le_bytes()[register & 3];
        }
    }

    /// Writes configuration space, and does what the write means.
    pub fn write_config(&self, at: usize, data: &[u8]) {
        if let Some(doe) = &self.doe
            && let Some(register) = doe.register(at)
        {
            return self.write_mailbox(doe, register, data);
        }
        let mut config = lock(&self.config);
        let before = config.clone();
        config.write(at, data);
        let reset = config.u16(self.device_control) & INITIATE_FLR != 0;
        let found = breach(&before, &config);
        drop(config);
        if reset {
            self.reset();
        } else if let Some(breach) = found {
            self.manager.fault(self.index, &breach);
        }
    }

    /// Registers are written whole, as configuration writes of the mailbox's owner are.
    fn write_mailbox(&self, doe: &Doe, register: usize, data: &[u8]) {
        let Ok(value) = <[u8; 4]>::try_from(data) else {
            return;
        };
        let written = lock(&doe.mailbox).write(register, u32::from_le_bytes(value));
        let Some((exchange, object)) = written else {
            return;
        };
        let answer = self.manager.exchange(&object);
        let mailbox = doe.mailbox.clone();
        let give = move || {
            let object = answer.object.filter(|_| !answer.hang_up);
            lock(&mailbox).answer(exchange, object.as_deref());
        };
        if answer.delay.is_zero() {
            return give();
        }
        std::thread::spawn(move || {
            std::thread::sleep(answer.delay);
            give();
        });
    }

    /// Reads a BAR; what is not there reads as zero.
    pub fn read_bar(&self, bar: usize, at: u64, out: &mut [u8]) {
        out.fill(0);
        if bar == REGISTERS_BAR
            && let Some(nic) = &self.nic
        {
            lock(nic).read(at, out);
        }
    }

    /// Writes a BAR. The MSI-X table is the VMM's to keep.
    pub fn write_bar(&self, bar: usize, at: u64, data: &[u8]) {
        if bar == REGISTERS_BAR
            && let Some(nic) = &self.nic
        {
            lock(nic).write(at, data);
        }
    }

    /// A function level reset: registers, queues and the mailbox start anew, a locked interface fails. The registers go
    /// first: a lock that is made meanwhile finds them reset, or fails with the rest.
    pub fn reset(&self) {
        lock(&self.config).reset();
        self.manager.fault(self.index, &Breach::Reset);
        if let Some(doe) = &self.doe {
            lock(&doe.mailbox).abort();
        }
        if let Some(nic) = &self.nic {
            lock(nic).reset();
        }
    }

    /// The VMM is gone: no memory, no interrupts, and the registers of a reset.
    pub fn disconnect(&self) {
        self.reset();
        self.interrupts.wire(0, 0, Vec::new());
        self.bus.remap(|memory| memory.clear());
    }
}

impl Doe {
    /// Offset of the mailbox register at `at`, if one is there.
    fn register(&self, at: usize) -> Option<usize> {
        let register = at.checked_sub(self.at)?;
        (mailbox::CONTROL..mailbox::LEN)
            .contains(&register)
            .then_some(register)
    }
}

/// A configuration space, and where in it are the registers that do something.
pub struct Layout {
    /// As after a reset.
    pub config: ConfigSpace,
    device_control: usize,
    doe: Option<usize>,
}

impl Layout {
    /// Registers as after power-on.
    pub fn power_on(&self) -> Arc<Mutex<ConfigSpace>> {
        Arc::new(Mutex::new(self.config.clone()))
    }
}

/// Function 0's registers.
pub fn manager_layout() -> Layout {
    let mut config = ConfigSpace::new(Identity {
        vendor: VENDOR,
        device: 0x7ee0,
        class: 0x08_8000,
        subsystem: 0x1100,
        multifunction: true,
    });
    let device_control = add_pcie(&mut config, true);
    add_acs(&mut config);
    let doe = config.add_extended(0x2e, 2, mailbox::LEN);
    add_ide(&mut config);
    Layout {
        config,
        device_control,
        doe: Some(doe),
    }
}

/// A network function's registers.
///
/// The vendor is not virtio's: distributions build virtio-pci into the kernel, where it would bind a function of its
/// own vendor before the guest's first process could ask for evidence. The agent binds it by `driver_override`.
pub fn network_layout() -> Layout {
    let mut config = ConfigSpace::new(Identity {
        vendor: VENDOR,
        device: 0x1041,
        class: 0x02_0000,
        subsystem: 0x1100,
        multifunction: true,
    });
    config.add_bar(REGISTERS_BAR, registers::BAR_SIZE);
    config.add_bar(MSIX_BAR, MSIX_BAR_SIZE);
    let device_control = add_pcie(&mut config, false);
    add_msix(&mut config);
    registers::add_capabilities(&mut config);
    add_acs(&mut config);
    Layout {
        config,
        device_control,
        doe: None,
    }
}

/// PCI Express endpoint with function level reset, and TEE-IO Supported on function 0 (PCIe 6.x §7.5.3). Answers
/// where Device Control is.
fn add_pcie(config: &mut ConfigSpace, tee_io: bool) -> usize {
    let at = config.add_capability(0x10, 0x3c);
    config.set_u16(at + 2, 2); // version 2, endpoint
    // Role-based error reporting, function level reset, TEE-IO supported.
    config.set_u32(at + 4, 1 << 15 | 1 << 28 | u32::from(tee_io) << 30);
    config.set_u16(at + 8, 0x2810);
    config.allow_u16(at + 8, 0xffff);
    config.set_u32(at + 0x0c, 0x0000_0c11); // link: 2.5 GT/s, x1
    config.set_u16(at + 0x12, 0x0011);
    config.set_u32(at + 0x24, 0x1f);
    at + 8
}

fn add_msix(config: &mut ConfigSpace) {
    let at = config.add_capability(0x11, 12);
    config.set_u16(at + 2, VECTORS - 1);
    config.allow_u16(at + 2, 0xc000); // enable, function mask
    config.set_u32(at + 4, MSIX_BAR as u32); // table at 0
    config.set_u32(at + 8, 0x800 | MSIX_BAR as u32); // pending bits
}

/// Access control services: source validation, request and completion redirect, upstream forwarding, direct
/// translated (PCIe 6.x §7.7.11).
fn add_acs(config: &mut ConfigSpace) {
    let at = config.add_extended(0x0d, 1, 8);
    config.set_u16(at + 4, 0x5d);
    config.allow_u16(at + 6, 0x5d);
}

/// Integrity and data encryption: one selective stream, key management by IDE_KM (PCIe 6.x §7.9.26). The link under
/// QEMU has no IDE: the registers are kept and change nothing.
fn add_ide(config: &mut ConfigSpace) {
    let at = config.add_extended(0x30, 1, 12 + SELECTIVE_STREAM);
    config.set_u32(at + 4, IDE_CAPABILITY);
    config.allow_u32(at + 8, 1 << 2);
    // Control and the RID associations; status is the device's to say.
    for register in [1, 3, 4] {
        config.allow_u32(at + 12 + 4 * register, !0);
    }
}
