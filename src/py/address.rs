//! Socket addresses as Python's socket module writes them.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};

use crate::sys::addr::{Address, Named};

/// The tuple, str or bytes that `socket.getsockname()` answers for the address; None without one, and for a family
/// that has no common form.
pub fn to_python(py: Python<'_>, address: Option<&Named>) -> PyResult<Py<PyAny>> {
    match address {
        None => Ok(py.None()),
        Some(Named::V4(host, port)) => (v4_text(py, *host), *port).into_py_any(py),
        Some(Named::V6(host, port, flow, scope)) => {
            (host.to_string(), *port, *flow, *scope).into_py_any(py)
        }
        Some(Named::Unix(path)) if path.first() == Some(&0) => {
            PyBytes::new(py, path).into_py_any(py)
        }
        Some(Named::Unix(path)) => OsString::from_vec(path.clone()).into_py_any(py),
        Some(Named::Other) => Ok(py.None()),
    }
}

/// `str(host)`. Without the formatting machinery, which takes longer than all else that is done for an address.
pub fn v4_text(py: Python<'_>, host: Ipv4Addr) -> Bound<'_, PyString> {
    let mut text = [0; 15];
    let mut length = 0;
    let mut push = |byte| {
        text[length] = byte;
        length += 1;
    };
    for (index, octet) in host.octets().into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    // Digits and dots.
    PyString::new(py, std::str::from_utf8(&text[..length]).unwrap_or_default())
}

/// How a host names addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// As Python's socket module does.
    Full,
    /// Without what IPv6 has beyond host and port.
    HostAndPort,
}

/// [`to_python`], as the host wants it.
pub fn name(py: Python<'_>, address: &Address, naming: Naming) -> PyResult<Py<PyAny>> {
    match (address.named(), naming) {
        (Named::V6(host, port, ..), Naming::HostAndPort) => {
            (host.to_string(), port).into_py_any(py)
        }
        (named, _) => to_python(py, Some(&named)),
    }
}

/// The kernel's form of an address whose meaning is in itself: numbers, or a path. None for everything else (a host name,
/// a scope by name, what is no address): Python's socket knows what to do with it, or to say of it.
pub fn from_python(object: &Bound<'_, PyAny>, kind: Kind) -> Option<Address> {
    match kind {
        Kind::V4 => {
            let tuple = object.cast_exact::<PyTuple>().ok()?;
            let [host, port] = tuple.as_slice() else {
                return None;
            };
            Some(Address::v4(text::<Ipv4Addr>(host)?, number(port)?))
        }
        Kind::V6 => {
            let tuple = object.cast_exact::<PyTuple>().ok()?;
            let (host, port, rest) = match tuple.as_slice() {
                [host, port, rest @ ..] if rest.len() <= 2 => (host, port, rest),
                _ => return None,
            };
            let number_or_0 = |index: usize| rest.get(index).map_or(Some(0), number::<u32>);
            let flow = number_or_0(0).filter(|&flow| flow <= 0xf_ffff)?;
            let host = text::<Ipv6Addr>(host)?;
            Some(Address::v6(host, number(port)?, flow, number_or_0(1)?))
        }
        Kind::Unix => {
            if let Ok(name) = object.cast_exact::<PyBytes>() {
                return Address::unix(name.as_bytes());
            }
            let path: OsString = object.cast_exact::<PyString>().ok()?.extract().ok()?;
            Address::unix(path.as_bytes())
        }
        Kind::Other => None,
    }
}

/// What kind of addresses a socket has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    V4,
    V6,
    Unix,
    /// Only Python's socket module knows them.
    Other,
}

impl Kind {
    /// Of an address that the socket has, be it an empty one.
    pub fn of(address: &Address) -> Kind {
        match address.named() {
            Named::V4(..) => Kind::V4,
            Named::V6(..) => Kind::V6,
            Named::Unix(_) => Kind::Unix,
            Named::Other => Kind::Other,
        }
    }
}

fn text<T: std::str::FromStr>(object: &Bound<'_, PyAny>) -> Option<T> {
    let text = object.cast_exact::<PyString>().ok()?;
    text.to_str().ok()?.parse().ok()
}

fn number<'py, T: for<'a> FromPyObject<'a, 'py>>(object: &Bound<'py, PyAny>) -> Option<T> {
    object.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// The largest address that is remembered: IPv6.
const LONGEST: usize = 28;

/// How many are remembered at most, a power of two. A flood from more senders costs each datagram a new tuple.
const LARGEST: usize = 1024;

struct Known {
    length: usize,
    bytes: [u8; LONGEST],
    object: Py<PyAny>,
}

/// Addresses that have come, with the Python object made for each: making it costs as much as receiving a datagram, and
/// the same sender will write again. The other way, too: an answer goes to the very object that came.
#[derive(Default)]
pub struct Senders {
    /// One place for each hash, a power of two or empty.
    known: Vec<Option<Known>>,
    /// By the hash of an object's address: where in `known` it is.
    places: Vec<u16>,
    /// The object that was sent to last, if it was none of those.
    last: Option<(Py<PyAny>, Address)>,
}

fn hash(bytes: &[u8]) -> usize {
    let mut hash = 0u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    (hash >> 40) as usize
}

fn hash_of_object(object: usize) -> usize {
    hash(&object.to_le_bytes())
}

impl Senders {
    /// The object of an address.
    #[inline]
    pub fn object(&self, address: &Address) -> Option<&Py<PyAny>> {
        let bytes = address.as_bytes();
        let known = self.known.get(hash(bytes) & self.mask())?.as_ref()?;
        (known.bytes[..known.length] == *bytes).then_some(&known.object)
    }

    /// The address of an object that was given out or sent to before: the very object, of which `pointer` is the
    /// address.
    #[inline]
    pub fn address(&self, pointer: usize) -> Option<Address> {
        if let Some((object, address)) = &self.last
            && object.as_ptr() as usize == pointer
        {
            return Some(*address);
        }
        let place = *self.places.get(hash_of_object(pointer) & self.mask())?;
        let known = self.known.get(usize::from(place))?.as_ref()?;
        (known.object.as_ptr() as usize == pointer)
            .then(|| Address::from_bytes(&known.bytes[..known.length]))
    }

    /// Remembers the object made for an address that came. What it takes the place of is for the caller to drop, with
    /// nothing borrowed.
    #[must_use]
    pub fn learn(&mut self, address: &Address, object: Py<PyAny>) -> Option<Py<PyAny>> {
        let bytes = address.as_bytes();
        if bytes.is_empty() || bytes.len() > LONGEST {
            return Some(object);
        }
        if self.known.is_empty() {
            self.resize(8);
        }
        while self.known.len() < LARGEST && self.known[hash(bytes) & self.mask()].is_some() {
            self.resize(self.known.len() * 2);
        }
        let mut known = Known {
            length: bytes.len(),
            bytes: [0; LONGEST],
            object,
        };
        known.bytes[..bytes.len()].copy_from_slice(bytes);
        self.place(known).map(|old| old.object)
    }

    /// Remembers the object that was sent to.
    #[must_use]
    pub fn note_sent(&mut self, object: Py<PyAny>, address: Address) -> Option<Py<PyAny>> {
        self.last.replace((object, address)).map(|(old, _)| old)
    }

    fn mask(&self) -> usize {
        self.known.len().wrapping_sub(1)
    }

    fn place(&mut self, known: Known) -> Option<Known> {
        let mask = self.mask();
        let index = hash(&known.bytes[..known.length]) & mask;
        // There are at most LARGEST places.
        self.places[hash_of_object(known.object.as_ptr() as usize) & mask] = index as u16;
        self.known[index].replace(known)
    }

    fn resize(&mut self, size: usize) {
        let mut old = std::mem::take(&mut self.known);
        self.known.resize_with(size, || None);
        self.places = vec![0; size];
        for known in old.drain(..).flatten() {
            // In a table twice as large no two meet that did not meet before.
            let nothing = self.place(known);
            debug_assert!(nothing.is_none());
        }
    }

    /// Every Python object it holds.
    pub fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        for known in self.known.iter().flatten() {
            visitor(&known.object);
        }
        if let Some((object, _)) = &self.last {
            visitor(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::v4(Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    fn an_address_survives_python() {
        Python::initialize();
        Python::attach(|py| {
            let unix = |name: &[u8]| Address::unix(name).unwrap();
            for (kind, address) in [
                (Kind::V4, address(80)),
                (Kind::V6, Address::v6(Ipv6Addr::LOCALHOST, 80, 7, 9)),
                (Kind::Unix, unix(b"/tmp/here")),
                (Kind::Unix, unix(b"\0here\0there")),
            ] {
                let object = to_python(py, Some(&address.named())).unwrap();
                let back = from_python(object.bind(py), kind).unwrap();
                assert_eq!(back.as_bytes(), address.as_bytes(), "{kind:?}");
                assert_eq!(Kind::of(&address), kind);
            }
        });
    }

    #[test]
    fn what_only_the_socket_understands_is_left_to_it() {
        Python::initialize();
        Python::attach(|py| {
            let object = |text: &std::ffi::CStr| py.eval(text, None, None).unwrap();
            for text in [
                c"('localhost', 80)",
                c"('127.1', 80)",
                c"('127.0.0.1', -1)",
                c"('127.0.0.1', 65536)",
                c"('127.0.0.1', True)",
                c"['127.0.0.1', 80]",
                c"('127.0.0.1',)",
                c"None",
            ] {
                assert!(from_python(&object(text), Kind::V4).is_none(), "{text:?}");
            }
            for text in [
                c"('fe80::1%lo', 80)",
                c"('::1', 80, 1 << 20)",
                c"('::1', 80, 0, 0, 0)",
            ] {
                assert!(from_python(&object(text), Kind::V6).is_none(), "{text:?}");
            }
            for text in [c"'x' * 200", c"'a\\0b'", c"5"] {
                assert!(from_python(&object(text), Kind::Unix).is_none(), "{text:?}");
            }
        });
    }

    #[test]
    fn each_sender_has_its_own_object() {
        Python::initialize();
        Python::attach(|py| {
            let mut senders = Senders::default();
            let mut known = Vec::new();
            for port in 1..=5000 {
                let address = address(port);
                let object = to_python(py, Some(&address.named())).unwrap();
                drop(senders.learn(&address, object.clone_ref(py)));
                known.push((address, object));
            }
            assert!(senders.known.len() <= LARGEST, "a flood does not grow it");
            let mut found = 0;
            for (address, object) in &known {
                // Forgotten is fine, mistaken is not.
                if let Some(same) = senders.object(address) {
                    assert!(same.is(object));
                    found += 1;
                }
                if let Some(same) = senders.address(object.as_ptr() as usize) {
                    assert_eq!(same.as_bytes(), address.as_bytes());
                }
            }
            assert!(found > LARGEST / 4, "{found}");
            assert!(senders.address(py.None().as_ptr() as usize).is_none());
            let stranger = to_python(py, Some(&address(9999).named())).unwrap();
            assert!(senders.address(stranger.as_ptr() as usize).is_none());
            drop(senders.note_sent(stranger.clone_ref(py), address(9999)));
            let found = senders.address(stranger.as_ptr() as usize).unwrap();
            assert_eq!(found.as_bytes(), address(9999).as_bytes());
        });
    }
}
