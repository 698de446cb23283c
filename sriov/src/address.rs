//! A PCI function's address: parsed and printed here, once.

use std::fmt;
use std::str::FromStr;

/// Domain, bus, device and function of a PCI function, as Linux prints it: `0000:01:00.1`.
///
/// The order is the kernel's: domain, then bus, device, function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    domain: u32,
    rid: u16,
}

impl Bdf {
    /// An address from its parts; `None` if `device` is over 31 or `function` over 7.
    pub const fn new(domain: u32, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 0x1f || function > 7 {
            return None;
        }
        let rid = (bus as u16) << 8 | (device as u16) << 3 | function as u16;
        Some(Self { domain, rid })
    }

    /// The function that sends with requester ID `rid` (bus 15:8, device 7:3, function 2:0) in `domain`.
    pub const fn from_rid(domain: u32, rid: u16) -> Self {
        Self { domain, rid }
    }

    /// The PCI domain (segment); beyond 16 bits for domains that the kernel makes up, as VMD's.
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// The bus number.
    pub const fn bus(self) -> u8 {
        (self.rid >> 8) as u8
    }

    /// The device number, 0 to 31.
    pub const fn device(self) -> u8 {
        (self.rid >> 3) as u8 & 0x1f
    }

    /// The function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.rid as u8 & 7
    }

    /// The requester ID: bus 15:8, device 7:3, function 2:0. TDISP's FUNCTION_ID carries it in bits 15:0.
    pub const fn rid(self) -> u16 {
        self.rid
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            self.domain,
            self.bus(),
            self.device(),
            self.function()
        )
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no PCI address: write domain, bus, device and function in hexadecimal, as in 0000:01:00.1"
)]
pub struct ParseBdfError {
    /// What was written, cut at 64 characters.
    pub found: String,
}

impl FromStr for Bdf {
    type Err = ParseBdfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseBdfError {
            found: text.chars().take(64).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Bdf> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    if !(4..=8).contains(&domain.len()) || (domain.len() > 4 && domain.starts_with('0')) {
        return None;
    }
    let exact = |part: &str, digits: usize| if part.len() == digits { hex(part) } else { None };
    let narrow = |value: u32| u8::try_from(value).ok();
    Bdf::new(
        hex(domain)?,
        narrow(exact(bus, 2)?)?,
        narrow(exact(device, 2)?)?,
        narrow(exact(function, 1)?)?,
    )
}

/// `from_str_radix` takes a sign; an address has none.
fn hex(digits: &str) -> Option<u32> {
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_reads_as_the_kernel_writes_it() {
        let bdf: Bdf = "0000:01:00.1".parse().unwrap();
        assert_eq!(
            (bdf.domain(), bdf.bus(), bdf.device(), bdf.function()),
            (0, 1, 0, 1)
        );
        assert_eq!(bdf.rid(), 0x0101);
        assert_eq!(
            "10000:e1:1f.7".parse::<Bdf>().unwrap().to_string(),
            "10000:e1:1f.7"
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "01:00.1",
            "0000:01:00",
            "0000:01:00.8",
            "0000:01:20.0",
            "0000:1:00.0",
            "0000:+1:00.0",
            "00000:01:00.0",
            "0000:01:00.0\n",
            "0000:01:00.01",
            "123456789:01:00.0",
            "0000:01:00.é",
        ] {
            assert!(text.parse::<Bdf>().is_err(), "{text:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn every_address_survives_print_and_parse(domain: u32, rid: u16) {
            let bdf = Bdf::from_rid(domain, rid);
            prop_assert_eq!(bdf.to_string().parse::<Bdf>(), Ok(bdf));
            prop_assert_eq!(Bdf::new(domain, bdf.bus(), bdf.device(), bdf.function()), Some(bdf));
        }

        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_it_prints_back(text in ".{0,20}") {
            if let Ok(bdf) = text.parse::<Bdf>() {
                prop_assert_eq!(bdf.to_string(), text.to_lowercase());
            }
        }
    }
}
