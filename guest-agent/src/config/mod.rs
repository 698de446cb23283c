//! The agent's configuration and policy: one TOML file, read twice.
//!
//! ```text
//! agent.toml ─► low  (what was written: keys, types, defaults; unknown keys refused)
//!                 └─► high (what is meant: addresses, digests, flags; references resolved)  ─► Config
//! ```
//! Each error names the file, the line, what stands there and what may stand there. The file comes from the measured
//! image and from nowhere else: no command line of the kernel and nothing that the host provides is merged into it.

mod error;
pub mod high;
pub mod low;

use std::path::Path;

pub use error::Error;
pub use high::Config;

/// Where the configuration is when the command line does not say otherwise.
pub const DEFAULT_PATH: &str = "/etc/tidelock/agent.toml";

/// Bytes that a configuration may have; more is a mistake, not a policy.
const SIZE_MAX: u64 = 1 << 20;

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<Config, Error> {
    let unreadable = |error: std::io::Error| Error::unreadable(path, &error);
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > SIZE_MAX {
        return Err(Error::too_long(path, size, SIZE_MAX));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(path, &text)
}

/// Checks `text`; `path` is only for the messages.
pub fn parse(path: &Path, text: &str) -> Result<Config, Error> {
    let low: low::File = toml::from_str(text).map_err(|error| Error::syntax(path, text, &error))?;
    high::Config::from_low(low).map_err(|fault| Error::meaning(path, text, fault))
}
