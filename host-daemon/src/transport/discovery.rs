//! DOE discovery (PCIe 6.0 §6.30.1.1): which protocols a mailbox speaks.

use tdisp::doe::{self, discovery};

use super::{Error, Mailbox};

/// More protocols than any mailbox has: bounds a device that never ends its list.
const PROTOCOLS_MAX: usize = 32;

/// Asks for every protocol; an error unless SPDM and secured SPDM are among them.
pub(super) async fn expect_spdm(mailbox: &mut Mailbox) -> Result<(), Error> {
    let mut found = Vec::new();
    let mut index = 0;
    for _ in 0..PROTOCOLS_MAX {
        let answer = mailbox.exchange(&request(index)).await?;
        let response = response(&answer)?;
        found.push((response.vendor, response.kind));
        index = response.next;
        if index == 0 {
            break;
        }
    }
    verdict(&found)
}

/// One discovery request as a data object.
pub(super) fn request(index: u8) -> Vec<u8> {
    let (mut body, mut out) = (Vec::new(), Vec::new());
    discovery::Request { index, version: 0 }.encode(&mut body);
    doe::Object::new(doe::ObjectType::DISCOVERY, &body).encode(&mut out);
    out
}

/// The answer to it, out of a data object.
pub(super) fn response(answer: &[u8]) -> Result<discovery::Response, Error> {
    let malformed = |error: &dyn std::fmt::Display| Error::Malformed {
        what: "answer to DOE discovery",
        found: format!("malformed: {error}"),
        wanted: "a discovery response of 3 DW".into(),
    };
    let object = doe::Object::decode(answer).map_err(|error| malformed(&error))?;
    discovery::Response::decode(object.body).map_err(|error| malformed(&error))
}

/// Whether a list of (vendor, type) is that of an SPDM mailbox.
pub(super) fn verdict(found: &[(u16, doe::ObjectType)]) -> Result<(), Error> {
    let wanted = [doe::ObjectType::SPDM, doe::ObjectType::SECURED_SPDM];
    if wanted.iter().all(|kind| found.contains(&(1, *kind))) {
        return Ok(());
    }
    let found: Vec<_> = found
        .iter()
        .map(|(vendor, kind)| format!("{vendor:04x}:{:02x}", kind.0))
        .collect();
    Err(Error::NoSpdm {
        found: if found.is_empty() {
            "nothing".into()
        } else {
            found.join(" ")
        },
    })
}
