use super::super::websocket::{Frame, poll};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame whose payload is `length` bytes that differ.
fn frame(first: u8, length: usize) -> (Vec<u8>, Vec<u8>) {
    let payload: Vec<u8> = (0..length).map(|place| (place * 7) as u8).collect();
    let mut bytes = vec![first];
    if length < 126 {
        bytes.push(0x80 | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        bytes.push(0x80 | 126);
        bytes.extend(length.to_be_bytes());
    } else {
        bytes.push(0x80 | 127);
        bytes.extend((length as u64).to_be_bytes());
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    (bytes, payload)
}

#[test]
fn every_length() {
    for length in [0, 1, 3, 4, 5, 125, 126, 127, 65_535, 65_536, 70_001] {
        for (first, opcode) in [(0x81, 1), (0x82, 2)] {
            let (mut bytes, payload) = frame(first, length);
            let size = bytes.len();
            bytes.extend(b"the next");
            let found = Frame::at_front(&bytes, length).unwrap();
            assert_eq!((found.opcode, found.mask), (opcode, Some(MASK)));
            assert_eq!(found.size(), size);
            assert_eq!(found.head, size - length);
            let mut shown = found.payload.to_vec();
            Frame::unmask(MASK, &mut shown);
            assert_eq!(shown, payload);
            assert_eq!(poll(&bytes, length), Some(size));
        }
    }
}

#[test]
fn one_that_is_not_masked() {
    let found = Frame::at_front(b"\x81\x03abcdef", 3).unwrap();
    assert_eq!((found.mask, found.payload), (None, &b"abc"[..]));
    assert_eq!(found.size(), 5);
}

#[test]
fn one_that_comes_in_pieces() {
    for length in [0, 5, 126, 65_536] {
        let (bytes, _) = frame(0x82, length);
        for cut in 0..bytes.len().min(20) {
            let expected = (cut >= 2).then_some(0);
            assert_eq!(poll(&bytes[..cut], usize::MAX), expected, "{length} {cut}");
        }
        assert_eq!(poll(&bytes[..bytes.len() - 1], usize::MAX), Some(0));
    }
}

#[test]
fn those_that_are_not_usual() {
    let (whole, _) = frame(0x82, 200);
    for first in 0..=255 {
        let mut bytes = whole.clone();
        bytes[0] = first;
        let usual = matches!(first, 0x81 | 0x82);
        assert_eq!(Frame::at_front(&bytes, 200).is_some(), usual, "{first:#x}");
        assert_eq!(poll(&bytes, 200), Some(if usual { bytes.len() } else { 0 }));
    }
}

#[test]
fn one_that_is_too_long() {
    let (bytes, _) = frame(0x82, 200);
    assert_eq!(poll(&bytes, 199), Some(0));
    // A length that no memory holds.
    let endless = [&b"\x82\x7f"[..], &[0xff; 8], b"maskpayload"].concat();
    assert_eq!(poll(&endless, usize::MAX), Some(0));
}
