//! PCI functions on Linux: inventory, VF plans, drivers, IOMMU groups, VFIO, PCI/TSM sysfs.
//!
//! ```text
//!   address  Bdf, parsed and printed once        plan    (observed, desired) ─► steps, pure
//!   sysfs    the only paths and the only files   apply   steps ─► kernel, each read back
//!   config   registers, capability walks         driver  bind, unbind, override: verified
//!   function identity, BARs, net interfaces      group   IOMMU group type, members, blockers
//!   tsm      /sys/class/tsm, <BDF>/tsm/*         vfio    preflight of a VFIO-bound function
//! ```
//!
//! # Invariants
//! - sysfs's mount point is a parameter ([`Root`]); nothing but `sysfs.rs` knows a path below it.
//! - What is written is read back. A write that the kernel took without effect is an error.
//! - A plan never destroys a leased VF unless it was told to ([`plan::plan`]).
//! - Reads are bounded, capability walks end, and no file's contents can make this crate panic.
//!
//! # What it does not do
//! - A VF's network settings (MAC, VLAN, rates): these are rtnetlink's.
//! - Bind a TDI to a VM: only the VMM, who holds the KVM and iommufd descriptors, can.
//! - Serialise access to a DOE mailbox against the kernel's own use: use [`ConfigSpace`] for it only while the
//!   function's `tsm/connect` is empty.

pub mod address;
pub mod apply;
pub mod config;
pub mod driver;
pub mod error;
pub mod function;
pub mod group;
pub mod plan;
pub mod tsm;
pub mod vfio;

mod sysfs;

pub use address::{Bdf, ParseBdfError};
pub use config::{Capability, ConfigSpace, Registers, TrustedIo};
pub use driver::{drivers_autoprobe, probe, set_drivers_autoprobe};
pub use error::Error;
pub use function::{Bar, DoeFeature, Function, Identity, functions};
pub use group::{Group, GroupType, Member};
pub use sysfs::Root;
pub use tsm::tsms;
