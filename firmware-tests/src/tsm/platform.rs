//! What the TSM has the platform do: the DMA gate and the guest's memory map, behind one trait.

/// One effect on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Every device may reach this guest memory.
    Share {
        /// First guest physical address.
        gpa: u64,
        /// Bytes.
        len: u64,
    },
    /// Take that back.
    Unshare {
        /// First guest physical address.
        gpa: u64,
        /// Bytes.
        len: u64,
    },
    /// Open the gate only in the lock that the function's interface is in now.
    Hold {
        /// The function's number in its device.
        function: u8,
    },
    /// Whether a function may reach private memory while it is in RUN.
    Dma {
        /// The function's number in its device.
        function: u8,
        /// On or off.
        enabled: bool,
    },
    /// Where the guest sees a range of the interface report.
    Mmio {
        /// The function's number in its device.
        function: u8,
        /// The range's id in the report.
        range_id: u16,
    },
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effected {
    /// Done.
    Done,
    /// The answer to [`Effect::Mmio`].
    Mmio {
        /// Guest physical address of the range's first byte.
        base: u64,
        /// Bytes.
        len: u64,
    },
}
