//! Sessions of every kind: on a key exchange or a pre-shared key, with one end authenticated or both, alone or side by side,
//! and what becomes of their keys.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod keys;
mod mutual;
#[path = "../pair/mod.rs"]
mod pair;
#[path = "../providers/mod.rs"]
mod providers;
mod psk;
mod questions;
mod renewal;
mod side_by_side;
mod unsigned;

use pair::{Identity, Pair, requester, requester_config, responder, responder_config};
use std::sync::Arc;
use tdisp::{
    crypto::Secret,
    spdm::{
        Event, RequesterConfig, ResponderConfig, Transport,
        msg::Version,
        requester::PreShared,
        responder::{Event as Told, Psk},
    },
};

/// The versions that have sessions.
const VERSIONS: [Version; 4] = [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4];
const TRANSPORTS: [Transport; 2] = [Transport::Doe, Transport::Mctp];

/// Both ends of one test, before they are what it wants.
#[derive(Clone)]
struct Ends {
    asking: RequesterConfig,
    answering: ResponderConfig,
}

impl Ends {
    fn of(version: Version, transport: Transport) -> Self {
        Self {
            asking: RequesterConfig {
                versions: vec![version],
                transport,
                ..requester_config()
            },
            answering: ResponderConfig {
                versions: vec![version],
                transport,
                ..responder_config()
            },
        }
    }

    /// Every version on every transport.
    fn all() -> impl Iterator<Item = Self> {
        VERSIONS
            .into_iter()
            .flat_map(|version| TRANSPORTS.map(|transport| Self::of(version, transport)))
    }

    fn usual() -> Self {
        Self::of(Version::V1_2, Transport::Doe)
    }

    /// With a pre-shared key on both sides.
    fn with_psk(mut self, context: bool) -> Self {
        self.asking.psk = Some(PreShared {
            hint: HINT.to_vec(),
            key: Secret::new(KEY.to_vec()),
        });
        self.answering.psk = Some(Psk {
            keys: Arc::new(|hint: &[u8]| (hint == HINT).then(|| Secret::new(KEY.to_vec()))),
            context,
        });
        self
    }

    /// With requests of the responder's own.
    fn with_encapsulated(mut self) -> Self {
        self.asking.encapsulated = true;
        self.answering.encapsulated = true;
        self
    }

    fn pair(self) -> Pair {
        Pair::of(requester(self.asking), responder(self.answering))
    }

    fn connected(self) -> Pair {
        let mut pair = self.pair();
        pair.connect();
        pair
    }
}

const HINT: &[u8] = b"the key of the test";
const KEY: &[u8] = b"which nobody should use elsewhere";

/// The sessions that came up, as the requester told.
fn ready(pair: &Pair) -> Vec<u32> {
    let ready = pair.requester_events.iter().filter_map(|event| match event {
        Event::SessionReady { id } => Some(*id),
        _ => None,
    });
    ready.collect()
}

/// Both ends have the same sessions, and each carries messages.
fn assert_all_speak(pair: &mut Pair) {
    let sessions = pair.requester.sessions();
    assert_eq!(pair.responder.sessions(), sessions);
    for session in sessions {
        assert_speaks(pair, session);
    }
}

fn assert_speaks(pair: &mut Pair, session: u32) {
    pair.requester_events.clear();
    let now = pair.now;
    pair.requester.vendor_in(now, session, &[1, 2, 3, 4]).unwrap();
    pair.run();
    let said = Event::Vendor(vec![1, 4, 3, 2]);
    assert!(
        pair.requester_events.contains(&said),
        "{:?}",
        pair.requester_events
    );
}

fn usual() -> &'static Identity {
    Identity::usual()
}

/// What the responder told, but for what was asked of it.
fn told(pair: &Pair) -> Vec<&Told> {
    let told = pair.responder_events.iter();
    told.filter(|event| !matches!(event, Told::VendorRequest { .. }))
        .collect()
}
