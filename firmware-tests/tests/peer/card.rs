//! The responder's machine itself, for what `tidelock-device serve` does not do.

use std::net::TcpListener;
use std::sync::Arc;

use firmware_tests::device::FUNCTIONS;
use firmware_tests::device::gate::TdiState;
use firmware_tests::device::manager::{Manager, SecurityManager};
use firmware_tests::device::responder::suite::Suite;
use firmware_tests::device::socket::{self, Link};
use firmware_tests::identity;
use tdisp::clock::Instant;
use tdisp::crypto::{Ring, Signer};
use tdisp::doe::{Object, ObjectType, discovery};
use tdisp::spdm::msg::measurements::Kind;
use tdisp::spdm::responder::{Event, PublicKey};
use tdisp::spdm::{Measurement, Responder, ResponderConfig, pkcs10};

use crate::case::Case;
use crate::judge::Judge;

pub(crate) struct Card {
    case: Case,
    folder: tempfile::TempDir,
    port: String,
}

/// A responder that asks for new keys in each session as soon as that has started.
struct Asking(Responder);

impl Card {
    /// Serves one connection: with a chain, or with a key alone if the form says `public-key`.
    pub(crate) fn serve(case: Case) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let offer = Suite::offer(&[case.suite.ours.parse().unwrap()], Default::default());
        let identity = identity::new(offer.sign[0]).unwrap();
        let signer = identity::signer(&identity).unwrap();
        let key = pkcs10::public_key_info(signer.algorithm(), signer.public_key());
        std::fs::write(folder.path().join("root.der"), &identity.vendor.root).unwrap();
        std::fs::write(folder.path().join("key.der"), &key).unwrap();
        let measured = Measurement {
            index: 1,
            kind: Kind::FIRMWARE,
            raw: false,
            value: vec![0x22; offer.hash[0].size()],
            bit_stream: None,
        };
        let signer: Arc<dyn Signer> = Arc::new(signer);
        let chain = identity.vendor.object_in(offer.hash[0]);
        let mut config = ResponderConfig {
            versions: vec![case.version],
            transport: case.transport,
            heartbeat_s: 60,
            encapsulated: true,
            offer,
            ..ResponderConfig::new(chain, Arc::clone(&signer), vec![measured])
        };
        if case.form.ours.contains("public-key") {
            config.slots = Default::default();
            config.public_key = Some(PublicKey { key, signer });
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        std::thread::spawn(move || {
            let asking = Asking(Responder::new(config, Arc::new(Ring)));
            let manager = Manager::new(Box::new(asking), Arc::default(), Vec::new());
            let link = Link {
                transport: case.transport,
                idle: None,
            };
            socket::converse(listener.accept().unwrap().0, &manager, link).unwrap();
        });
        Self { case, folder, port }
    }

    /// What libspdm says of it, trusting it by an option and a file: root.der or key.der.
    pub(crate) fn is_asked(&self, trusts: &str, file: &str) -> String {
        let file = self.folder.path().join(file);
        Judge::ask(self.case, &self.port, trusts, &file).expect("libspdm is content")
    }
}

impl SecurityManager for Asking {
    fn object(&mut self, now: Instant, unit: &[u8]) -> Option<Vec<u8>> {
        let Self(responder) = self;
        let mut answer = Vec::new();
        if let Some(index) = discovers(unit) {
            let mut body = Vec::new();
            let found = discovery::Response {
                vendor: 1,
                kind: ObjectType(index),
                next: (index + 1) % 3,
            };
            found.encode(&mut body);
            Object::new(ObjectType::DISCOVERY, &body).encode(&mut answer);
            return Some(answer);
        }
        responder.handle(now, unit);
        while let Some(event) = responder.poll_event() {
            if let Event::SessionStarted { id } = event {
                responder.update_keys(id).unwrap();
            }
        }
        responder.poll_transmit(&mut answer).then_some(answer)
    }

    fn fault(&mut self, _: usize) {}

    fn states(&self) -> [TdiState; FUNCTIONS] {
        Default::default()
    }
}

/// The index that a discovery asks for.
fn discovers(unit: &[u8]) -> Option<u8> {
    let object = Object::decode(unit).ok()?;
    let asks = object.kind == ObjectType::DISCOVERY;
    asks.then(|| discovery::Request::decode(object.body).unwrap().index)
}
