//! A BIO that reads where the peer's bytes lie already, and writes where they are sent from: no copy of our own in
//! between, and no call into Python.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::Python;
use pyo3::sync::PyOnceLock;

use super::openssl::{
    BIO_CTRL_FLUSH, BIO_CTRL_PENDING, BIO_RETRY_ANY, BIO_RETRY_READ, Bio, OpenSsl, Ssl,
};
use crate::py::ssl;

/// The interpreter's copy of OpenSSL; `None` inside when it cannot be driven.
static OPENSSL: PyOnceLock<Option<OpenSsl>> = PyOnceLock::new();

/// The same for the BIO's functions, which run without the GIL during a handshake.
static CALLED_BY: AtomicPtr<OpenSsl> = AtomicPtr::new(ptr::null_mut());

/// The copy of OpenSSL that the interpreter's `_ssl` uses, when its functions can be found.
pub fn openssl(py: Python<'_>) -> Option<&'static OpenSsl> {
    let found = OPENSSL
        .get_or_init(py, || {
            // What cannot be asked cannot be driven; the other engine says what is wrong with the module.
            let (path, version) = ssl::library(py).ok()??;
            OpenSsl::beneath(&path, version, write, read, ctrl)
        })
        .as_ref()?;
    CALLED_BY.store(ptr::from_ref(found).cast_mut(), Ordering::Release);
    Some(found)
}

/// What a BIO of ours works on. Both sides are there only while a call into OpenSSL lasts.
struct Sides {
    input: *const u8,
    left: usize,
    wire: *mut Vec<u8>,
}

const NOWHERE: Sides = Sides {
    input: ptr::null(),
    left: 0,
    wire: ptr::null_mut(),
};

/// The BIO of one TLS connection, which reads and writes.
pub struct Transfer {
    openssl: &'static OpenSsl,
    bio: *mut Bio,
    sides: Box<UnsafeCell<Sides>>,
}

// SAFETY: what it points to is its own, and only reached through it or by OpenSSL during a call that it makes.
unsafe impl Send for Transfer {}

impl Transfer {
    /// Takes the place of the BIOs of `ssl`. `None` when OpenSSL has no memory.
    ///
    /// # Safety
    /// `ssl` is a live object of this copy of OpenSSL, and nobody uses it at the moment.
    pub unsafe fn new(openssl: &'static OpenSsl, ssl: *mut Ssl) -> Option<Transfer> {
        let functions = &openssl.functions;
        let sides = Box::new(UnsafeCell::new(NOWHERE));
        // SAFETY: a method table that lives as long as the process; the BIO is made, initialized and given the
        // address of a box that `Drop` takes back before it goes. One reference to the BIO goes to `ssl` (which
        // wants only one when both of its BIOs are the same), the other is ours.
        unsafe {
            let bio = (functions.BIO_new)(openssl.method.as_ptr());
            if bio.is_null() {
                return None;
            }
            (functions.BIO_set_data)(bio, sides.get().cast());
            (functions.BIO_set_init)(bio, 1);
            (functions.BIO_up_ref)(bio);
            (functions.SSL_set_bio)(ssl, bio, bio);
            Some(Transfer {
                openssl,
                bio,
                sides,
            })
        }
    }

    /// Runs `call` with bytes to read and a place to write to; it may ask whether any are left. What was read is gone
    /// from `input` afterwards.
    #[inline]
    pub fn during<R>(
        &mut self,
        input: &mut &[u8],
        wire: &mut Vec<u8>,
        call: impl FnOnce(&dyn Fn() -> bool) -> R,
    ) -> R {
        struct Nowhere<'a>(&'a UnsafeCell<Sides>);
        impl Drop for Nowhere<'_> {
            fn drop(&mut self) {
                // SAFETY: OpenSSL reaches it only during `call`, which is over (or has panicked).
                unsafe { *self.0.get() = NOWHERE };
            }
        }
        let size = input.len();
        // SAFETY: `&mut self` says that no other call lasts.
        unsafe {
            *self.sides.get() = Sides {
                input: input.as_ptr(),
                left: size,
                wire,
            };
        }
        let nowhere = Nowhere(&self.sides);
        // SAFETY: asked between two calls into OpenSSL: nobody else looks at it then.
        let any_left = || unsafe { (*self.sides.get()).left > 0 };
        let result = call(&any_left);
        // SAFETY: the call is over.
        let left = unsafe { (*self.sides.get()).left };
        drop(nowhere);
        *input = &input[size - left..];
        result
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let functions = &self.openssl.functions;
        // SAFETY: our own reference to the BIO. Somebody may hold the Python object, and with it `ssl` and the BIO, for
        // longer: from now on the BIO finds nothing to read and nowhere to write.
        unsafe {
            (functions.BIO_set_data)(self.bio, ptr::null_mut());
            (functions.BIO_free)(self.bio);
        }
    }
}

/// The one copy whose BIOs call back here.
#[inline]
fn caller() -> Option<&'static OpenSsl> {
    // SAFETY: null, or the address of a static value that never changes.
    unsafe { CALLED_BY.load(Ordering::Acquire).as_ref() }
}

/// # Safety
/// As OpenSSL calls it: a BIO of ours, and `size` bytes at `data`.
unsafe extern "C" fn write(bio: *mut Bio, data: *const c_char, size: c_int) -> c_int {
    let Some(openssl) = caller() else {
        return -1;
    };
    // SAFETY: a live BIO, whose data is what `Transfer` set: null or its own box. In that, `wire` is null or a vector
    // lent for the length of the call that we are in, and nobody else writes to it meanwhile.
    unsafe {
        (openssl.functions.BIO_clear_flags)(bio, BIO_RETRY_ANY);
        let sides = (openssl.functions.BIO_get_data)(bio).cast::<Sides>();
        let Ok(count) = usize::try_from(size) else {
            return -1;
        };
        if sides.is_null() || (*sides).wire.is_null() {
            return -1;
        }
        let data = std::slice::from_raw_parts(data.cast::<u8>(), count);
        (*(*sides).wire).extend_from_slice(data);
    }
    size
}

/// # Safety
/// As OpenSSL calls it: a BIO of ours, and room for `size` bytes at `data`.
unsafe extern "C" fn read(bio: *mut Bio, data: *mut c_char, size: c_int) -> c_int {
    let Some(openssl) = caller() else {
        return -1;
    };
    // SAFETY: as in `write`; `input` has `left` bytes, lent for the length of the call that we are in.
    unsafe {
        (openssl.functions.BIO_clear_flags)(bio, BIO_RETRY_ANY);
        let sides = (openssl.functions.BIO_get_data)(bio).cast::<Sides>();
        let Ok(size) = usize::try_from(size) else {
            return -1;
        };
        if sides.is_null() || (*sides).left == 0 || size == 0 {
            // Nothing there now: the socket's end is told in another way, so that it never looks like an error here.
            (openssl.functions.BIO_set_flags)(bio, BIO_RETRY_READ);
            return -1;
        }
        let count = (*sides).left.min(size);
        ptr::copy_nonoverlapping((*sides).input, data.cast::<u8>(), count);
        (*sides).input = (*sides).input.add(count);
        (*sides).left -= count;
        // At most `size`, which came as a c_int.
        count as c_int
    }
}

/// # Safety
/// As OpenSSL calls it: a BIO of ours.
unsafe extern "C" fn ctrl(
    bio: *mut Bio,
    what: c_int,
    _number: c_long,
    _pointer: *mut c_void,
) -> c_long {
    match what {
        BIO_CTRL_FLUSH => 1,
        BIO_CTRL_PENDING => {
            let Some(openssl) = caller() else {
                return 0;
            };
            // SAFETY: as in `write`.
            unsafe {
                let sides = (openssl.functions.BIO_get_data)(bio).cast::<Sides>();
                if sides.is_null() {
                    return 0;
                }
                c_long::try_from((*sides).left).unwrap_or(c_long::MAX)
            }
        }
        _ => 0,
    }
}
