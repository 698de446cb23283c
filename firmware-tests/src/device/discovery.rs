//! A security manager that is none: it answers DOE discovery and nothing else.

use super::FUNCTIONS;
use super::gate::TdiState;
use super::manager::SecurityManager;
use tdisp::clock::Instant;
use tdisp::wire::{Reader, Write};

/// Answers DOE discovery: the mailbox takes discovery objects only.
#[derive(Debug, Default)]
pub struct DiscoveryOnly;

impl SecurityManager for DiscoveryOnly {
    fn object(&mut self, _: Instant, object: &[u8]) -> Option<Vec<u8>> {
        let body = object.get(8..)?;
        let (vendor, kind) = {
            let mut header = Reader::new(object);
            (header.u16("vendor").ok()?, header.u8("type").ok()?)
        };
        if (vendor, kind) != (1, 0) {
            return None;
        }
        let index = *body.first()?;
        let mut out = Vec::new();
        out.u16(1);
        out.u16(0);
        out.u32(3);
        out.u16(if index == 0 { 1 } else { 0xffff });
        out.u16(0);
        Some(out)
    }

    fn fault(&mut self, _: usize) {}

    fn states(&self) -> [TdiState; FUNCTIONS] {
        Default::default()
    }
}
