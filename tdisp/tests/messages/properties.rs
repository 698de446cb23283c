//! For every sample: cut anywhere, with any bit flipped, padded, and for any bytes at all.

use crate::samples::{Sample, VERSIONS, all, connection};
use proptest::prelude::*;
use tdisp::doe::{Object, discovery};
use tdisp::ide_km::msg::Message as IdeKm;
use tdisp::spdm::msg::{Context, Header, Message, check_end, check_padding, encapsulated};
use tdisp::spdm::opaque;
use tdisp::tdi::msg::{Header as TdiHeader, Request, Response};
use tdisp::tdi::report::Report;

/// Reads a message that must be all of `bytes`.
fn exact<'a>(bytes: &'a [u8], context: &Context) -> Option<Message<'a>> {
    let (message, consumed) = Message::decode(bytes, context).ok()?;
    check_end(bytes, consumed).ok().map(|()| message)
}

fn rewritten(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

#[test]
fn every_message_in_every_version_comes_back_as_it_was_written() {
    for Sample { context, bytes, .. } in all() {
        let message = exact(&bytes, &context).unwrap_or_else(|| panic!("{:?}", Header::peek(&bytes)));
        assert!(!matches!(message, Message::Unknown(..)));
        assert_eq!(rewritten(&message), bytes, "{message:?}");
    }
}

#[test]
fn a_message_cut_at_any_byte_is_refused() {
    for sample in all() {
        for cut in 0..sample.bytes.len() {
            let bytes = &sample.bytes[..cut];
            let whole = Message::decode(bytes, &sample.context);
            match sample.closed {
                true => assert!(whole.is_err(), "{cut} bytes of {:?}", Header::peek(&sample.bytes)),
                // Such a message ends where its bytes end; the message within must then be refused.
                false => assert!(whole.is_err() || inner_refused(&whole, &sample.context)),
            }
        }
    }
}

fn inner_refused<E>(message: &Result<(Message<'_>, usize), E>, context: &Context) -> bool {
    let inner = match message {
        Ok((Message::EncapsulatedRequest(request), _)) => request.message,
        Ok((Message::DeliverEncapsulatedResponse(deliver), _)) => deliver.message,
        Ok((Message::EncapsulatedResponseAck(ack), _)) => match ack.next {
            encapsulated::Next::Message(message) => message,
            _ => return false,
        },
        _ => return false,
    };
    encapsulated::inner(inner, context).is_err()
}

#[test]
fn a_message_with_any_bit_flipped_is_refused_or_read_as_what_it_then_says() {
    for Sample {
        context, mut bytes, ..
    } in all()
    {
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok((message, consumed)) = Message::decode(&bytes, &context) {
                let again = rewritten(&message);
                assert_eq!(again.len(), consumed, "{message:?}");
                // Reserved bits do not come back; all else does.
                assert_eq!(exact(&again, &context), Some(message));
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn padding_of_a_data_object_is_up_to_three_zeros_and_no_part_of_the_message() {
    for sample in all().into_iter().filter(|sample| sample.closed) {
        let size = sample.bytes.len();
        for padding in 0..8 {
            let mut padded = sample.bytes.clone();
            padded.resize(size + padding, 0);
            let Ok((message, consumed)) = Message::decode(&padded, &sample.context) else {
                panic!("{:?}", Header::peek(&sample.bytes));
            };
            // A chunk's acknowledgement may hold a response, which padding is too short to be.
            if padding < 4 || !matches!(message, Message::ChunkSendAck(_)) {
                assert_eq!(consumed, size, "{message:?}");
                assert_eq!(check_padding(&padded, consumed).is_ok(), padding < 4);
            }
            if padding > 0 {
                padded[size + padding - 1] = 1;
                assert!(check_padding(&padded, size).is_err(), "padding that is not zero");
            }
        }
    }
}

#[test]
fn an_unknown_code_is_a_message_of_its_own_kind_and_not_an_error() {
    let context = connection(VERSIONS[2]);
    let bytes = [0x12, 0xaa, 1, 2, 3];
    let (message, consumed) = Message::decode(&bytes, &context).unwrap();
    assert!(matches!(message, Message::Unknown(Header { param1: 1, .. }, [3])));
    assert_eq!(consumed, 5);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), version in 0usize..5) {
        let context = connection(VERSIONS[version]);
        let _ = Message::decode(&bytes, &context);
        let _ = encapsulated::inner(&bytes, &context);
        let _ = opaque::decode_supported(context.version, &bytes);
        let _ = opaque::decode_selected(context.version, &bytes);
        let _ = Object::decode(&bytes);
        let _ = discovery::Request::decode(&bytes);
        let _ = discovery::Response::decode(&bytes);
        let _ = IdeKm::decode(&bytes);
        let _ = Report::decode(&bytes);
        if let Ok((header, body)) = TdiHeader::decode(&bytes) {
            let _ = Request::decode(header.code, body);
            let _ = Response::decode(header.code, body);
        }
    }

    #[test]
    fn no_body_behind_a_known_header_makes_a_reader_panic(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        code: u8,
        params: [u8; 2],
        version in 0usize..5,
    ) {
        let context = connection(VERSIONS[version]);
        let mut bytes = vec![context.version.0, code, params[0], params[1]];
        bytes.extend_from_slice(&body);
        if let Ok((message, consumed)) = Message::decode(&bytes, &context) {
            prop_assert!(consumed <= bytes.len());
            prop_assert_eq!(rewritten(&message).len(), consumed);
        }
    }

    #[test]
    fn an_object_comes_back_with_its_body_padded(body in proptest::collection::vec(any::<u8>(), 1..100)) {
        let mut bytes = Vec::new();
        Object::new(tdisp::doe::ObjectType::SPDM, &body).encode(&mut bytes);
        let object = Object::decode(&bytes).unwrap();
        prop_assert!(object.body.starts_with(&body));
        prop_assert!(check_padding(object.body, body.len()).is_ok());
    }
}
