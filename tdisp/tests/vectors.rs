//! Every message of recorded conversations, made by somebody else, is read and written again to the same bytes.

mod vectors_support;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use tdisp::crypto::{HashAlg, Provider, Ring, SignAlg};
use tdisp::doe::{self, Object, ObjectType, discovery};
use tdisp::ide_km;
use tdisp::spdm::algorithms::{MEL_DMTF, MULTI_KEY, Needs, Offer, hash_from_bit, sign_from_bit};
use tdisp::spdm::msg::capabilities::Flags;
use tdisp::spdm::msg::certificate::Chain;
use tdisp::spdm::msg::encapsulated::{self, Next};
use tdisp::spdm::msg::endpoint_info::DeviceClasses;
use tdisp::spdm::msg::mel::Log;
use tdisp::spdm::msg::vendor::{Body, PciSig, Protocol};
use tdisp::spdm::msg::{Code, Context, Header, Message, Summary, Version, check_end, check_padding};
use tdisp::spdm::{opaque, signing, transcript::Transcript};
use tdisp::tdi::{self, report::Report};
use vectors_support::{Conversation, NAMES, pcap, trial};
use x509_parser::prelude::{FromDer, X509Certificate};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, decoded) in NAMES {
        let title = |what| format!("{name}: {what}");
        let objects = title("every data object and clear message comes back as it was read");
        trials.push(trial(objects, format!("{name}.pcap"), recorded_objects));
        if decoded {
            let messages = title("every clear and secured message comes back as it was read");
            trials.push(trial(messages, format!("{name}.json"), decoded_messages));
            let same = title("the data objects hold the decoded messages, padded");
            trials.push(trial(same, format!("{name}.json"), objects_hold_messages));
        }
    }
    let signed = "doe_1.3_all: what the endpoint says of itself is signed by the device".into();
    trials.push(trial(signed, "doe_1.3_all.pcap".into(), endpoint_info_is_signed));
    trials.extend(mctp());
    libtest_mimic::run(&arguments, trials).exit();
}

fn mctp() -> [Trial; 2] {
    let name = "mctp_1.2_p384_enc";
    let messages = format!("{name}: every message comes back as it was read, without padding anywhere");
    let packets = format!("{name}: the packets hold the decoded messages");
    [
        trial(messages, format!("{name}.json"), decoded_messages),
        trial(packets, format!("{name}.json"), packets_hold_messages),
    ]
}

fn decoded_messages(path: &Path) -> Result<(), Failed> {
    let conversation = Conversation::read(path)?;
    let mut reader = Reader::default();
    for [request, response] in conversation.plain()? {
        reader.pair(&request, &response, Bounds::Padded)?;
    }
    let plain = reader.context;
    for [request, response] in conversation.secured()? {
        // Only MCTP carries other protocols, and only those have another major version.
        let other = request.first().is_some_and(|version| version >> 4 != 1);
        if other && path.to_string_lossy().contains("mctp") {
            continue;
        }
        reader.pair(&request, &response, Bounds::Exact)?;
    }
    assert_eq!(reader.context.version, plain.version);
    reader.check_reports()
}

fn recorded_objects(path: &Path) -> Result<(), Failed> {
    let (link, packets) = pcap(path)?;
    assert_eq!(link, 292, "DOE");
    let mut reader = Reader::default();
    for pair in packets.chunks(2) {
        let [request, response] = pair else {
            return Err("a request without a response".into());
        };
        let [request, response] = [reread(request)?, reread(response)?];
        match request.kind {
            ObjectType::DISCOVERY => {
                let mut again = Vec::new();
                discovery::Request::decode(request.body)?.encode(&mut again);
                assert_eq!(again, request.body);
                again.clear();
                discovery::Response::decode(response.body)?.encode(&mut again);
                assert_eq!(again, response.body);
            }
            ObjectType::SPDM => reader.pair(request.body, response.body, Bounds::Padded)?,
            kind => assert_eq!(kind, ObjectType::SECURED_SPDM),
        }
    }
    Ok(())
}

/// IL1 is VCA, GET_ENDPOINT_INFO and ENDPOINT_INFO up to its signature.
fn endpoint_info_is_signed(path: &Path) -> Result<(), Failed> {
    let (_, packets) = pcap(path)?;
    let objects = packets.iter().map(|packet| Object::decode(packet));
    let objects = objects.collect::<Result<Vec<_>, _>>()?;
    let clear = objects.iter().filter(|object| object.kind == ObjectType::SPDM);
    let clear: Vec<_> = clear.map(|object| object.body).collect();
    let p384 = Context {
        hash_size: 48,
        signature_size: 96,
        signature_asked: true,
        ..Context::new(Version::V1_3)
    };
    let read = |code: Code| -> Result<(Message<'_>, &[u8]), Failed> {
        let body = clear
            .iter()
            .find(|body| body[1] == code.0)
            .ok_or("it is not there")?;
        let (message, size) = Message::decode(body, &p384)?;
        Ok((message, &body[..size]))
    };
    let mut il1 = Transcript::new(&Ring, HashAlg::Sha384, Version::V1_3);
    for code in [
        Code::GET_VERSION,
        Code::VERSION,
        Code::GET_CAPABILITIES,
        Code::CAPABILITIES,
        Code::NEGOTIATE_ALGORITHMS,
        Code::ALGORITHMS,
        Code::GET_ENDPOINT_INFO,
    ] {
        il1.add(read(code)?.1);
    }
    let (answer, bytes) = read(Code::ENDPOINT_INFO)?;
    il1.add(&bytes[..bytes.len() - p384.signature_size]);
    let (Message::EndpointInfo(answer), Message::Certificate(chain)) = (answer, read(Code::CERTIFICATE)?.0)
    else {
        return Err("other messages".into());
    };
    let chain = Chain::decode(chain.portion, Version::V1_3, p384.hash_size)?;
    let mut rest = chain.certificates;
    let mut leaf = None;
    while !rest.is_empty() {
        let (after, certificate) = X509Certificate::from_der(rest)?;
        (rest, leaf) = (after, Some(certificate));
    }
    let leaf = leaf.ok_or("no certificate")?;
    let key = &leaf.public_key().subject_public_key.data;
    let what = signing::message(Version::V1_3, signing::Context::EndpointInfo, &il1);
    let signature = answer.signature.ok_or("no signature")?;
    Ok(Ring.verify(SignAlg::EcdsaP384, key, &what, signature)?)
}

fn objects_hold_messages(path: &Path) -> Result<(), Failed> {
    let decoded = Conversation::read(path)?.plain()?;
    let (_, packets) = pcap(&path.with_extension("pcap"))?;
    let objects = packets.iter().map(|packet| Object::decode(packet));
    let objects = objects.collect::<Result<Vec<_>, _>>()?;
    let clear: Vec<_> = objects
        .iter()
        .filter(|object| object.kind == ObjectType::SPDM)
        .collect();
    let messages: Vec<_> = decoded.iter().flatten().collect();
    assert_eq!(clear.len(), messages.len());
    for (object, message) in clear.iter().zip(messages) {
        assert!(object.body.starts_with(message));
        check_padding(object.body, message.len())?;
    }
    Ok(())
}

fn packets_hold_messages(path: &Path) -> Result<(), Failed> {
    let decoded = Conversation::read(path)?.plain()?;
    let (link, packets) = pcap(&path.with_extension("pcap"))?;
    assert_eq!(link, 291, "MCTP");
    // Behind MCTP's own header of four bytes comes the type of the message: 5 is SPDM.
    let clear = packets
        .iter()
        .filter_map(|packet| packet.get(4..)?.strip_prefix(&[5]));
    assert_eq!(
        clear.collect::<Vec<_>>(),
        decoded.iter().flatten().collect::<Vec<_>>()
    );
    Ok(())
}

fn reread(packet: &[u8]) -> Result<Object<'_>, Failed> {
    let object = Object::decode(packet)?;
    assert_eq!(object.vendor, doe::object::PCI_SIG);
    let mut again = Vec::new();
    object.encode(&mut again);
    assert_eq!(again, packet);
    Ok(object)
}

/// What may stand behind a message.
#[derive(Clone, Copy)]
enum Bounds {
    Padded,
    Exact,
}

/// Follows a conversation so far as decoding needs it.
struct Reader {
    context: Context,
    requester: Flags,
    responder: Flags,
    multi_key_offered: bool,
    report: Vec<u8>,
    reports: Vec<Vec<u8>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            context: Context::new(Version::V1_0),
            requester: Flags(0),
            responder: Flags(0),
            multi_key_offered: false,
            report: Vec::new(),
            reports: Vec::new(),
        }
    }
}

impl Reader {
    fn pair(&mut self, request: &[u8], response: &[u8], bounds: Bounds) -> Result<(), Failed> {
        if Header::peek(request)?.code == Code::GET_CAPABILITIES {
            self.context = Context::new(Header::peek(request)?.version);
        }
        let message = reread_message(request, &self.context, bounds)?;
        self.learn_from_request(&message);
        let answer = reread_message(response, &self.context, bounds)?;
        self.learn_from_response(&answer);
        match (message, answer) {
            (Message::VendorDefinedRequest(request), Message::VendorDefinedResponse(response)) => {
                self.vendor(&request.0, &response.0)
            }
            _ => Ok(()),
        }
    }

    fn learn_from_request(&mut self, request: &Message<'_>) {
        match request {
            Message::GetCapabilities(request) => self.requester = request.flags,
            Message::NegotiateAlgorithms(request) => {
                self.multi_key_offered = request.offer.other_params & MULTI_KEY != 0;
            }
            _ => {}
        }
        self.learn_what_is_asked(request);
    }

    fn learn_what_is_asked(&mut self, request: &Message<'_>) {
        self.context.signature_asked = match request {
            Message::GetMeasurements(request) => request.signed.is_some(),
            Message::GetEndpointInfo(request) => request.signed.is_some(),
            _ => false,
        };
        let summary = match request {
            Message::Challenge(request) => request.summary,
            Message::KeyExchange(request) => request.summary,
            Message::PskExchange(request) => request.summary,
            _ => Summary::NONE,
        };
        self.context.summary_asked = summary != Summary::NONE;
    }

    fn learn_from_response(&mut self, response: &Message<'_>) {
        let version = self.context.version;
        match response {
            Message::Capabilities(response) => {
                let both = self.requester.and(response.flags);
                self.context.handshake_in_clear = both.contains(Flags::HANDSHAKE_IN_THE_CLEAR);
                self.responder = response.flags;
            }
            Message::Algorithms(response) => {
                let everything = everything_we_know(response.choice.other_params);
                let chosen = everything
                    .accept(response, Needs::default())
                    .expect("a choice of one bit each");
                assert!(hash_from_bit(response.choice.hash).is_some());
                assert!(sign_from_bit(response.choice.asym).is_some());
                let negotiated = self.context;
                self.context = chosen.context(version, negotiated.handshake_in_clear);
                let chosen = response.choice.other_params & MULTI_KEY != 0;
                self.context.multi_key = self.responder.multi_key(self.multi_key_offered);
                self.context.requester_multi_key = self.requester.multi_key(chosen);
            }
            Message::EncapsulatedRequest(encapsulated::Request { message, .. })
            | Message::EncapsulatedResponseAck(encapsulated::Ack {
                next: Next::Message(message),
                ..
            }) => {
                let inner = encapsulated::inner(message, &self.context).expect("it was read before");
                self.learn_what_is_asked(&inner.0);
            }
            _ => {}
        }
    }

    /// The PCI-SIG's objects are read too; of other vendors' only the envelope is known.
    fn vendor(&mut self, request: &Body<'_>, response: &Body<'_>) -> Result<(), Failed> {
        let (Some(request), Some(response)) = (request.as_pci_sig(), response.as_pci_sig()) else {
            assert_eq!(
                request.vendor,
                [0x98, 0x1e],
                "CXL's objects are the only others recorded"
            );
            return Ok(());
        };
        assert_eq!(request.protocol, response.protocol);
        match request.protocol {
            Protocol::IDE_KM => {
                reread_ide_km(&request)?;
                reread_ide_km(&response)
            }
            protocol => {
                assert_eq!(protocol, Protocol::TDISP);
                self.tdisp(request.object, response.object)
            }
        }
    }

    fn tdisp(&mut self, request: &[u8], response: &[u8]) -> Result<(), Failed> {
        let (header, body) = tdi::msg::Header::decode(request)?;
        let asked = tdi::msg::Request::decode(header.code, body)?;
        let mut again = Vec::new();
        asked.encode(header.interface, &mut again);
        assert_eq!(again, request);

        let (header, body) = tdi::msg::Header::decode(response)?;
        let answer = tdi::msg::Response::decode(header.code, body)?;
        again.clear();
        answer.encode(header.interface, &mut again);
        assert_eq!(again, response);
        if let tdi::msg::Response::Report { portion, remainder } = answer {
            self.report.extend_from_slice(portion);
            if remainder == 0 {
                self.reports.push(std::mem::take(&mut self.report));
            }
        }
        Ok(())
    }

    fn check_reports(&self) -> Result<(), Failed> {
        for bytes in &self.reports {
            let report = Report::decode(bytes)?;
            let mut again = Vec::new();
            report.encode(&mut again);
            assert_eq!(&again, bytes);
            assert_eq!(report.specific, b"tdisp_dev_emu\0\0\0");
            assert_eq!(report.ranges.len(), 4);
        }
        Ok(())
    }
}

/// Reads a message, and what is in it, to its true end, and writes it again.
fn reread_message<'a>(bytes: &'a [u8], context: &Context, bounds: Bounds) -> Result<Message<'a>, Failed> {
    let describe = |error| format!("{:?}: {error}", Header::peek(bytes));
    let (message, consumed) = Message::decode(bytes, context).map_err(describe)?;
    match bounds {
        Bounds::Padded => check_padding(bytes, consumed),
        Bounds::Exact => check_end(bytes, consumed),
    }
    .map_err(describe)?;
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, bytes[..consumed], "{message:?}");
    match &message {
        Message::EncapsulatedRequest(encapsulated::Request { message, .. })
        | Message::DeliverEncapsulatedResponse(encapsulated::Deliver { message, .. })
        | Message::EncapsulatedResponseAck(encapsulated::Ack {
            next: Next::Message(message),
            ..
        }) => reread_inner(message, context)?,
        Message::Unknown(..) => return Err(format!("{:?} is not known", message.header()).into()),
        Message::MeasurementExtensionLog(log) if log.remainder == 0 => reread_log(log.portion)?,
        Message::EndpointInfo(answer) => reread_classes(answer.info)?,
        Message::KeyExchange(request) => reread_offered(context.version, request.opaque)?,
        Message::PskExchange(request) => reread_offered(context.version, request.opaque)?,
        Message::KeyExchangeRsp(response) => reread_selected(context.version, response.opaque)?,
        Message::PskExchangeRsp(response) => reread_selected(context.version, response.opaque)?,
        _ => {}
    }
    Ok(message)
}

fn reread_log(bytes: &[u8]) -> Result<(), Failed> {
    let mut again = Vec::new();
    Log::decode(bytes)?.encode(&mut again);
    assert_eq!(again, bytes);
    Ok(())
}

fn reread_classes(bytes: &[u8]) -> Result<(), Failed> {
    let mut again = Vec::new();
    DeviceClasses::decode(bytes)?.encode(&mut again);
    assert_eq!(again, bytes);
    Ok(())
}

fn reread_offered(version: Version, data: &[u8]) -> Result<(), Failed> {
    let offered = opaque::decode_supported(version, data)?.ok_or("no version offered")?;
    let mut again = Vec::new();
    opaque::encode_supported(version, &offered, &mut again);
    assert_eq!(again, data);
    Ok(())
}

fn reread_selected(version: Version, data: &[u8]) -> Result<(), Failed> {
    let selected = opaque::decode_selected(version, data)?;
    let mut again = Vec::new();
    opaque::encode_selected(version, selected, &mut again);
    assert_eq!(again, data);
    Ok(())
}

fn reread_inner(bytes: &[u8], context: &Context) -> Result<(), Failed> {
    let (message, consumed) =
        encapsulated::inner(bytes, context).map_err(|error| format!("{:?}: {error}", Header::peek(bytes)))?;
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, bytes[..consumed]);
    Ok(())
}

fn reread_ide_km(payload: &PciSig<'_>) -> Result<(), Failed> {
    let message = ide_km::msg::Message::decode(payload.object)?;
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, payload.object);
    Ok(())
}

/// An offer of all that this crate can, so that any recorded choice is one of it.
fn everything_we_know(other_params: u8) -> Offer {
    use tdisp::crypto::{AeadAlg, ExchangeAlg, HashAlg, SignAlg};
    Offer {
        sign: vec![SignAlg::EcdsaP256, SignAlg::EcdsaP384],
        hash: vec![HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512],
        exchange: vec![ExchangeAlg::EcdhP256, ExchangeAlg::EcdhP384],
        aead: vec![AeadAlg::Aes128Gcm, AeadAlg::Aes256Gcm, AeadAlg::ChaCha20Poly1305],
        requester_sign: vec![SignAlg::EcdsaP256, SignAlg::EcdsaP384],
        other_params,
        mel_specification: MEL_DMTF,
    }
}
