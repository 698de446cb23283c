use super::*;
use crate::{
    crypto::{HashAlg, Ring},
    spdm::msg::Version,
};
use alloc::vec;

const DOE: Protection = Protection::new(AeadAlg::Aes256Gcm);
const MCTP: Protection = Protection {
    transport: Transport::Mctp,
    ..DOE
};

fn schedule() -> Schedule<'static> {
    Schedule {
        provider: &Ring,
        hash: HashAlg::Sha384,
        version: Version::V1_2,
    }
}

fn half_of(protection: Protection) -> Half {
    Half::new(&schedule(), protection, Secret::new(vec![7; 48])).unwrap()
}

fn half() -> Half {
    half_of(DOE)
}

fn seal(half: &mut Half, session: u32, message: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    half.seal(&Ring, session, message, &mut out).map(|()| out)
}

fn open(half: &mut Half, bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut bytes = bytes.to_vec();
    let record = Record::decode(half.protection.transport, &mut bytes)?;
    half.open(record).map(|message| message.to_vec())
}

/// Every way that records can look.
fn protections() -> impl Iterator<Item = Protection> {
    let clear = |of: Protection| Protection {
        encrypted: false,
        ..of
    };
    [DOE, MCTP, clear(DOE), clear(MCTP)].into_iter()
}

#[test]
fn records_open_in_the_order_they_were_sealed_and_in_no_other() {
    for protection in protections() {
        let (mut sender, mut receiver) = (half_of(protection), half_of(protection));
        let first = seal(&mut sender, 9, b"first").unwrap();
        let second = seal(&mut sender, 9, b"second").unwrap();
        assert!(open(&mut half_of(protection), &second).is_err());
        assert_eq!(open(&mut receiver, &first).unwrap(), b"first");
        assert_eq!(open(&mut receiver, &second).unwrap(), b"second");
        assert!(open(&mut receiver, &second).is_err());
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_of_a_record_is_refused() {
    for protection in protections() {
        let record = seal(&mut half_of(protection), 0x0102_0304, b"message").unwrap();
        for end in 0..record.len() {
            assert!(
                open(&mut half_of(protection), &record[..end]).is_err(),
                "cut at {end}"
            );
        }
        // The session id is not looked up here, but it is authenticated like the rest.
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut half_of(protection), &bad).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn doe_padding_is_ignored_and_anything_longer_or_else_is_refused() {
    let record = seal(&mut half(), 1, b"message").unwrap();
    let with = |padding: &[u8]| [&record[..], padding].concat();
    assert!(open(&mut half(), &with(&[0, 0, 0])).is_ok());
    assert!(open(&mut half(), &with(&[0, 1])).is_err());
    assert!(open(&mut half(), &with(&[0; 4])).is_err());
    let record = seal(&mut half_of(MCTP), 1, b"message").unwrap();
    assert!(open(&mut half_of(MCTP), &[&record[..], &[0]].concat()).is_err());
}

/// A record around a plaintext of the test's own making.
fn record_of(plain: &[u8]) -> Vec<u8> {
    let mut record = vec![1, 0, 0, 0];
    record.u16((plain.len() + TAG_SIZE) as u16);
    let mut body = plain.to_vec();
    let (mut sender, mut out) = (half(), record.clone());
    let number = sender.next_number().unwrap();
    let nonce = sender.nonce(number, Order::Little);
    let tag = sender.aead.seal(nonce, &record, &mut body).unwrap();
    out.bytes(&body);
    out.bytes(&tag);
    out
}

#[test]
fn an_application_length_longer_than_the_plaintext_is_refused() {
    for claimed in 0..=u16::MAX {
        let plain = [&claimed.to_le_bytes()[..], b"message"].concat();
        let opened = open(&mut half(), &record_of(&plain));
        match usize::from(claimed) {
            fits @ 0..=7 => assert_eq!(opened.unwrap(), b"message"[..fits]),
            _ => assert!(opened.is_err(), "{claimed}"),
        }
    }
}

#[test]
fn a_plaintext_without_room_for_its_size_is_refused() {
    for plain in [&[][..], &[0]] {
        assert!(open(&mut half(), &record_of(plain)).is_err());
    }
    assert_eq!(open(&mut half(), &record_of(&[0, 0])).unwrap(), b"");
}

#[test]
fn a_direction_whose_key_is_used_up_seals_and_opens_nothing_more() {
    let few = Protection {
        records_max: 2,
        ..DOE
    };
    let (mut sender, mut receiver) = (half_of(few), half_of(few));
    for left in [2, 1] {
        assert_eq!(sender.left(), left);
        let record = seal(&mut sender, 1, b"message").unwrap();
        open(&mut receiver, &record).unwrap();
    }
    let used_up = RecordError::Exhausted { records: 2 };
    let mut out = vec![1, 2, 3];
    assert_eq!(sender.seal(&Ring, 1, b"message", &mut out), Err(used_up.clone()));
    assert_eq!(out, [1, 2, 3]);
    let mut without_limit = half();
    (0..2).for_each(|_| drop(seal(&mut without_limit, 1, b"message")));
    let third = seal(&mut without_limit, 1, b"message").unwrap();
    assert_eq!(open(&mut receiver, &third), Err(used_up));
}

#[test]
fn the_last_sequence_number_there_is_is_not_used() {
    let mut last = half();
    last.sequence = u64::MAX - 1;
    assert!(seal(&mut last, 1, b"message").is_ok());
    let records = u64::MAX;
    assert_eq!(
        seal(&mut last, 1, b"message"),
        Err(RecordError::Exhausted { records })
    );
}

#[test]
fn a_record_on_mctp_says_its_number_and_another_number_is_refused_before_the_tag() {
    let (mut sender, mut receiver) = (half_of(MCTP), half_of(MCTP));
    for number in 0..3u16 {
        let record = seal(&mut sender, 1, b"message").unwrap();
        assert_eq!(record[4..6], number.to_le_bytes());
        open(&mut receiver, &record).unwrap();
    }
    let mut skipped = seal(&mut sender, 1, b"message").unwrap();
    skipped[4] = 9;
    let wrong = RecordError::Sequence { found: 9, wanted: 3 };
    assert_eq!(open(&mut receiver, &skipped), Err(wrong));
}

#[test]
fn a_number_beyond_16_bits_shows_its_low_half_on_mctp() {
    let (mut sender, mut receiver) = (half_of(MCTP), half_of(MCTP));
    (sender.sequence, receiver.sequence) = (0x1_0002, 0x1_0002);
    let record = seal(&mut sender, 1, b"message").unwrap();
    assert_eq!(record[4..6], [2, 0]);
    assert_eq!(open(&mut receiver, &record).unwrap(), b"message");
}

#[test]
fn a_message_on_mctp_has_its_type_and_one_to_32_random_bytes_behind_it() {
    let mut seen = [false; PADDING_MAX + 2];
    let mut sender = half_of(MCTP);
    for _ in 0..1000 {
        let record = seal(&mut sender, 1, b"message").unwrap();
        let least = 4 + 2 + 2 + SIZE_SIZE + 1 + 7 + TAG_SIZE;
        assert!(record.len() <= 7 + Transport::Mctp.record_overhead());
        seen[record.len() - least] = true;
    }
    assert!(!seen[0] && !seen[PADDING_MAX + 1]);
    assert!(seen[1..=PADDING_MAX].iter().all(|seen| *seen));
}

#[test]
fn a_message_on_mctp_of_another_type_is_told_apart_and_ends_nothing() {
    let clear = Protection {
        encrypted: false,
        ..MCTP
    };
    for kind in (0..=u8::MAX).filter(|kind| *kind != 5) {
        let mut record = vec![1, 0, 0, 0, 0, 0, 3 + TAG_SIZE as u8, 0, kind, b'h', b'i'];
        let sender = half_of(clear);
        let nonce = sender.nonce(0, Order::Little);
        let tag = sender.aead.seal(nonce, &record, &mut []).unwrap();
        record.bytes(&tag);
        let opened = open(&mut half_of(clear), &record);
        assert_eq!(opened, Err(RecordError::Foreign { found: kind }));
        let any = Record::decode(Transport::Mctp, &mut record).unwrap();
        let opened = half_of(clear)
            .open_any(any)
            .map(|(kind, data)| (kind, data.to_vec()));
        assert_eq!(opened, Ok((Some(kind), b"hi".to_vec())));
    }
}

#[test]
fn records_on_doe_have_no_padding() {
    for size in 0..100 {
        let record = seal(&mut half(), 1, &vec![1; size]).unwrap();
        assert_eq!(record.len(), size + OVERHEAD);
    }
}

#[test]
fn a_record_that_is_only_authenticated_carries_the_message_as_it_is() {
    let clear = Protection {
        encrypted: false,
        ..DOE
    };
    let record = seal(&mut half_of(clear), 0x0304_0102, b"message").unwrap();
    assert_eq!(record[..6], [2, 1, 4, 3, 7 + 16, 0]);
    assert_eq!(&record[6..13], b"message");
    assert_eq!(record.len(), 13 + TAG_SIZE);
    assert!(open(&mut half(), &record).is_err());
}

#[test]
fn the_largest_message_fits_and_the_next_one_does_not() {
    for protection in protections() {
        let seal_of = |size| seal(&mut half_of(protection), 1, &vec![0; size]);
        let Err(RecordError::TooLong { max, .. }) = seal_of(usize::from(u16::MAX)) else {
            panic!("65535 bytes do not fit")
        };
        // Padding is of a random length, so that what fits is too.
        let sure = usize::from(u16::MAX) + 8 - protection.transport.record_overhead();
        assert!(max >= sure - 2);
        assert!(seal_of(sure - 2).is_ok());
        assert!(seal_of(usize::from(u16::MAX) - TAG_SIZE + 1).is_err());
    }
}

fn in_order(order: Order) -> Protection {
    Protection { order, ..DOE }
}

#[test]
fn a_peer_that_counts_big_endian_is_understood_where_the_version_leaves_it_open() {
    for order in [Order::Little, Order::Big] {
        let mut receiver = half_of(in_order(Order::Unsettled));
        let mut sender = half_of(in_order(order));
        for number in 0..300 {
            let record = seal(&mut sender, 1, b"message").unwrap();
            assert_eq!(open(&mut receiver, &record).unwrap(), b"message", "{number}");
        }
        assert_eq!(receiver.order(), order);
    }
}

#[test]
fn a_peer_that_counts_big_endian_is_not_understood_where_the_version_settles_it() {
    let (mut sender, mut receiver) = (half_of(in_order(Order::Big)), half());
    let [first, second] = [(); 2].map(|()| seal(&mut sender, 1, b"message").unwrap());
    assert!(open(&mut receiver, &first).is_ok());
    assert_eq!(open(&mut receiver, &second), Err(CryptoError::BadTag.into()));
}

#[test]
fn only_record_1_is_tried_both_ways() {
    let records = |order| {
        let mut sender = half_of(in_order(order));
        [(); 3].map(|()| seal(&mut sender, 1, b"message").unwrap())
    };
    let (little, big) = (records(Order::Little), records(Order::Big));
    let mut receiver = half_of(in_order(Order::Unsettled));
    assert!(open(&mut receiver, &little[0]).is_ok());
    assert!(open(&mut receiver, &little[1]).is_ok());
    assert!(open(&mut receiver, &big[2]).is_err());
    let mut late = half_of(in_order(Order::Unsettled));
    late.sequence = 2;
    assert!(open(&mut late, &big[2]).is_err());
}

#[test]
fn a_direction_takes_the_others_order_before_it_has_shown_its_own_and_keeps_it_over_an_update() {
    let mut sending = half_of(in_order(Order::Unsettled));
    seal(&mut sending, 1, b"message").unwrap();
    sending.settle(Order::Big);
    assert_eq!(sending.order(), Order::Big);
    assert_eq!(sending.updated(&schedule()).unwrap().order(), Order::Big);
    let mut late = half_of(in_order(Order::Unsettled));
    (0..2).for_each(|_| drop(seal(&mut late, 1, b"message")));
    late.settle(Order::Big);
    assert_eq!(late.order(), Order::Unsettled);
}

#[test]
fn a_record_shorter_than_its_tag_is_malformed() {
    for (length, whole) in [(0, false), (15, false), (16, true)] {
        let mut body = [&[1, 0, 2, 0, length, 0][..], &vec![7; length.into()]].concat();
        match Record::decode(Transport::Doe, &mut body) {
            Ok(record) => assert!(whole && record.session == 0x2_0001),
            Err(error) => assert!(!whole && matches!(error, DecodeError::Invalid { .. }), "{error}"),
        }
    }
}

#[test]
fn only_a_direction_that_has_not_shown_its_order_goes_over_to_the_others() {
    for own in [Order::Little, Order::Big, Order::Unsettled] {
        for others in [Order::Little, Order::Big] {
            let mut half = half_of(Protection { order: own, ..DOE });
            half.settle(others);
            let wanted = if own == Order::Unsettled { others } else { own };
            assert_eq!(half.order(), wanted);
        }
    }
}

/// The record that shows the order is opened twice if need be: its tag is looked at each time.
#[test]
fn no_bit_of_the_record_that_shows_the_order_can_be_flipped() {
    for protection in protections() {
        for order in [Order::Little, Order::Big] {
            let of = |order| half_of(Protection { order, ..protection });
            let mut sender = of(order);
            let first = seal(&mut sender, 9, b"first").unwrap();
            let second = seal(&mut sender, 9, b"second").unwrap();
            for bit in 0..second.len() * 8 {
                let mut receiver = of(Order::Unsettled);
                open(&mut receiver, &first).unwrap();
                let mut bad = second.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&mut receiver, &bad).is_err(), "bit {bit}");
                assert_eq!(receiver.order(), Order::Unsettled);
            }
        }
    }
}
