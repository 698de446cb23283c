//! A program on an interface: in the mode that was asked for, or not at all.
//!
//! ```text
//! Loaded ─attach(mode)─► link in this mode ─► kernel, which mode? ─same─► Attached ─drop─► link closed, program off
//!                              │ refused            │ another
//!                              └──► Error           └──► link closed ──► Error
//! ```

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{self, Error};
use crate::kernel::{self, Running};
use crate::load::Loaded;
use crate::stats::Stats;

/// Where in the receive path the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// After the socket buffer is made: works with any driver, and saves little.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "native" => Ok(Self::Native),
            "generic" => Ok(Self::Generic),
            _ => Err(format!("`{text}` is no mode: write native or generic")),
        }
    }
}

impl Mode {
    fn flags(self) -> u32 {
        match self {
            Self::Native => libbpf_sys::XDP_FLAGS_DRV_MODE,
            Self::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
        }
    }
}

/// A program at work on an interface. Dropping it takes the program off.
#[derive(Debug)]
pub struct Attached {
    link: OwnedFd,
    loaded: Loaded,
    ifindex: u32,
    mode: Mode,
    program_id: u32,
}

impl Attached {
    pub(crate) fn new(loaded: Loaded, ifindex: u32, mode: Mode) -> Result<Self, Error> {
        let index = index(ifindex, mode)?;
        let link = kernel::link_xdp(loaded.program.as_fd(), index, mode.flags())
            .map_err(|source| error::attach(ifindex, mode, source))?;
        let program_id = loaded.program_id()?;
        let attached = Self {
            link,
            loaded,
            ifindex,
            mode,
            program_id,
        };
        attached.check_mode()?;
        Ok(attached)
    }

    /// The mode, as the kernel told it when asked after attaching.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The interface.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The kernel-wide ID of the program at work.
    pub fn program_id(&self) -> u32 {
        self.program_id
    }

    /// What the program has done since it was loaded.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.loaded.stats()
    }

    /// Asks the kernel again which program runs in which mode.
    ///
    /// # Errors
    /// [`Error::ModeDiffers`] if it is no more ours in our mode; [`Error::Kernel`] if the interface is gone.
    pub fn check_mode(&self) -> Result<(), Error> {
        let running = kernel::running(index(self.ifindex, self.mode)?).map_err(|source| Error::Kernel {
            what: "ask for the interface's XDP mode",
            source,
        })?;
        let ours = match self.mode {
            Mode::Native => running.native,
            Mode::Generic => running.generic,
        };
        if ours == self.program_id {
            return Ok(());
        }
        let found = describe(running, self.program_id);
        Err(Error::ModeDiffers {
            ifindex: self.ifindex,
            wanted: self.mode,
            found,
        })
    }

    /// Puts another program in this one's place at once: each packet meets the one or the other. Counters start
    /// anew; returned is what the program before did. If it fails, the program before stays.
    pub fn replace(&mut self, loaded: Loaded) -> Result<Stats, Error> {
        let program_id = loaded.program_id()?;
        kernel::replace(self.link.as_fd(), loaded.program.as_fd())
            .map_err(|source| error::attach(self.ifindex, self.mode, source))?;
        let before = std::mem::replace(&mut self.loaded, loaded);
        self.program_id = program_id;
        self.check_mode()?;
        before.stats()
    }

    /// Takes the program off and returns what it did to the end.
    pub fn detach(self) -> Result<Stats, Error> {
        kernel::detach(self.link.as_fd()).map_err(|source| Error::Kernel {
            what: "take the program off",
            source,
        })?;
        self.loaded.stats()
    }
}

fn index(ifindex: u32, mode: Mode) -> Result<i32, Error> {
    let absent = |_| error::attach(ifindex, mode, rustix::io::Errno::NODEV.into());
    ifindex.try_into().map_err(absent)
}

fn describe(running: Running, ours: u32) -> String {
    let name = |id| {
        if id == ours {
            "our program".to_owned()
        } else {
            format!("program {id}")
        }
    };
    let modes = [
        ("native", running.native),
        ("generic", running.generic),
        ("hardware", running.hardware),
    ];
    let found: Vec<_> = modes
        .into_iter()
        .filter(|(_, id)| *id != 0)
        .map(|(mode, id)| format!("{} in {mode} mode", name(id)))
        .collect();
    if found.is_empty() {
        "no program".to_owned()
    } else {
        found.join(" and ")
    }
}
