use std::collections::VecDeque;

use super::super::read_buffer::{BufferFull, ReadBuffer};
use super::rng::Rng;

fn with(bytes: &[u8]) -> ReadBuffer {
    let mut buffer = ReadBuffer::new(usize::MAX);
    buffer.append(bytes).unwrap();
    buffer
}

/// What a `recv` that answers these bytes does.
fn receive(buffer: &mut ReadBuffer, min: usize, bytes: &[u8]) -> Result<(), BufferFull> {
    buffer.spare_mut(min)[..bytes.len()].copy_from_slice(bytes);
    buffer.filled(bytes.len())
}

#[test]
fn empty_owns_nothing() {
    let mut buffer = ReadBuffer::new(10);
    assert_eq!(
        (buffer.len(), buffer.is_empty(), buffer.capacity()),
        (0, true, 0)
    );
    assert_eq!(buffer.append(b""), Ok(()));
    assert_eq!(buffer.consume(3), b"");
    assert_eq!(buffer.capacity(), 0);
    // Also after a read that was tried and brought nothing.
    assert_eq!(buffer.spare_mut(100).len(), 100);
    assert_eq!(buffer.filled(0), Ok(()));
    assert_eq!(buffer.capacity(), 0);
    // And after it was used.
    assert_eq!(buffer.append(b"0123456789"), Ok(()));
    assert_eq!(buffer.capacity(), 10);
    buffer.discard(10);
    assert_eq!((buffer.capacity(), buffer.position()), (0, 10));
}

#[test]
fn bytes_come_out_in_order_by_every_way() {
    let mut buffer = with(b"hello ");
    receive(&mut buffer, 3, b"wor").unwrap();
    buffer.append(b"ld").unwrap();
    assert_eq!(buffer.as_slice(), b"hello world");
    assert_eq!(buffer.consume(2), b"he");
    buffer.discard(1);
    let mut target = [0; 4];
    assert_eq!(buffer.consume_into(&mut target), 4);
    assert_eq!(&target, b"lo w");
    assert_eq!(buffer.position(), 7);
    let mut wide = [b'-'; 9];
    assert_eq!(buffer.consume_into(&mut wide), 4);
    assert_eq!(&wide, b"orld-----");
    assert_eq!((buffer.position(), buffer.capacity()), (11, 0));
    buffer.append(b"unread").unwrap();
    buffer.clear();
    assert_eq!(
        (buffer.len(), buffer.position(), buffer.capacity()),
        (0, 17, 0)
    );
}

#[test]
fn a_whole_block_is_handed_over_unless_it_is_mostly_room() {
    let mut buffer = with(b"hello");
    let address = buffer.as_slice().as_ptr();
    let bytes = buffer.consume(5);
    assert_eq!((bytes.as_slice(), bytes.as_ptr()), (&b"hello"[..], address));
    assert_eq!((buffer.len(), buffer.position()), (0, 5));

    receive(&mut buffer, 1000, b"hello").unwrap();
    let bytes = buffer.consume(5);
    assert_eq!((bytes.as_slice(), bytes.capacity()), (&b"hello"[..], 5));
}

#[test]
fn more_than_the_limit_is_kept_and_told() {
    let mut buffer = ReadBuffer::new(4);
    assert_eq!(buffer.limit(), 4);
    assert_eq!(buffer.append(b"1234"), Ok(()));
    assert_eq!(buffer.append(b"5"), Err(BufferFull { limit: 4 }));
    assert_eq!(buffer.as_slice(), b"12345");
    assert_eq!(buffer.consume(2), b"12");
    assert_eq!(receive(&mut buffer, 10, b"6"), Ok(()));
    assert_eq!(receive(&mut buffer, 10, b"7"), Err(BufferFull { limit: 4 }));
    assert_eq!(
        BufferFull { limit: 4 }.to_string(),
        "Reached maximum read buffer size"
    );
}

#[test]
fn tiny_reads_into_a_large_room_do_not_move_the_bytes_each_time() {
    let mut buffer = ReadBuffer::new(usize::MAX);
    let (mut blocks, mut address) = (0, std::ptr::null());
    for byte in 0..100_000_u32 {
        receive(&mut buffer, 4096, &[byte.to_be_bytes()[3]]).unwrap();
        blocks += usize::from(buffer.as_slice().as_ptr() != address);
        address = buffer.as_slice().as_ptr();
    }
    assert!(blocks < 20, "moved {blocks} times");
    assert!(
        buffer
            .as_slice()
            .iter()
            .zip(0..100_000_u32)
            .all(|(byte, n)| *byte == n.to_be_bytes()[3])
    );
}

#[test]
fn a_buffer_that_never_runs_empty_stays_as_large_as_its_content() {
    let mut buffer = with(b"x");
    for _ in 0..10_000 {
        buffer.append(&[b'y'; 100]).unwrap();
        buffer.discard(100);
        assert!(
            buffer.capacity() <= 1000,
            "{} bytes for one",
            buffer.capacity()
        );
    }
    assert_eq!(buffer.as_slice(), b"y");
}

#[test]
fn what_was_taken_makes_room_in_the_same_block() {
    let mut buffer = with(&[b'x'; 100]);
    let (block, capacity) = (buffer.as_slice().as_ptr(), buffer.capacity());
    buffer.discard(60);
    buffer.append(&[b'y'; 50]).unwrap();
    assert_eq!(
        (buffer.as_slice().as_ptr(), buffer.capacity()),
        (block, capacity)
    );
    assert_eq!(
        buffer.as_slice(),
        [[b'x'; 40].as_slice(), &[b'y'; 50]].concat()
    );
}

#[test]
fn a_long_content_that_trickles_does_not_move_each_time() {
    for append_first in [true, false] {
        let mut buffer = with(&[b'x'; 1000]);
        let (mut moves, mut end) = (0, std::ptr::null());
        for _ in 0..10_000 {
            if append_first {
                buffer.append(b"y").unwrap();
                buffer.discard(1);
            } else {
                buffer.discard(1);
                buffer.append(b"y").unwrap();
            }
            let bytes = buffer.as_slice().as_ptr_range();
            moves += usize::from(bytes.end != end);
            end = bytes.end.wrapping_add(1);
        }
        assert!(moves <= 20, "moved {moves} times");
    }
}

#[test]
fn the_room_of_a_burst_goes_when_its_rest_moves() {
    let mut buffer = with(&vec![b'x'; 1 << 20]);
    buffer.discard((1 << 20) - 1);
    for _ in 0..2 {
        buffer.append(b"123").unwrap();
    }
    assert!(
        buffer.capacity() < 100,
        "{} bytes for seven",
        buffer.capacity()
    );
    assert_eq!(buffer.as_slice(), b"x123123");
}

#[test]
fn model() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let limit = if rng.chance(2) {
            usize::MAX
        } else {
            rng.below(300)
        };
        let mut buffer = ReadBuffer::new(limit);
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut position = 0;
        for _ in 0..500 {
            let most = if rng.chance(10) { 500 } else { 40 };
            let size = rng.below(most);
            match rng.below(8) {
                choice @ 0..4 => {
                    let bytes = rng.bytes(size);
                    model.extend(&bytes);
                    let answer = if choice < 2 {
                        buffer.append(&bytes)
                    } else {
                        let min = size + rng.below(100);
                        assert!(buffer.spare_mut(min).len() >= min);
                        receive(&mut buffer, min, &bytes)
                    };
                    let expected = if model.len() > limit {
                        Err(BufferFull { limit })
                    } else {
                        Ok(())
                    };
                    assert_eq!(answer, expected);
                }
                choice => {
                    let size = if rng.chance(5) {
                        model.len()
                    } else {
                        size.min(model.len())
                    };
                    let expected: Vec<u8> = model.drain(..size).collect();
                    position += size as u64;
                    match choice {
                        4 => buffer.discard(size),
                        5 => {
                            let mut target = vec![0; size];
                            assert_eq!(buffer.consume_into(&mut target), size);
                            assert_eq!(target, expected);
                        }
                        _ => assert_eq!(buffer.consume(size), expected),
                    }
                }
            }
            assert_eq!(buffer.as_slice(), model.make_contiguous());
            assert_eq!(
                (buffer.len(), buffer.is_empty()),
                (model.len(), model.is_empty())
            );
            assert_eq!(buffer.position(), position);
            assert_eq!(buffer.capacity() == 0, model.is_empty());
        }
    }
}
