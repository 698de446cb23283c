//! An honest device's security manager, without the rest of a device.

use std::sync::{Arc, OnceLock};

use firmware_tests::identity;
use tdisp::{
    clock::Instant,
    crypto::{HashAlg, Ring, digest},
    dsm::{Config, Dsm, Honest},
    ide_km::responder::Port,
    spdm::{
        msg::measurements::Kind,
        responder::{Measurement, ResponderConfig},
    },
    tdi::{
        self,
        msg::{InterfaceId, LockFlags, State},
        report::{Attributes, Info, Range, Report},
        responder::{Ide, Optional},
    },
};

pub(crate) struct Device(Dsm);

/// Made once: certificates take longer than whole flows.
static IDENTITY: OnceLock<identity::Identity> = OnceLock::new();

const INTERFACES: [InterfaceId; 2] = [InterfaceId::new(0x0101), InterfaceId::new(0x0102)];

impl Device {
    /// A lock needs an IDE stream with keys of its session.
    pub(crate) fn new() -> Self {
        let identity = IDENTITY.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            identity::provision(directory.path()).unwrap()
        });
        let signer = Arc::new(identity::signer(identity).unwrap());
        let config = Config {
            spdm: ResponderConfig::new(identity.vendor.object(), signer, Vec::new()),
            tdi: tdi::responder::Config {
                interfaces: INTERFACES.to_vec(),
                ide: Ide::Required,
                lock_flags: LockFlags(0x1f),
                address_width: 52,
                // So small that a report takes several portions.
                portion_max: 24,
                optional: Optional::default(),
            },
            ports: vec![Port {
                capability: 1,
                ..Port::default()
            }],
        };
        let measurement = Measurement {
            index: 1,
            kind: Kind::FIRMWARE,
            raw: false,
            value: digest(&Ring, HashAlg::Sha384, b"firmware").as_ref().to_vec(),
            bit_stream: None,
        };
        let reports = INTERFACES
            .map(|interface| (interface, report()))
            .into_iter()
            .collect();
        let honest = Honest {
            reports,
            measurements: vec![measurement],
        };
        Self(Dsm::new(config, Box::new(honest), Arc::new(Ring)))
    }

    /// The answer to an object, if there is one.
    pub(crate) fn exchange(&mut self, now: Instant, object: &[u8]) -> Option<Vec<u8>> {
        self.0.handle(now, object);
        let mut out = Vec::new();
        self.0.poll_transmit(&mut out).then_some(out)
    }

    pub(crate) fn state(&self, function_id: u32) -> State {
        self.0
            .state(InterfaceId {
                function: function_id,
            })
            .unwrap()
    }

    pub(crate) fn fault(&mut self, function_id: u32) {
        self.0.fault(InterfaceId {
            function: function_id,
        });
    }
}

/// Two ranges, the second of two pages.
fn report() -> Report {
    let range = |id, first_page, pages| Range {
        first_page,
        pages,
        attributes: Attributes(0),
        id,
    };
    Report {
        info: Info::NO_FW_UPDATE,
        ranges: vec![range(0, 0xbfff0, 1), range(2, 0xc0000, 2)],
        ..Report::default()
    }
}
