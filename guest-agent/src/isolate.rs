//! The first stage, before any driver is loaded: from here on no function gets a driver by itself, and every function
//! that is not the machine's own is kept for a driver that does not exist.
//!
//! A function that had a driver already could have reached whatever that driver let it: it is taken away, and the
//! record says so, so that no later stage accepts it in this boot.

use crate::config::Config;
use crate::platform::{Error, Platform};
use crate::status::{Isolated, Tainted};

/// Isolates every function that the policy does not name as the machine's own.
pub fn isolate(config: &Config, platform: &mut dyn Platform) -> Result<Isolated, Error> {
    platform.stop_autoprobe()?;
    let mut tainted = Vec::new();
    for bdf in platform.functions()? {
        if config.is_platform(bdf) {
            continue;
        }
        platform.isolate(bdf)?;
        if let Some(driver) = platform.driver(bdf)? {
            tainted.push(Tainted {
                bdf: bdf.to_string(),
                driver,
            });
            platform.unbind(bdf)?;
        }
    }
    Ok(Isolated {
        boot_id: platform.boot_id()?,
        tainted,
    })
}
