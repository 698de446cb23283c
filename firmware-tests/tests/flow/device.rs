//! A device's security manager put together from the product's responders, without the rest of a device.

use std::sync::{Arc, OnceLock};

use firmware_tests::identity;
use tdisp::{
    clock::Instant,
    crypto::{HashAlg, Provider, Ring, digest},
    spdm::{
        self,
        msg::{
            measurements::Kind,
            vendor::{PciSig, Protocol},
        },
        responder::{Event, Measurement, ResponderConfig},
    },
    tdi::{
        self,
        msg::{InterfaceId, LockFlags, State},
        report::{Attributes, Info, Range, Report},
        responder::{Config, Device as Rest, Ide, Step},
    },
};

pub(crate) struct Device {
    spdm: spdm::Responder,
    tdi: tdi::Responder,
    provider: Arc<dyn Provider>,
}

/// Made once: certificates take longer than whole flows.
static IDENTITY: OnceLock<identity::Identity> = OnceLock::new();

struct NoRest;

impl Rest for NoRest {
    fn stream_is_secure(&self, _stream: u8, _session: u32) -> bool {
        false
    }
}

impl Device {
    pub(crate) fn new() -> Self {
        let identity = IDENTITY.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            identity::provision(directory.path()).unwrap()
        });
        let provider: Arc<dyn Provider> = Arc::new(Ring);
        let measurement = Measurement {
            index: 1,
            kind: Kind::FIRMWARE,
            raw: false,
            value: digest(&Ring, HashAlg::Sha384, b"firmware").as_ref().to_vec(),
        };
        let signer = Arc::new(identity::signer(identity).unwrap());
        let config = ResponderConfig::new(identity.vendor.object(), signer, vec![measurement]);
        let interfaces = [0x0101, 0x0102].map(InterfaceId::new).to_vec();
        let tdi = Config {
            interfaces,
            ide: Ide::Absent,
            lock_flags: LockFlags(0x1f),
            address_width: 52,
            portion_max: 24,
        };
        Self {
            spdm: spdm::Responder::new(config, Arc::clone(&provider)),
            tdi: tdi::Responder::new(tdi),
            provider,
        }
    }

    /// The answer to an object, if there is one.
    pub(crate) fn exchange(&mut self, now: Instant, object: &[u8]) -> Option<Vec<u8>> {
        self.spdm.handle(now, object);
        while let Some(event) = self.spdm.poll_event() {
            match event {
                Event::VendorRequest { session, payload } => {
                    let answer = self.vendor(session, &payload);
                    self.spdm.respond_vendor(now, answer.as_deref());
                }
                Event::SessionEnded { id } => self.tdi.session_ended(id),
                _ => {}
            }
        }
        let mut out = Vec::new();
        self.spdm.poll_transmit(&mut out).then_some(out)
    }

    pub(crate) fn state(&self, function_id: u32) -> State {
        self.tdi
            .state(InterfaceId {
                function: function_id,
            })
            .unwrap()
    }

    pub(crate) fn fault(&mut self, function_id: u32) {
        self.tdi.fault(InterfaceId {
            function: function_id,
        });
    }

    fn vendor(&mut self, session: u32, payload: &[u8]) -> Option<Vec<u8>> {
        let payload = PciSig::decode(payload).ok()?;
        if payload.protocol != Protocol::TDISP {
            return None;
        }
        let object = match self.tdi.handle(session, payload.object, &NoRest) {
            Step::Respond(object) => object,
            Step::Silent => return None,
            Step::Lock(token) => self.tdi.locked(token, Ok(report()), &*self.provider),
            Step::Stop(token) => self.tdi.stopped(token),
        };
        let mut out = Vec::new();
        PciSig {
            protocol: Protocol::TDISP,
            object: &object,
        }
        .encode(&mut out);
        Some(out)
    }
}

/// Two ranges, the second of two pages.
fn report() -> Vec<u8> {
    let range = |id, first_page, pages| Range {
        first_page,
        pages,
        attributes: Attributes(0),
        id,
    };
    let report = Report {
        info: Info::NO_FW_UPDATE,
        ranges: vec![range(0, 0xfe000, 1), range(2, 0xfe010, 2)],
        ..Report::default()
    };
    let mut out = Vec::new();
    report.encode(&mut out);
    out
}
