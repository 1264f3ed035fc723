//! Two ends of a connection whose wires a test carries.

use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::tls::layer::{Input, Layer, Place};
use crate::tls::object;
use crate::tls::session::Session;

/// Which engine is used is a matter of the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a test with Python.
pub fn with_python(test: impl FnOnce(Python<'_>)) {
    let _guard: MutexGuard<'_, ()> = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Python::initialize();
    Python::attach(test);
}

/// A context for one side. TLS 1.3, or 1.2 when `old`.
fn context(py: Python<'_>, server: bool, old: bool) -> Bound<'_, PyAny> {
    let ssl = py.import("ssl").unwrap();
    let name = if server {
        "PROTOCOL_TLS_SERVER"
    } else {
        "PROTOCOL_TLS_CLIENT"
    };
    let protocol = ssl.getattr(name).unwrap();
    let context = ssl
        .getattr("SSLContext")
        .unwrap()
        .call1((protocol,))
        .unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls/tests/certificate.pem");
    let method = if server {
        "load_cert_chain"
    } else {
        "load_verify_locations"
    };
    context.call_method1(method, (file,)).unwrap();
    let versions = ssl.getattr("TLSVersion").unwrap();
    let version = versions
        .getattr(if old { "TLSv1_2" } else { "TLSv1_3" })
        .unwrap();
    context.setattr("minimum_version", &version).unwrap();
    context.setattr("maximum_version", &version).unwrap();
    context
}

/// How a pair is made.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub client_direct: bool,
    pub server_direct: bool,
    pub old: bool,
}

/// Every kind.
pub fn kinds() -> impl Iterator<Item = Kind> {
    (0..8).map(|bits| Kind {
        client_direct: bits & 1 == 0,
        server_direct: bits & 2 == 0,
        old: bits & 4 != 0,
    })
}

fn session(py: Python<'_>, server: bool, direct: bool, old: bool) -> Session {
    let before = object::use_direct(py, direct);
    let name = pyo3::types::PyString::new(py, "localhost").into_any();
    let name = (!server).then_some(&name);
    let (engine, _) = object::engine(&context(py, server, old), server, name).unwrap();
    object::use_direct(py, before);
    assert_eq!(engine.name(), if direct { "direct" } else { "object" });
    Session::new(engine)
}

/// One end: a layer, what it has to send, and what it has received.
pub struct End {
    pub layer: Box<dyn Layer>,
    pub wire: Vec<u8>,
    pub input: Vec<u8>,
    pub plain: Vec<u8>,
    pub ended: bool,
    /// How much it takes at once.
    pub room: usize,
}

impl End {
    pub fn new(layer: Box<dyn Layer>) -> End {
        End {
            layer,
            wire: Vec::new(),
            input: Vec::new(),
            plain: Vec::new(),
            ended: false,
            room: 100_000,
        }
    }

    /// Lets the layer have what came, until it wants no more.
    pub fn digest(&mut self, py: Python<'_>) -> PyResult<()> {
        let mut buffer = vec![MaybeUninit::uninit(); self.room];
        loop {
            let mut place = if self.layer.is_ready() {
                Place::new(&mut buffer)
            } else {
                Place::none()
            };
            let mut input = self.input.as_slice();
            let answer = self
                .layer
                .decode(py, &mut input, &mut place, &mut self.wire);
            let filled = place.filled();
            // SAFETY: a place says how much of its beginning has been written.
            let bytes = unsafe { buffer[..filled].assume_init_ref() };
            self.plain.extend_from_slice(bytes);
            self.input = input.to_vec();
            match answer? {
                Input::Full => {}
                Input::More => {
                    assert!(self.input.is_empty(), "all of it is taken");
                    return Ok(());
                }
                Input::End => {
                    self.ended = true;
                    self.input.clear();
                    return Ok(());
                }
            }
        }
    }

    pub fn write(&mut self, py: Python<'_>, bytes: &[u8]) {
        self.layer.encode(py, bytes, &mut self.wire).unwrap();
    }
}

/// Two ends that have not met yet.
pub fn pair(py: Python<'_>, kind: Kind) -> (End, End) {
    let client = session(py, false, kind.client_direct, kind.old);
    let server = session(py, true, kind.server_direct, kind.old);
    (End::new(Box::new(client)), End::new(Box::new(server)))
}

/// Carries what each has to send to the other, `piece` bytes at a time, until nothing is left.
pub fn carry(py: Python<'_>, one: &mut End, other: &mut End, piece: usize) {
    while !one.wire.is_empty() || !other.wire.is_empty() {
        forward(py, one, other, piece);
        forward(py, other, one, piece);
    }
}

fn forward(py: Python<'_>, from: &mut End, to: &mut End, piece: usize) {
    let wire = std::mem::take(&mut from.wire);
    for part in wire.chunks(piece) {
        if to.ended {
            return;
        }
        to.input.extend_from_slice(part);
        to.digest(py).unwrap();
    }
}

/// Two ends whose handshake is over.
pub fn established(py: Python<'_>, kind: Kind) -> (End, End) {
    let (mut client, mut server) = pair(py, kind);
    for end in [&mut client, &mut server] {
        end.layer.start(py, &mut end.wire).unwrap();
        assert!(end.layer.wants_input());
    }
    carry(py, &mut client, &mut server, 1 << 20);
    for end in [&client, &server] {
        assert!(end.layer.is_ready() && !end.layer.wants_input(), "{kind:?}");
        assert_eq!(end.layer.held(), 0);
    }
    (client, server)
}
