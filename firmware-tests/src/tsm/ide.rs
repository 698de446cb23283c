//! IDE keys: the device's port is programmed over the session; the root port's half is a table.
//!
//! ```text
//!   QUERY ─► KEY_PROG ×6 ─► K_SET_GO receive ─► K_SET_GO transmit ─► Programmed
//!     └─ the port has no IDE ─► Absent
//! ```
//! **Emulated:** there is no IDE on the emulated link, and no root port. What a real TSM would write into the root port's
//! key slots is kept here until the session is over, and encrypts nothing. A device erases its half when the session ends.

use tdisp::{
    crypto::Provider,
    ide_km::{
        self,
        msg::{Direction, Key, KeySub},
        requester::{Answer, Progress},
    },
};
use zeroize::Zeroizing;

/// One stream at the device's port 0.
#[derive(Debug)]
pub(super) struct Ide {
    machine: ide_km::Requester,
    /// The root port's half; what the device receives it transmits.
    root_port: Vec<(KeySub, Key)>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this object.
    Send(Zeroizing<Vec<u8>>),
    /// The port has no IDE.
    Absent,
    /// Both directions have keys in use.
    Programmed,
}

/// The stream that LOCK names as its default.
pub(super) const STREAM: u8 = 0;
const PORT: u8 = 0;
/// IDE Capability register: link streams and selective streams are supported (PCIe 6.0 §7.9.26.2).
const SUPPORTED: u32 = 0b11;

impl Ide {
    /// Nothing was asked yet.
    pub(super) fn new() -> Self {
        Self {
            machine: ide_km::Requester::new(PORT, STREAM),
            root_port: Vec::new(),
        }
    }

    /// Asks what the port can do.
    pub(super) fn begin(&mut self) -> Result<Vec<u8>, String> {
        self.machine.query().map_err(|error| error.to_string())
    }

    /// Takes the device's answer.
    pub(super) fn handle(&mut self, object: &[u8], provider: &dyn Provider) -> Result<Next, String> {
        let fail = |error: ide_km::requester::Error| error.to_string();
        let answer = match self.machine.handle(object).map_err(fail)? {
            Progress::More(object) => return Ok(Next::Send(object)),
            Progress::Done(answer) => answer,
        };
        Ok(match answer {
            Answer::Registers { capability, .. } if capability & SUPPORTED == 0 => Next::Absent,
            Answer::Registers { .. } => Next::Send(self.machine.program(provider).map_err(fail)?),
            Answer::Programmed(keys) => {
                self.root_port = keys;
                Next::Send(self.machine.go(Direction::Receive).map_err(fail)?.into())
            }
            Answer::Going(Direction::Receive) => {
                Next::Send(self.machine.go(Direction::Transmit).map_err(fail)?.into())
            }
            Answer::Going(Direction::Transmit) => Next::Programmed,
            Answer::Stopped => return Err("the device stopped a stream that was to go".into()),
        })
    }

    /// Slots of the root port's table that are filled.
    pub(super) fn root_port_keys(&self) -> usize {
        self.root_port.len()
    }
}
