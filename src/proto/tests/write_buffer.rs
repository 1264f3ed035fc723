use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use super::super::write_buffer::{KEPT_CHUNKS, MAX_BATCH_BYTES, MAX_SLICES, WriteBuffer};
use super::rng::Rng;

type Buffer = WriteBuffer<Vec<u8>>;

fn filled(chunks: &[&[u8]]) -> Buffer {
    let mut buffer = Buffer::new();
    for chunk in chunks {
        assert_eq!(buffer.push(chunk.to_vec()), None);
    }
    buffer
}

fn slices<C: AsRef<[u8]>>(buffer: &WriteBuffer<C>, room: usize) -> Vec<&[u8]> {
    let mut out = vec![IoSlice::new(&[]); room];
    let count = buffer.fill_iovec(&mut out);
    let lengths: Vec<usize> = out[..count].iter().map(|slice| slice.len()).collect();
    let mut offset = buffer.front().map_or(0, |front| {
        buffer.chunks().next().unwrap().as_ref().len() - front.len()
    });
    let mut parts = Vec::new();
    for (index, (chunk, length)) in buffer.chunks().zip(&lengths).enumerate() {
        parts.push(&chunk.as_ref()[offset..offset + length]);
        assert_eq!(
            parts[index].as_ptr(),
            out[index].as_ptr(),
            "the slice points into the chunk: nothing was copied"
        );
        offset = 0;
    }
    parts
}

#[test]
fn idle_is_small_and_owns_nothing() {
    assert!(size_of::<Buffer>() <= 32);
    let mut buffer = Buffer::new();
    assert!(buffer.is_empty());
    assert_eq!(
        (buffer.len(), buffer.capacity(), buffer.chunks().len()),
        (0, 0, 0)
    );
    assert_eq!(buffer.front(), None);
    assert_eq!(slices(&buffer, 4), Vec::<&[u8]>::new());
    assert!(buffer.advance(0).is_empty());
    assert!(buffer.clear().is_empty());
    assert_eq!(buffer.capacity(), 0);
}

#[test]
fn empty_chunks_come_back() {
    let mut buffer = filled(&[b"a"]);
    assert_eq!(buffer.push(Vec::new()), Some(Vec::new()));
    assert_eq!((buffer.len(), buffer.chunks().len()), (1, 1));
}

#[test]
fn partial_sends_move_through_the_chunks() {
    let mut buffer = filled(&[b"hello", b" ", b"world"]);
    assert_eq!(buffer.len(), 11);
    assert!(buffer.advance(3).is_empty());
    assert_eq!(buffer.front(), Some(&b"lo"[..]));
    assert_eq!(buffer.only(), None);
    assert_eq!(slices(&buffer, 8), [&b"lo"[..], b" ", b"world"]);
    assert_eq!(slices(&buffer, 2), [&b"lo"[..], b" "]);
    assert_eq!(slices(&buffer, 0), Vec::<&[u8]>::new());
    // Exactly to the end of a chunk, and one over it.
    assert_eq!(
        buffer.advance(2).into_iter().collect::<Vec<_>>(),
        [b"hello".to_vec()]
    );
    assert_eq!(buffer.front(), Some(&b" "[..]));
    assert_eq!(
        buffer.advance(2).into_iter().collect::<Vec<_>>(),
        [b" ".to_vec()]
    );
    assert_eq!(buffer.front(), Some(&b"orld"[..]));
    assert_eq!(buffer.only(), Some(&b"orld"[..]));
    assert_eq!(buffer.push(b"!".to_vec()), None);
    assert_eq!(buffer.only(), None);
    let finished = buffer.advance(5);
    assert_eq!((finished.len(), finished.is_empty()), (2, false));
    assert_eq!(
        finished.into_iter().collect::<Vec<_>>(),
        [b"world".to_vec(), b"!".to_vec()]
    );
    assert!(buffer.is_empty() && buffer.front().is_none() && buffer.only().is_none());
}

#[test]
fn clear_hands_everything_out() {
    let mut buffer = filled(&[b"one", b"two"]);
    assert!(buffer.advance(1).is_empty());
    assert_eq!(
        buffer.clear().into_iter().collect::<Vec<_>>(),
        [b"one".to_vec(), b"two".to_vec()]
    );
    assert_eq!((buffer.len(), buffer.capacity()), (0, 0));
    // The position in the first chunk went too.
    assert_eq!(buffer.push(b"abc".to_vec()), None);
    assert_eq!(buffer.front(), Some(&b"abc"[..]));
}

#[test]
fn more_slices_than_the_caller_has_room_for() {
    let many: Vec<Vec<u8>> = (0..=u8::try_from(MAX_SLICES).unwrap())
        .map(|byte| vec![byte])
        .collect();
    let buffer = filled(&many.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let parts = slices(&buffer, MAX_SLICES);
    assert_eq!(parts.len(), MAX_SLICES);
    assert_eq!(
        parts.concat(),
        (0..u8::try_from(MAX_SLICES).unwrap()).collect::<Vec<u8>>()
    );
}

#[test]
fn one_system_call_is_offered_a_bounded_number_of_bytes() {
    /// Many chunks that share one block, so that gigabytes cost megabytes.
    struct Shared(Rc<Vec<u8>>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let block = Rc::new(vec![0_u8; MAX_BATCH_BYTES / 16]);
    let mut buffer = WriteBuffer::new();
    for _ in 0..20 {
        assert!(buffer.push(Shared(Rc::clone(&block))).is_none());
    }
    assert!(buffer.advance(1).is_empty());
    let lengths: Vec<usize> = slices(&buffer, MAX_SLICES)
        .iter()
        .map(|part| part.len())
        .collect();
    assert_eq!(lengths.iter().sum::<usize>(), MAX_BATCH_BYTES);
    assert_eq!((lengths.len(), lengths[16]), (17, 1));
}

#[test]
fn a_small_queue_stays_and_a_large_one_goes() {
    let mut buffer = filled(&[b"x"]);
    let small = buffer.capacity();
    assert!(small > 0);
    assert_eq!(buffer.advance(1).len(), 1);
    assert_eq!(
        buffer.capacity(),
        small,
        "no allocation for each write that passes through"
    );

    for _ in 0..10_000 {
        assert_eq!(buffer.push(vec![1]), None);
    }
    assert_eq!(buffer.advance(10_000).len(), 10_000);
    assert_eq!(buffer.capacity(), 0, "the queue itself was handed out");
}

#[test]
fn a_queue_that_never_runs_empty_shrinks_too() {
    let mut buffer = Buffer::new();
    for _ in 0..10_000 {
        assert_eq!(buffer.push(vec![1]), None);
    }
    for _ in 0..9_999 {
        assert_eq!(buffer.advance(1).len(), 1);
    }
    assert_eq!(buffer.len(), 1);
    assert!(
        buffer.capacity() <= 4 * KEPT_CHUNKS,
        "kept room for {} chunks",
        buffer.capacity()
    );
}

/// A chunk that notes its own drop.
struct Noted(Vec<u8>, Rc<Cell<usize>>);

impl AsRef<[u8]> for Noted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
    }
}

#[test]
fn nothing_is_dropped_inside() {
    let drops = Rc::new(Cell::new(0));
    let mut buffer = WriteBuffer::new();
    let mut kept = Vec::new();
    for size in 0..40 {
        kept.extend(buffer.push(Noted(vec![0; size], Rc::clone(&drops))));
    }
    for sent in [1, 5, 100, 200] {
        kept.extend(buffer.advance(sent));
    }
    kept.extend(buffer.advance(buffer.len()));
    for size in 1..20 {
        kept.extend(buffer.push(Noted(vec![0; size], Rc::clone(&drops))));
    }
    kept.extend(buffer.clear());
    assert_eq!((drops.get(), kept.len()), (0, 40 + 19));
    drop(kept);
    assert_eq!(drops.get(), 40 + 19);
}

#[test]
fn model() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut buffer = Buffer::new();
        let mut waiting: VecDeque<u8> = VecDeque::new();
        let (mut pushed, mut handed_out) = (Vec::new(), Vec::new());
        for _ in 0..1000 {
            match rng.below(10) {
                0..5 => {
                    let size = if rng.chance(10) { 0 } else { rng.below(30) };
                    let bytes = rng.bytes(size);
                    waiting.extend(&bytes);
                    let back = buffer.push(bytes.clone());
                    assert_eq!(back.is_some(), bytes.is_empty());
                    pushed.extend((!bytes.is_empty()).then_some(bytes));
                }
                5..9 => {
                    let offered = slices(&buffer, rng.below(MAX_SLICES)).concat();
                    assert!(waiting.iter().take(offered.len()).eq(&offered));
                    let sent = rng.below(offered.len() + 1);
                    handed_out.extend(buffer.advance(sent));
                    waiting.drain(..sent);
                }
                _ if rng.chance(10) => {
                    handed_out.extend(buffer.clear());
                    waiting.clear();
                }
                _ => {
                    handed_out.extend(buffer.advance(buffer.len()));
                    waiting.clear();
                }
            }
            assert_eq!(
                (buffer.len(), buffer.is_empty()),
                (waiting.len(), waiting.is_empty())
            );
            assert_eq!(
                slices(&buffer, buffer.chunks().len()).concat(),
                Vec::from(waiting.clone())
            );
            assert_eq!(buffer.chunks().len(), pushed.len() - handed_out.len());
            assert!(buffer.capacity() <= (4 * buffer.chunks().len()).max(4 * KEPT_CHUNKS));
        }
        handed_out.extend(buffer.clear());
        assert_eq!(
            handed_out, pushed,
            "every chunk comes out once and in order"
        );
    }
}
