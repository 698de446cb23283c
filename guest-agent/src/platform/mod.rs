//! The guest's kernel, as the agent uses it: one trait, so that tests can drive the whole flow without one.
//!
//! What makes a device trusted takes a [`Grant`], which only [`accept`](crate::accept) can make.

mod kernel_log;
mod linux;
mod memory_map;
mod packets;

use crate::accept::Grant;
use crate::config::high::Xdp;
use core::ops::Range;
use sriov::Bdf;

pub use linux::Linux;

/// What the agent asks of the kernel. Addresses are guest-physical, sizes in bytes.
pub trait Platform {
    /// What is different in every boot.
    fn boot_id(&self) -> Result<String, Error>;
    /// The kernel's command line.
    fn command_line(&self) -> Result<String, Error>;
    /// Where the bounce buffers are; an error if the kernel does not force every transfer through them.
    fn bounce_pool(&self) -> Result<Range<u64>, Error>;
    /// The guest's memory.
    fn memory(&self) -> Result<Vec<Range<u64>>, Error>;
    /// Seconds since 1970 by the clock that the policy names.
    fn unix_time(&self, source: crate::config::high::Clock) -> Result<i64, Error>;

    /// All PCI functions.
    fn functions(&self) -> Result<Vec<Bdf>, Error>;
    /// From now on no function gets a driver by itself.
    fn stop_autoprobe(&mut self) -> Result<(), Error>;
    /// Asks the kernel for a driver for a platform function; none is no error.
    fn probe(&mut self, bdf: Bdf) -> Result<(), Error>;
    /// Makes sure that no driver takes the function, until [`Self::bind`].
    fn isolate(&mut self, bdf: Bdf) -> Result<(), Error>;
    /// The driver that has the function.
    fn driver(&self, bdf: Bdf) -> Result<Option<String>, Error>;
    /// Takes its driver away; none is no error.
    fn unbind(&mut self, bdf: Bdf) -> Result<(), Error>;
    /// Gives it to `driver`, and no other.
    fn bind(&mut self, bdf: Bdf, driver: &str) -> Result<(), Error>;
    /// How its transfers go.
    fn path(&self, bdf: Bdf) -> Result<Path, Error>;
    /// From now on its transfers go through the bounce buffers. No driver may be bound.
    fn bounce(&mut self, bdf: Bdf) -> Result<(), Error>;
    /// From now on its transfers go directly. No driver may be bound.
    fn direct(&mut self, bdf: Bdf, grant: &Grant<'_>) -> Result<(), Error>;
    /// Lets it answer memory accesses and make its own, as a lock wants to find it.
    fn enable_memory_and_bus_master(&mut self, bdf: Bdf) -> Result<(), Error>;
    /// Its memory regions as the guest sees them.
    fn bars(&self, bdf: Bdf) -> Result<Vec<Bar>, Error>;
    /// What it may do with addresses, as its configuration says.
    fn translation(&self, bdf: Bdf) -> Result<Translation, Error>;
    /// Its network interfaces, none for a function of another kind; waits a moment until the driver has made them.
    fn interfaces(&mut self, bdf: Bdf) -> Result<Vec<Interface>, Error>;
    /// Brings a network interface up.
    fn up(&mut self, interface: &Interface) -> Result<(), Error>;
    /// Attaches a packet program in the mode that is asked for, or fails.
    fn attach(&mut self, interface: &Interface, xdp: &Xdp) -> Result<Box<dyn Packets>, Error>;
    /// Ends the guest.
    fn power_off(&mut self) -> Result<(), Error>;
}

/// A packet program that is attached; detached when dropped.
pub trait Packets {
    /// How it is attached, as the kernel says: `"native"` or `"generic"`.
    fn mode(&self) -> &'static str;
    /// Whether it is still there, in its mode.
    fn check(&self) -> Result<(), Error>;
    /// What it has counted so far.
    fn counted(&self) -> Result<Counted, Error>;
}

/// Packets counted by a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Given to the network stack.
    pub passed: u64,
    /// Dropped.
    pub dropped: u64,
}

/// How a function's transfers reach memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Copied through shared buffers.
    Bounce,
    /// By the function itself.
    Direct,
}

/// One memory region of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// 0 to 5.
    pub index: u8,
    /// Guest-physical address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// What a function's configuration says about address translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Translation {
    /// ATS is enabled.
    pub ats: bool,
    /// Page requests are enabled.
    pub prs: bool,
    /// PASIDs are enabled.
    pub pasid: bool,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
}

/// The kernel refused, or says what the agent cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}; wanted {wanted}; {cure}")]
pub struct Error {
    /// What happened.
    pub found: String,
    /// What should have been.
    pub wanted: String,
    /// What a person can do.
    pub cure: String,
}

impl Error {
    /// An error in three parts.
    pub fn new(found: impl Into<String>, wanted: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            wanted: wanted.into(),
            cure: cure.into(),
        }
    }
}
