//! Received bytes whose memory serves again.
//!
//! A `bytes` object of some 500 bytes and more is the C library's to allocate, and around a kilobyte, where its quick lists
//! end, making and freeing one costs as much as the callback that gets it. What programs receive they mostly use and let go of,
//! and the next message is as long. So the last few are remembered, each by a reference, and one that nobody else holds any
//! more is filled anew.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::cell::StateCell;

/// How many are remembered: the messages that one turn has under way.
const PLACES: usize = 32;

/// Below, Python's own allocator serves, which is quick. (It does up to 512, with the object's head.)
const SHORTEST: usize = 480;

/// From here on bytes are received in place, not copied.
const LONGEST: usize = 8 * 1024;

/// How many places are looked at before one is made.
const TRIES: usize = 4;

struct Remembered {
    places: [Option<Py<PyBytes>>; PLACES],
    lengths: [usize; PLACES],
    /// How many places are in use, from the first on.
    used: usize,
    /// Where the last one is, which often has been let go of already.
    last: usize,
    /// The one that was taken longest ago, as far as anybody knows. Below `used`, but for 0.
    oldest: usize,
}

static REMEMBERED: StateCell<Remembered> = StateCell::new(Remembered {
    places: [const { None }; PLACES],
    lengths: [0; PLACES],
    used: 0,
    last: 0,
    oldest: 0,
});

impl Remembered {
    /// The place of one of that length that nobody else holds.
    #[inline]
    fn free(&mut self, length: usize) -> Option<usize> {
        if self.is_free(self.last, length) {
            return Some(self.last);
        }
        for _ in 0..TRIES.min(self.used) {
            let place = self.next_oldest();
            if self.is_free(place, length) {
                self.last = place;
                return Some(place);
            }
        }
        None
    }

    #[inline]
    fn next_oldest(&mut self) -> usize {
        let place = self.oldest;
        self.oldest = if place + 1 < self.used { place + 1 } else { 0 };
        place
    }

    #[inline]
    fn is_free(&self, place: usize, length: usize) -> bool {
        self.lengths[place] == length
            && self.places[place].as_ref().is_some_and(|bytes| {
                // SAFETY: a live object, and whoever is in here holds the GIL.
                unsafe { ffi::Py_REFCNT(bytes.as_ptr()) == 1 }
            })
    }
}

/// A `bytes` object with that content, as `bytes(content)`.
#[inline]
pub fn bytes<'py>(py: Python<'py>, content: &[u8]) -> Bound<'py, PyBytes> {
    if !(SHORTEST..LONGEST).contains(&content.len()) {
        return PyBytes::new(py, content);
    }
    let found = REMEMBERED.with(py, |remembered, refs| {
        let place = remembered.free(content.len())?;
        let bytes = remembered.places[place].as_ref()?;
        // SAFETY: an exact `bytes` object as long as `content`, of which ours is the only reference: nobody can see it change,
        // and all that depends on its content is the hash, which is forgotten. `content` lies elsewhere, since it is borrowed
        // from something that somebody holds.
        unsafe { fill(bytes.as_ptr(), content) };
        Some(refs.clone(bytes))
    });
    match found {
        Some(bytes) => bytes.into_bound(py),
        None => remember(PyBytes::new(py, content)),
    }
}

/// Puts `content` into a `bytes` object.
///
/// # Safety
/// `object` is an exact `bytes` object of that length that nobody else can see, and `content` does not lie in it.
#[inline]
unsafe fn fill(object: *mut ffi::PyObject, content: &[u8]) {
    let fields = object.cast::<ffi::PyBytesObject>();
    // SAFETY: as the caller says. There is no other way to reset a hash, deprecated or not.
    #[allow(deprecated)]
    unsafe {
        (*fields).ob_shash = -1;
        let start = (&raw mut (*fields).ob_sval).cast::<u8>();
        std::ptr::copy_nonoverlapping(content.as_ptr(), start, content.len());
    }
}

#[cold]
fn remember(bytes: Bound<'_, PyBytes>) -> Bound<'_, PyBytes> {
    let py = bytes.py();
    let length = bytes.as_bytes().len();
    let kept = bytes.clone().unbind();
    let old = REMEMBERED.with(py, |remembered, _| {
        let place = if remembered.used < PLACES {
            remembered.used += 1;
            remembered.used - 1
        } else {
            remembered.next_oldest()
        };
        remembered.last = place;
        remembered.lengths[place] = length;
        remembered.places[place].replace(kept)
    });
    drop(old);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_holds_is_never_filled_anew() {
        Python::initialize();
        Python::attach(|py| {
            let all: Vec<_> = (0..3 * PLACES)
                .map(|number| bytes(py, &vec![number as u8; 1000]))
                .collect();
            for (number, one) in all.iter().enumerate() {
                assert_eq!(one.as_bytes(), vec![number as u8; 1000]);
            }
        });
    }

    #[test]
    fn what_nobody_holds_serves_again_with_another_hash() {
        Python::initialize();
        Python::attach(|py| {
            let first = bytes(py, &[b'a'; 1001]);
            let (address, hash) = (first.as_ptr() as usize, first.hash().unwrap());
            drop(first);
            let second = bytes(py, &[b'b'; 1001]);
            assert_eq!(second.as_ptr() as usize, address);
            assert_eq!(second.as_bytes(), [b'b'; 1001]);
            assert_ne!(second.hash().unwrap(), hash);
            assert_eq!(
                second.hash().unwrap(),
                PyBytes::new(py, &[b'b'; 1001]).hash().unwrap()
            );
            let third = bytes(py, &[b'c'; 1001]);
            assert_ne!(third.as_ptr() as usize, address);
            drop(second);
            let shorter = bytes(py, &[b'd'; 1000]);
            assert_eq!(shorter.as_bytes(), [b'd'; 1000]);
        });
    }
}
