//! The second stage, with drivers loaded: the machine's own functions get theirs, and each device of the policy is put
//! into what an untrusted device may do. Also where a device goes back to when it is refused.

use crate::channel::{self, Link};
use crate::config::Config;
use crate::config::high::{Device, Refused, Untrusted};
use crate::platform::{self, Path, Platform};
use crate::status::Isolated;

/// Why the stage cannot do its work. Every device is isolated then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The host or the TSM cannot be reached, or refuses.
    #[error(transparent)]
    Channel(#[from] channel::Error),
    /// The kernel refuses.
    #[error(transparent)]
    Platform(#[from] platform::Error),
}

/// Gives the machine's own functions to their drivers.
pub fn bind_platform(config: &Config, platform: &mut dyn Platform) -> Result<(), platform::Error> {
    for bdf in platform.functions()? {
        if config.is_platform(bdf) {
            platform.probe(bdf)?;
        }
    }
    Ok(())
}

/// Shares the bounce buffers and puts each device into what it may do before its verdict. Answers a sentence for each
/// device that stays isolated although the policy would let it bounce.
pub fn begin(
    config: &Config,
    isolated: &Isolated,
    platform: &mut dyn Platform,
    link: &mut Link,
) -> Result<Vec<String>, Error> {
    if needs_bounce(config) {
        link.share(platform.bounce_pool()?)?;
    }
    let mut kept = Vec::new();
    for device in config
        .devices
        .iter()
        .filter(|device| device.until_verdict == Untrusted::Bounce)
    {
        match isolated
            .tainted
            .iter()
            .find(|tainted| tainted.bdf == device.bdf.to_string())
        {
            Some(tainted) => kept.push(format!(
                "{} ({}) had driver {} before the agent isolated it; it stays without driver in this boot",
                device.name, device.bdf, tainted.driver
            )),
            None => kept.extend(bounce(device, platform).err().map(|error| {
                format!(
                    "{} ({}) does not bounce: {error}; it stays without driver",
                    device.name, device.bdf
                )
            })),
        }
    }
    Ok(kept)
}

/// Lets a device work through bounce buffers. On an error it has no driver.
///
/// What keeps the device from the guest's private memory is the platform's memory protection: the IOMMU group's type
/// `identity` makes the kernel bounce every transfer, and translates nothing.
pub fn bounce(device: &Device, platform: &mut dyn Platform) -> Result<(), platform::Error> {
    platform.unbind(device.bdf)?;
    let done = bounce_unbound(device, platform);
    if done.is_err() {
        // The first error is the one to tell; without a driver the device does nothing.
        let _ = platform.unbind(device.bdf);
    }
    done
}

fn bounce_unbound(device: &Device, platform: &mut dyn Platform) -> Result<(), platform::Error> {
    platform.bounce(device.bdf)?;
    if platform.path(device.bdf)? != Path::Bounce {
        return Err(platform::Error::new(
            "the kernel still maps its transfers directly",
            "an IOMMU group of type identity",
            "boot with a vIOMMU, iommu=strict and swiotlb=force",
        ));
    }
    platform.bind(device.bdf, &device.driver)?;
    let interfaces = platform.interfaces(device.bdf)?;
    interfaces.iter().try_for_each(|interface| platform.up(interface))
}

fn needs_bounce(config: &Config) -> bool {
    let bounces =
        |device: &Device| device.until_verdict == Untrusted::Bounce || device.on_refusal == Refused::Bounce;
    config.devices.iter().any(bounces)
}
