//! What is judged: the responder in this process, or with `TIDELOCK_CONFORMANCE=ADDR` whoever answers there in the
//! framing of the DMTF emulators. Another implementation judged by the same table is how the table itself is judged.

use super::client::{PSK_HINT, PSK_KEY, Wire};
use crate::harness::{Identity, measurements};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};
use tdisp::{
    clock::Instant,
    crypto::{Ring, Secret},
    spdm::{
        Responder, ResponderConfig, Transport,
        algorithms::Offer,
        events::Types,
        msg::{Version, set_certificate::Model},
        responder::{Csr, EndpointInfo, KeyPair, KeyPairs, NotDone, Provisioning, Psk, Store, WantedCsr},
    },
};

/// A responder in this process.
struct Here(Responder);

impl Wire for Here {
    fn exchange(&mut self, unit: &[u8]) -> Option<Vec<u8>> {
        self.0.handle(Instant::START, unit);
        let mut answer = Vec::new();
        let answered = self.0.poll_transmit(&mut answer);
        assert!(
            !self.0.poll_transmit(&mut Vec::new()),
            "two answers to one request"
        );
        answered.then_some(answer)
    }
}

/// Somebody else's, behind a socket.
struct There {
    stream: TcpStream,
    transport: u32,
}

impl There {
    fn connect(address: &str, mctp: bool) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        // Silence is an answer too, and takes this long.
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let transport = if mctp { 1 } else { 2 };
        let mut there = Self { stream, transport };
        there.frame(0xdead, b"Client Hello!\0").expect("a hello");
        there
    }

    fn frame(&mut self, command: u32, payload: &[u8]) -> Option<Vec<u8>> {
        let head = [command, self.transport, payload.len() as u32]
            .map(u32::to_be_bytes)
            .concat();
        self.stream.write_all(&[&head, payload].concat()).unwrap();
        let mut head = [0; 12];
        self.stream.read_exact(&mut head).ok()?;
        let size = u32::from_be_bytes(head[8..].try_into().unwrap());
        let mut payload = vec![0; size as usize];
        self.stream.read_exact(&mut payload).unwrap();
        Some(payload)
    }
}

impl Wire for There {
    fn exchange(&mut self, unit: &[u8]) -> Option<Vec<u8>> {
        self.frame(1, unit)
    }
}

/// The usual device, over a transport, that speaks every version.
pub fn config(mctp: bool) -> ResponderConfig {
    let usual = Identity::usual();
    ResponderConfig {
        versions: [0x10, 0x11, 0x12, 0x13, 0x14].map(Version).to_vec(),
        transport: if mctp { Transport::Mctp } else { Transport::Doe },
        ..ResponderConfig::new(usual.chain.clone(), usual.signer.clone(), measurements())
    }
}

/// Keys and requests of a device that has everything.
struct Everything;

impl Csr for Everything {
    fn request(&self, _: &WantedCsr<'_>) -> Result<Vec<u8>, NotDone> {
        Ok(vec![0x30, 0])
    }
}

impl Store for Everything {
    fn write(&self, _: u8, _: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        Ok(())
    }
}

/// A device with everything that one may do without, but mutual authentication.
pub fn everything(mctp: bool) -> ResponderConfig {
    let usual = config(mctp);
    let keys = |hint: &[u8]| (hint == PSK_HINT).then(|| Secret::new(PSK_KEY.to_vec()));
    ResponderConfig {
        heartbeat_s: 60,
        psk: Some(Psk {
            keys: Arc::new(keys),
            context: true,
        }),
        encapsulated: true,
        chunk: Some(0x4000),
        provisioning: Provisioning {
            csr: Some(Arc::new(Everything)),
            store: Some(Arc::new(Everything)),
            trusted_environment: true,
            ..Provisioning::default()
        },
        key_pairs: Some(KeyPairs {
            pairs: vec![KeyPair {
                slots: 1,
                ..KeyPair::default()
            }],
            changer: None,
        }),
        mel: Some(vec![0; 16]),
        endpoint_info: Some(EndpointInfo::default()),
        events: Types::ALL,
        offer: Offer {
            mel_specification: 1,
            ..usual.offer.clone()
        },
        ..usual
    }
}

/// A wire to what is judged.
pub fn wire(mctp: bool, config: ResponderConfig) -> Box<dyn Wire> {
    match std::env::var("TIDELOCK_CONFORMANCE") {
        Ok(address) => Box::new(There::connect(&address, mctp)),
        Err(_) => Box::new(Here(Responder::new(config, Arc::new(Ring)))),
    }
}
