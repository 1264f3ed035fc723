use super::super::pending_read::{PendingRead, Unsatisfiable, Want, end_of_head};
use super::super::read_buffer::ReadBuffer;
use super::rng::Rng;

fn with(bytes: &[u8]) -> ReadBuffer {
    let mut buffer = ReadBuffer::new(usize::MAX);
    buffer.append(bytes).unwrap();
    buffer
}

fn until(delimiter: &[u8], max_bytes: Option<usize>) -> Want {
    Want::Until {
        delimiter: delimiter.into(),
        max_bytes,
    }
}

/// What a read answers that finds these bytes.
fn poll(want: Want, bytes: &[u8]) -> Result<Option<usize>, Unsatisfiable> {
    let buffer = with(bytes);
    PendingRead::new(want, &buffer).poll(&buffer)
}

#[test]
fn exactly() {
    assert_eq!(poll(Want::Exactly(3), b"ab"), Ok(None));
    assert_eq!(poll(Want::Exactly(3), b"abc"), Ok(Some(3)));
    assert_eq!(poll(Want::Exactly(3), b"abcd"), Ok(Some(3)));
    assert_eq!(poll(Want::Exactly(0), b""), Ok(Some(0)));
}

#[test]
fn up_to() {
    assert_eq!(poll(Want::UpTo(3), b""), Ok(None));
    assert_eq!(poll(Want::UpTo(3), b"a"), Ok(Some(1)));
    assert_eq!(poll(Want::UpTo(3), b"abcd"), Ok(Some(3)));
    assert_eq!(poll(Want::UpTo(0), b""), Ok(Some(0)));
    assert_eq!(poll(Want::UpTo(0), b"a"), Ok(Some(0)));
}

#[test]
fn until_delimiter() {
    assert_eq!(poll(until(b"\r\n", None), b""), Ok(None));
    assert_eq!(poll(until(b"\r\n", None), b"line\r"), Ok(None));
    assert_eq!(poll(until(b"\r\n", None), b"line\r\nnext\r\n"), Ok(Some(6)));
    assert_eq!(poll(until(b"\n", None), b"\n"), Ok(Some(1)));
    // As bytes.find does.
    assert_eq!(poll(until(b"", None), b""), Ok(None));
    assert_eq!(poll(until(b"", None), b"a"), Ok(Some(0)));
}

#[test]
fn until_within_max_bytes() {
    let failed = |max_bytes| {
        Err(Unsatisfiable {
            delimiter: b"\r\n"[..].into(),
            max_bytes,
        })
    };
    // It must end within them, not only begin.
    assert_eq!(poll(until(b"\r\n", Some(6)), b"line\r\n"), Ok(Some(6)));
    assert_eq!(poll(until(b"\r\n", Some(5)), b"line\r\n"), failed(5));
    assert_eq!(poll(until(b"\r\n", Some(4)), b"line\r\n"), failed(4));
    // As many bytes as allowed, and no delimiter: Tornado still waits for one more.
    assert_eq!(poll(until(b"\r\n", Some(5)), b"line\r"), Ok(None));
    assert_eq!(poll(until(b"\r\n", Some(5)), b"lines "), failed(5));
    assert_eq!(poll(until(b"\r\n", Some(0)), b""), Ok(None));
    assert_eq!(poll(until(b"\r\n", Some(0)), b"a"), failed(0));
    assert_eq!(
        poll(until(b"\r\n", Some(5)), b"lines ")
            .unwrap_err()
            .to_string(),
        r"delimiter \r\n not found within 5 bytes"
    );
}

#[test]
fn a_delimiter_in_pieces() {
    let mut buffer = ReadBuffer::new(usize::MAX);
    let mut read = PendingRead::new(until(b"--end--", Some(14)), &buffer);
    let message = b"abc--en--end--rest";
    for (count, byte) in (1..).zip(message) {
        buffer.append(&[*byte]).unwrap();
        let found = read.poll(&buffer).unwrap();
        assert_eq!(found, (count == 14).then_some(14));
        if found.is_some() {
            break;
        }
    }
    assert_eq!(buffer.consume(14), b"abc--en--end--");
}

#[test]
fn until_close() {
    let buffer = with(b"all");
    let mut read = PendingRead::new(Want::UntilClose, &buffer);
    assert_eq!(read.poll(&buffer), Ok(None));
    assert_eq!(read.poll_at_close(&buffer, true), Some(3));
    assert_eq!(
        read.poll_at_close(&buffer, false),
        None,
        "what an error cut off is not the whole"
    );
    let empty = ReadBuffer::new(usize::MAX);
    assert_eq!(
        PendingRead::new(Want::UntilClose, &empty).poll_at_close(&empty, true),
        Some(0)
    );
}

#[test]
fn other_reads_at_close_get_what_satisfies_them() {
    let buffer = with(b"line\nrest");
    for clean in [true, false] {
        let at_close = |want| PendingRead::new(want, &buffer).poll_at_close(&buffer, clean);
        assert_eq!(at_close(Want::Exactly(9)), Some(9));
        assert_eq!(at_close(Want::Exactly(10)), None);
        assert_eq!(at_close(Want::UpTo(10)), Some(9));
        assert_eq!(at_close(until(b"\n", None)), Some(5));
        assert_eq!(at_close(until(b"\r\n", None)), None);
        assert_eq!(at_close(until(b"\n", Some(4))), None);
    }
}

#[test]
fn targets() {
    let buffer = ReadBuffer::new(1);
    let target = |want| PendingRead::new(want, &buffer).target();
    assert_eq!(target(Want::Exactly(7)), Some(7));
    assert_eq!(target(Want::UpTo(7)), Some(7));
    assert_eq!(target(until(b"\n", Some(7))), Some(7));
    assert_eq!(target(until(b"\n", None)), None);
    assert_eq!(target(Want::UntilClose), None);
    assert_eq!(
        PendingRead::new(Want::UpTo(7), &buffer).want(),
        &Want::UpTo(7)
    );
}

#[test]
fn bytes_taken_from_under_a_read() {
    let mut buffer = with(b"0123456789");
    let mut read = PendingRead::new(until(b"\n", None), &buffer);
    assert_eq!(read.poll(&buffer), Ok(None));
    buffer.discard(8);
    buffer.append(b"\n").unwrap();
    assert_eq!(read.poll(&buffer), Ok(Some(3)));
    // More than was searched.
    let mut late = PendingRead::new(until(b"\n", None), &buffer);
    buffer.discard(1);
    assert_eq!(late.poll(&buffer), Ok(Some(2)));
}

/// Every kind of read over random bytes in random pieces, against a search from scratch over all that has come.
#[test]
fn model() {
    for seed in 0..2000 {
        let mut rng = Rng::new(seed);
        let mut buffer = ReadBuffer::new(usize::MAX);
        let mut stream: Vec<u8> = Vec::new();
        for _ in 0..20 {
            // An alphabet of two makes partial matches common.
            let delimiter: Vec<u8> = (0..rng.below(5)).map(|_| b"ab"[rng.below(2)]).collect();
            let max_bytes = rng.chance(2).then(|| rng.below(40));
            let want = match rng.below(5) {
                0 => Want::Exactly(rng.below(30)),
                1 => Want::UpTo(rng.below(30)),
                _ => until(&delimiter, max_bytes),
            };
            let mut read = PendingRead::new(want.clone(), &buffer);
            let answer = loop {
                let whole = match &want {
                    Want::Exactly(count) => Ok((stream.len() >= *count).then_some(*count)),
                    Want::UpTo(0) => Ok(Some(0)),
                    Want::UpTo(_) if stream.is_empty() => Ok(None),
                    Want::UpTo(count) => Ok(Some(stream.len().min(*count))),
                    _ if stream.is_empty() => Ok(None),
                    _ => {
                        let found = (delimiter.len()..=stream.len())
                            .find(|end| stream[..*end].ends_with(&delimiter));
                        let size = found.unwrap_or(stream.len());
                        match max_bytes {
                            Some(max_bytes) if size > max_bytes => {
                                let delimiter = delimiter.clone().into();
                                Err(Unsatisfiable {
                                    delimiter,
                                    max_bytes,
                                })
                            }
                            _ => Ok(found),
                        }
                    }
                };
                assert_eq!(read.poll(&buffer), whole, "{want:?} of {stream:?}");
                if !matches!(whole, Ok(None)) {
                    break whole;
                }
                let letters = 1 + rng.below(10);
                let piece: Vec<u8> = (0..letters).map(|_| b"aaab"[rng.below(4)]).collect();
                stream.extend(&piece);
                buffer.append(&piece).unwrap();
            };
            let Ok(Some(count)) = answer else {
                break; // the host closes
            };
            assert_eq!(
                buffer.consume(count),
                stream.drain(..count).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn the_end_of_a_head() {
    for (bytes, end) in [
        (&b""[..], None),
        (b"\n", None),
        (b"\n\r", None),
        (b"\n\n", Some(2)),
        (b"\r\n\r\n", Some(4)),
        (b"\n\r\n", Some(3)),
        (b"\r\n\n", Some(3)),
        (b"\n\r\r\n", None),
        (b"a\r\nb\r\n\r\nc\n\n", Some(8)),
        (b"a\nb\rc\r\n\nd", Some(8)),
    ] {
        assert_eq!(end_of_head(bytes), end, "{}", bytes.escape_ascii());
    }
}

/// Against the simplest thing that could be right: each place is tried.
#[test]
fn model_of_the_end_of_a_head() {
    let matched = |bytes: &[u8]| {
        let mut at = 0;
        for _ in 0..2 {
            at += usize::from(bytes.get(at) == Some(&b'\r'));
            if bytes.get(at) != Some(&b'\n') {
                return None;
            }
            at += 1;
        }
        Some(at)
    };
    let mut rng = Rng::new(7);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..rng.below(12)).map(|_| b"\r\nx"[rng.below(3)]).collect();
        let expected = (0..bytes.len()).find_map(|at| Some(at + matched(&bytes[at..])?));
        assert_eq!(end_of_head(&bytes), expected, "{}", bytes.escape_ascii());
    }
}
