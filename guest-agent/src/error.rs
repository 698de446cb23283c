//! Why a device is refused, or a stage cannot do its work: which step, whose fault, what was found, what was wanted
//! and what a person can do.

/// The steps a device walks from what the host offers to direct access, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Nothing on the kernel's command line or in the past of this boot takes the decision away.
    Preconditions,
    /// The clock can be right.
    Clock,
    /// The driver is taken away, memory and bus mastering are enabled.
    Detach,
    /// The host binds and locks the interface.
    Lock,
    /// The TSM says what it has locked.
    Inform,
    /// A nonce is drawn and the TSM measures the device anew.
    Measure,
    /// The evidence is fetched from the host.
    Fetch,
    /// The evidence is compared with what the TSM vouches for.
    Verify,
    /// The guest's policy is applied.
    Appraise,
    /// The TSM checks where the device's memory is mapped.
    ValidateMmio,
    /// The TSM is asked once more that nothing has moved.
    Recheck,
    /// The interface is started.
    Start,
    /// DMA to private memory is enabled.
    EnableDma,
    /// The IOMMU group goes from bounce to direct.
    Direct,
    /// The driver is bound.
    Driver,
    /// The packet program is attached.
    Packets,
    /// The network interface comes up.
    Network,
    /// The verdict is watched.
    Monitor,
}

impl Step {
    /// The name as status and logs show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preconditions => "preconditions",
            Self::Clock => "clock",
            Self::Detach => "detach",
            Self::Lock => "lock",
            Self::Inform => "inform",
            Self::Measure => "measure",
            Self::Fetch => "fetch",
            Self::Verify => "verify",
            Self::Appraise => "appraise",
            Self::ValidateMmio => "validate-mmio",
            Self::Recheck => "recheck",
            Self::Start => "start",
            Self::EnableDma => "enable-dma",
            Self::Direct => "direct",
            Self::Driver => "driver",
            Self::Network => "network",
            Self::Packets => "packets",
            Self::Monitor => "monitor",
        }
    }
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The host: it withholds, delays, or sends what cannot be.
    Host,
    /// The TSM, or the channel to it.
    Tsm,
    /// The device, by its evidence.
    Device,
    /// The guest's own kernel or image.
    Guest,
}

/// A device is refused, or its trust is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {message}")]
pub struct Refusal {
    /// Where it stopped.
    pub step: Step,
    /// Who is at fault.
    pub fault: Fault,
    /// What was found, what is wanted, what a person can do.
    pub message: String,
}

impl Refusal {
    /// A refusal at `step` for what `fault` did.
    pub fn new(step: Step, fault: Fault, message: impl Into<String>) -> Self {
        Self {
            step,
            fault,
            message: message.into(),
        }
    }

    /// The guest's own kernel stands in the way.
    pub fn platform(step: Step, error: &crate::platform::Error) -> Self {
        Self::new(step, Fault::Guest, error.to_string())
    }

    /// The host or the TSM stands in the way.
    pub fn channel(step: Step, error: &crate::channel::Error) -> Self {
        use crate::channel::Error;
        let fault = match error {
            Error::Tsm { .. } | Error::Sealed { .. } => Fault::Tsm,
            _ => Fault::Host,
        };
        Self::new(step, fault, error.to_string())
    }
}
