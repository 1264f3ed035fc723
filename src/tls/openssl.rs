//! The functions of one copy of OpenSSL, found in it at run time. We never link to OpenSSL: the process may hold several
//! copies of it, and an object of one must not reach a function of another. What is needed of the interpreter's copy and
//! of pyOpenSSL's are two tables, since the second shows less of itself.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::ptr::NonNull;

use crate::sys::dynlib::Library;

/// OpenSSL's objects, of which nothing is known but their address.
#[repr(C)]
pub struct Ssl([u8; 0]);
#[repr(C)]
pub struct SslCtx([u8; 0]);
#[repr(C)]
pub struct Bio([u8; 0]);
#[repr(C)]
pub struct BioMethod([u8; 0]);

pub type BioWrite = unsafe extern "C" fn(*mut Bio, *const c_char, c_int) -> c_int;
pub type BioRead = unsafe extern "C" fn(*mut Bio, *mut c_char, c_int) -> c_int;
pub type BioCtrl = unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long;

// OpenSSL's numbers, the same since SSLeay: part of its stable interface.
pub const SSL_ERROR_WANT_READ: c_int = 2;
pub const SSL_ERROR_WANT_WRITE: c_int = 3;
pub const SSL_ERROR_ZERO_RETURN: c_int = 6;
/// `BIO_TYPE_SOURCE_SINK`
const BIO_TYPE_SOURCE_SINK: c_int = 0x0400;
/// `BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY`
pub const BIO_RETRY_READ: c_int = 0x01 | 0x08;
/// `BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY`
pub const BIO_RETRY_ANY: c_int = 0x01 | 0x02 | 0x04 | 0x08;
/// The only one of `BIO_ctrl`'s questions that TLS wants a yes to.
pub const BIO_CTRL_FLUSH: c_int = 11;
pub const BIO_CTRL_PENDING: c_int = 10;

macro_rules! functions {
    ($(#[$meta:meta])* $table:ident: $($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        $(#[$meta])*
        #[allow(non_snake_case)]
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $table {
            /// Looks all of them up. `None` when one is missing.
            ///
            /// # Safety
            /// What `find` answers is OpenSSL's function of that name, of its documented type, or one that does the same;
            /// it stays.
            pub unsafe fn find(
                mut find: impl FnMut(&'static CStr) -> Option<NonNull<c_void>>,
            ) -> Option<$table> {
                Some($table {
                    $($name: {
                        let name = concat!(stringify!($name), "\0");
                        let symbol = find(CStr::from_bytes_with_nul(name.as_bytes()).ok()?)?;
                        // SAFETY: what the caller says; the type is the documented one.
                        unsafe {
                            std::mem::transmute::<
                                NonNull<c_void>,
                                unsafe extern "C" fn($($argument),*) $(-> $result)?,
                            >(symbol)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    /// What drives a connection whose BIO is ours, under OpenSSL's own names.
    Functions:
    OpenSSL_version_num: fn() -> c_ulong;
    TLS_method: fn() -> *const c_void;
    TLS_client_method: fn() -> *const c_void;
    TLS_server_method: fn() -> *const c_void;
    SSL_CTX_get_ssl_method: fn(*const SslCtx) -> *const c_void;
    SSL_get_SSL_CTX: fn(*const Ssl) -> *mut SslCtx;
    SSL_get_rbio: fn(*const Ssl) -> *mut Bio;
    SSL_get_wbio: fn(*const Ssl) -> *mut Bio;
    SSL_set_bio: fn(*mut Ssl, *mut Bio, *mut Bio);
    SSL_get_fd: fn(*const Ssl) -> c_int;
    SSL_set_fd: fn(*mut Ssl, c_int) -> c_int;
    SSL_read: fn(*mut Ssl, *mut c_void, c_int) -> c_int;
    SSL_write: fn(*mut Ssl, *const c_void, c_int) -> c_int;
    SSL_pending: fn(*const Ssl) -> c_int;
    SSL_shutdown: fn(*mut Ssl) -> c_int;
    SSL_get_error: fn(*const Ssl, c_int) -> c_int;
    ERR_clear_error: fn();
    ERR_peek_last_error: fn() -> c_ulong;
    ERR_reason_error_string: fn(c_ulong) -> *const c_char;
    BIO_get_new_index: fn() -> c_int;
    BIO_meth_new: fn(c_int, *const c_char) -> *mut BioMethod;
    BIO_meth_set_write: fn(*mut BioMethod, BioWrite) -> c_int;
    BIO_meth_set_read: fn(*mut BioMethod, BioRead) -> c_int;
    BIO_meth_set_ctrl: fn(*mut BioMethod, BioCtrl) -> c_int;
    BIO_new: fn(*const BioMethod) -> *mut Bio;
    BIO_free: fn(*mut Bio) -> c_int;
    BIO_up_ref: fn(*mut Bio) -> c_int;
    BIO_set_init: fn(*mut Bio, c_int);
    BIO_set_data: fn(*mut Bio, *mut c_void);
    BIO_get_data: fn(*mut Bio) -> *mut c_void;
    BIO_set_flags: fn(*mut Bio, c_int);
    BIO_clear_flags: fn(*mut Bio, c_int);
}

functions! {
    /// What drives a connection between two memory BIOs.
    MemoryFunctions:
    SSL_read: fn(*mut Ssl, *mut c_void, c_int) -> c_int;
    SSL_write: fn(*mut Ssl, *const c_void, c_int) -> c_int;
    SSL_pending: fn(*const Ssl) -> c_int;
    SSL_shutdown: fn(*mut Ssl) -> c_int;
    SSL_get_error: fn(*const Ssl, c_int) -> c_int;
    ERR_clear_error: fn();
    BIO_read: fn(*mut Bio, *mut c_void, c_int) -> c_int;
    BIO_write: fn(*mut Bio, *const c_void, c_int) -> c_int;
    BIO_get_mem_data: fn(*mut Bio, *mut *mut c_char) -> c_long;
}

/// One copy of OpenSSL, and the kind of BIO that was made in it for us. Lives as long as the process.
pub struct OpenSsl {
    pub functions: Functions,
    pub method: NonNull<BioMethod>,
    /// The functions that say what a context speaks, any of them.
    methods: [*const c_void; 3],
}

// SAFETY: addresses of functions and of a method table that nobody changes once it is made.
unsafe impl Send for OpenSsl {}
// SAFETY: as above.
unsafe impl Sync for OpenSsl {}

impl OpenSsl {
    /// The OpenSSL that the library at `path` is linked to, if it is the one of that version number. The BIO's functions
    /// must be such as `BIO_meth_new` documents.
    pub fn beneath(
        path: &CStr,
        version: c_ulong,
        write: BioWrite,
        read: BioRead,
        ctrl: BioCtrl,
    ) -> Option<OpenSsl> {
        let library = Library::loaded(path)?;
        // SAFETY: the linker's own names for them, in a library that is OpenSSL and stays.
        let functions = unsafe { Functions::find(|name| library.symbol(name)) }?;
        // SAFETY: takes nothing, answers a number.
        if unsafe { (functions.OpenSSL_version_num)() } != version {
            return None;
        }
        // SAFETY: the three take nothing and answer static tables. An index is asked for once, as documented, and
        // the name is a string that lives as long as the process.
        let (methods, method) = unsafe {
            let methods = [
                (functions.TLS_method)(),
                (functions.TLS_client_method)(),
                (functions.TLS_server_method)(),
            ];
            let index = (functions.BIO_get_new_index)();
            if index < 0 {
                return None;
            }
            let name = c"interloop".as_ptr();
            let method = (functions.BIO_meth_new)(index | BIO_TYPE_SOURCE_SINK, name);
            (methods, NonNull::new(method)?)
        };
        // SAFETY: the table was made a moment ago; the functions have the types that are documented for it.
        let set = unsafe {
            (functions.BIO_meth_set_write)(method.as_ptr(), write)
                & (functions.BIO_meth_set_read)(method.as_ptr(), read)
                & (functions.BIO_meth_set_ctrl)(method.as_ptr(), ctrl)
        };
        (set == 1).then_some(OpenSsl {
            functions,
            method,
            methods,
        })
    }

    /// Whether a context was made by this very copy: its method table is one of this copy's.
    ///
    /// # Safety
    /// `context` is a context of some copy of this version.
    pub unsafe fn made(&self, context: *const SslCtx) -> bool {
        // SAFETY: reads one field, which all copies of a version have at the same place.
        let method = unsafe { (self.functions.SSL_CTX_get_ssl_method)(context) };
        self.methods.contains(&method)
    }
}

/// As much as one call takes.
pub fn length(size: usize) -> c_int {
    c_int::try_from(size).unwrap_or(c_int::MAX)
}
