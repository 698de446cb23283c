//! A card that is nothing but a responder: a connection finds it as after power-on, with its functions placed and enabled as
//! firmware leaves them, so that they can be locked.

use super::super::FUNCTIONS;
use super::super::config::{BAR0, COMMAND, COMMAND_BUS_MASTER, COMMAND_MEMORY, ConfigSpace};
use super::super::dsm::{Configs, Dsm};
use super::super::function::{Layout, manager_layout, network_layout};
use super::super::manager::Manager;
use super::super::socket::{self, Left, Link};
use super::options::{Protocol, Unfit};
use crate::identity::Identity;
use crate::lie::Lie;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tdisp::wire::Write;

/// Where the functions' BARs are: what a host would have chosen.
const BARS: u32 = 0xfe80_0000;
/// How long a requester may say nothing while others may be waiting.
const IDLE: Duration = Duration::from_secs(600);

/// The card.
pub struct Standalone {
    identity: Identity,
    protocol: Protocol,
    lies: Vec<Lie>,
}

impl Standalone {
    /// A card with this identity. What cannot be is told now, and not to the first requester.
    pub fn new(identity: Identity, protocol: Protocol, lies: Vec<Lie>) -> Result<Self, Unfit> {
        let card = Self {
            identity,
            protocol,
            lies,
        };
        card.power_on()?;
        Ok(card)
    }

    fn power_on(&self) -> Result<Manager, Unfit> {
        let dsm = Dsm::with(&self.identity, placed(), self.lies.clone(), &self.protocol)?;
        Ok(Manager::new(Box::new(dsm), Arc::default(), self.lies.clone()))
    }

    /// Serves one requester after the other until the listener fails; the next one waits. Each finds the card as after
    /// power-on, but for one that follows a CONTINUE.
    pub fn serve(&self, listener: &TcpListener) -> io::Result<()> {
        let link = Link {
            transport: self.protocol.transport,
            idle: Some(IDLE),
        };
        let mut kept = None;
        for stream in listener.incoming() {
            let stream = stream?;
            let peer = stream.peer_addr();
            tracing::info!(?peer, kept = kept.is_some(), "a requester comes");
            let manager = match kept.take() {
                Some(manager) => manager,
                None => self.power_on().map_err(io::Error::other)?,
            };
            match socket::converse(stream, &manager, link) {
                Ok(Left::ToContinue) => kept = Some(manager),
                Ok(Left::ForGood) => {}
                Err(error) => tracing::warn!(%error, "a requester's connection ended"),
            }
        }
        Ok(())
    }
}

/// The functions' registers as after power-on, with the BARs placed one behind the other, and memory and bus mastering on.
fn placed() -> Configs {
    let layouts = [manager_layout(), network_layout(), network_layout()];
    let configs: [_; FUNCTIONS] = layouts.each_ref().map(Layout::power_on);
    let mut base = BARS;
    for config in &configs {
        place(
            &mut config.lock().unwrap_or_else(PoisonError::into_inner),
            &mut base,
        );
    }
    configs
}

fn place(config: &mut ConfigSpace, base: &mut u32) {
    let bars: Vec<_> = config.bars().collect();
    for bar in bars {
        let at = base.next_multiple_of(bar.size);
        let mut register = Vec::new();
        register.u32(at);
        config.write(BAR0 + bar.index * 4, &register);
        *base = at + bar.size;
    }
    let mut command = Vec::new();
    command.u16(COMMAND_MEMORY | COMMAND_BUS_MASTER);
    config.write(COMMAND, &command);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_bars_are_placed_apart_and_enabled() {
        let configs: Configs = placed();
        let mut ranges = Vec::new();
        for config in &configs {
            let config = config.lock().unwrap();
            assert_ne!(config.command() & COMMAND_MEMORY, 0);
            ranges.extend(config.bars().map(|bar| (bar.base, bar.base + bar.size)));
        }
        assert!(
            ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "{ranges:x?}"
        );
    }
}
