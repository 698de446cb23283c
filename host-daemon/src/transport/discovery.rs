//! DOE discovery (PCIe 6.0 §6.30.1.1): which protocols a mailbox takes.

use tdisp::doe::{Object, ObjectType, discovery, object::PCI_SIG};

use super::Error;

/// More protocols than any mailbox has: bounds a device that never ends its list.
const PROTOCOLS_MAX: usize = 32;

/// The list as far as it was asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    found: Vec<(u16, ObjectType)>,
    index: Option<u8>,
    over: bool,
}

impl Asked {
    /// The next request as a data object, if the list is not over.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        if self.over || self.found.len() >= PROTOCOLS_MAX {
            return None;
        }
        let (mut body, mut out) = (Vec::new(), Vec::new());
        discovery::Request {
            index: self.index.unwrap_or(0),
            version: 0,
        }
        .encode(&mut body);
        Object::new(ObjectType::DISCOVERY, &body).encode(&mut out);
        Some(out)
    }

    /// Takes the answer to it.
    pub(super) fn answered(&mut self, answer: &[u8]) -> Result<(), Error> {
        let malformed = |found: String| Error::Malformed {
            what: "answer to DOE discovery",
            found,
            wanted: "a discovery object of 3 DW".into(),
        };
        let object = Object::decode(answer).map_err(|error| malformed(error.to_string()))?;
        if (object.vendor, object.kind) != (PCI_SIG, ObjectType::DISCOVERY) {
            return Err(malformed(format!(
                "an object of {:04x}:{:02x}",
                object.vendor, object.kind.0
            )));
        }
        let response =
            discovery::Response::decode(object.body).map_err(|error| malformed(error.to_string()))?;
        self.found.push((response.vendor, response.kind));
        self.over = response.next == 0;
        self.index = Some(response.next);
        Ok(())
    }

    /// Whether the list is that of a mailbox for SPDM.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        let wanted = [ObjectType::SPDM, ObjectType::SECURED_SPDM];
        if wanted.iter().all(|kind| self.found.contains(&(PCI_SIG, *kind))) {
            return Ok(());
        }
        let found = self
            .found
            .iter()
            .map(|(vendor, kind)| format!("{vendor:04x}:{:02x}", kind.0));
        let found = found.collect::<Vec<_>>().join(" ");
        Err(Error::NoSpdm {
            found: if found.is_empty() { "nothing".into() } else { found },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(vendor: u16, kind: u8, next: u8) -> Vec<u8> {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        discovery::Response {
            vendor,
            kind: ObjectType(kind),
            next,
        }
        .encode(&mut body);
        Object::new(ObjectType::DISCOVERY, &body).encode(&mut out);
        out
    }

    #[test]
    fn a_list_with_both_kinds_of_spdm_is_good_and_any_other_says_what_it_lists() {
        let mut asked = Asked::default();
        for (kind, next) in [(0, 1), (1, 2), (2, 0)] {
            assert!(asked.next().is_some());
            asked.answered(&answer(1, kind, next)).unwrap();
        }
        assert!(asked.next().is_none() && asked.verdict().is_ok());
        let mut asked = Asked::default();
        asked.answered(&answer(0x1e98, 2, 0)).unwrap();
        let message = asked.verdict().unwrap_err().to_string();
        assert!(
            message.contains("lists 1e98:02; wanted SPDM (0001:01)"),
            "{message}"
        );
    }

    #[test]
    fn a_list_without_an_end_is_cut_off_and_a_wrong_object_is_refused() {
        let mut asked = Asked::default();
        while asked.next().is_some() {
            asked.answered(&answer(1, 1, 1)).unwrap();
        }
        assert_eq!(asked.found.len(), PROTOCOLS_MAX);
        assert!(
            Asked::default()
                .answered(&[1, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0])
                .is_err()
        );
        assert!(Asked::default().answered(&answer(1, 1, 1)[..8]).is_err());
    }
}
