//! A session against a session, with every mix of engines.

use pyo3::prelude::*;

use super::harness::{Kind, carry, established, kinds, pair, with_python};
use crate::tls::layer::{Input, Place};

const DIRECT: Kind = Kind {
    client_direct: true,
    server_direct: true,
    old: false,
};

fn text(error: &PyErr, py: Python<'_>, name: &str) -> String {
    error.value(py).getattr(name).unwrap().to_string()
}

#[test]
fn records_of_every_size_in_pieces_of_every_size() {
    with_python(|py| {
        for kind in kinds() {
            let (mut client, mut server) = established(py, kind);
            let mut sent = Vec::new();
            for (size, piece) in [
                (1, 1),
                (100, 7),
                (16_384, 1000),
                (16_385, 16_401),
                (50_000, 1 << 20),
            ] {
                let data: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
                client.write(py, &data);
                server.write(py, &data);
                sent.extend_from_slice(&data);
                carry(py, &mut client, &mut server, piece);
                assert!(
                    client.plain == sent && server.plain == sent,
                    "{kind:?} {size}"
                );
            }
        }
    });
}

#[test]
fn a_handshake_byte_by_byte_and_what_was_written_before_it() {
    with_python(|py| {
        for kind in kinds() {
            let (mut client, mut server) = pair(py, kind);
            for end in [&mut client, &mut server] {
                end.layer.start(py, &mut end.wire).unwrap();
                end.write(py, b"early");
                assert_eq!(end.layer.held(), 5);
            }
            carry(py, &mut client, &mut server, 1);
            assert_eq!(client.plain, b"early");
            assert_eq!(server.plain, b"early");
            assert_eq!(client.layer.held() + server.layer.held(), 0);
        }
    });
}

#[test]
fn a_small_place_is_filled_again_and_again() {
    with_python(|py| {
        for kind in kinds() {
            let (mut client, mut server) = established(py, kind);
            let data: Vec<u8> = (0..40_000_u32).map(|at| (at % 253) as u8).collect();
            client.write(py, &data);
            server.room = 999;
            carry(py, &mut client, &mut server, 1 << 20);
            assert!(server.plain == data);
        }
    });
}

#[test]
fn without_a_place_nothing_is_taken() {
    with_python(|py| {
        let (mut client, mut server) = established(py, DIRECT);
        client.write(py, b"wait");
        let wire = std::mem::take(&mut client.wire);
        let mut input = wire.as_slice();
        let answer = server
            .layer
            .decode(py, &mut input, &mut Place::none(), &mut server.wire);
        assert_eq!(answer.unwrap(), Input::Full);
        assert_eq!(input.len(), wire.len());
        server.input = wire;
        server.digest(py).unwrap();
        assert_eq!(server.plain, b"wait");
    });
}

#[test]
fn last_words() {
    with_python(|py| {
        for kind in kinds() {
            let (mut client, mut server) = established(py, kind);
            client.write(py, b"bye");
            client.layer.finish(py, &mut client.wire).unwrap();
            assert!(client.layer.wants_input(), "it waits for the other's");
            carry(py, &mut client, &mut server, 1 << 20);
            assert!(server.ended);
            assert_eq!(server.plain, b"bye");
            // The other direction still stands.
            server.write(py, b"late");
            server.layer.finish(py, &mut server.wire).unwrap();
            assert!(!server.layer.wants_input());
            carry(py, &mut client, &mut server, 1 << 20);
            assert!(client.ended);
            assert_eq!(client.plain, b"late");
            assert!(!client.layer.wants_input());
        }
    });
}

#[test]
fn a_socket_that_ends() {
    with_python(|py| {
        for kind in kinds() {
            // In the handshake: an error. Behind it: an end, which gets no answer.
            let (mut client, _) = pair(py, kind);
            client.layer.start(py, &mut client.wire).unwrap();
            let error = client.layer.cut_off(py).unwrap_err();
            assert!(error.is_instance_of::<pyo3::exceptions::PyConnectionResetError>(py));
            client.wire.clear();
            client.layer.finish(py, &mut client.wire).unwrap();
            assert!(client.wire.is_empty() && !client.layer.wants_input());

            let (mut client, _) = established(py, kind);
            client.layer.cut_off(py).unwrap();
            client.layer.finish(py, &mut client.wire).unwrap();
            assert!(client.wire.is_empty() && !client.layer.wants_input());
        }
    });
}

#[test]
fn what_is_wrong_is_told_as_the_ssl_module_tells_it() {
    with_python(|py| {
        let spoiled = |kind| {
            let (mut client, mut server) = established(py, kind);
            client.write(py, b"good");
            client.write(py, b"bad");
            let last = client.wire.len() - 1;
            client.wire[last] ^= 1;
            server.input = std::mem::take(&mut client.wire);
            let error = server.digest(py).unwrap_err();
            assert_eq!(server.plain, b"good", "what came before it counts");
            assert!(!server.wire.is_empty(), "the peer hears of it");
            client.input = std::mem::take(&mut server.wire);
            let alert = client.digest(py).unwrap_err();
            [error, alert].map(|error| {
                let class = error.get_type(py).name().unwrap().to_string();
                let names = ["reason", "library", "errno"].map(|name| text(&error, py, name));
                (class, names)
            })
        };
        for old in [false, true] {
            let with = |direct| {
                spoiled(Kind {
                    client_direct: direct,
                    server_direct: direct,
                    old,
                })
            };
            let told = with(true);
            assert_eq!(told, with(false));
            assert_eq!(told[0].0, "SSLError");
            assert_eq!(told[0].1[0], "DECRYPTION_FAILED_OR_BAD_RECORD_MAC");
            assert!(told[1].1[0].ends_with("ALERT_BAD_RECORD_MAC"), "{told:?}");
        }
    });
}

#[test]
fn an_error_of_somebody_else_is_not_ours() {
    with_python(|py| {
        let (mut client, mut server) = established(py, DIRECT);
        // Leaves its reason in this thread's queue, where the hand of another library may have left one.
        let code = c"
import ssl, ctypes, _ssl
library = ctypes.CDLL(_ssl.__file__)
if hasattr(library, 'ERR_new'):
    library.ERR_new()
    library.ERR_set_error(20, 1, None)
";
        for _ in 0..2 {
            py.run(code, None, None).unwrap();
            client.write(py, b"x");
            py.run(code, None, None).unwrap();
            carry(py, &mut client, &mut server, 1);
        }
        assert_eq!(server.plain, b"xx");
    });
}

#[test]
fn the_engine_goes_and_the_object_stays() {
    with_python(|py| {
        let (client, server) = established(py, DIRECT);
        let mut objects: Vec<Py<PyAny>> = Vec::new();
        for end in [&client, &server] {
            end.layer
                .visit(&mut |object| objects.push(object.clone_ref(py)));
        }
        drop((client, server));
        for object in &objects {
            let object = object.bind(py);
            if object.hasattr("unwrap").unwrap() {
                assert!(object.call_method1("read", (1,)).is_err());
                assert!(object.call_method1("write", (b"x",)).is_err());
            }
        }
        drop(objects);
    });
}

#[test]
fn what_waits_is_written_when_the_peer_has_been_heard() {
    with_python(|py| {
        for kind in kinds() {
            let (mut client, mut server) = pair(py, kind);
            client.layer.start(py, &mut client.wire).unwrap();
            server.layer.start(py, &mut server.wire).unwrap();
            client.write(py, &[b'w'; 100_000]);
            assert_eq!(client.layer.held(), 100_000);
            carry(py, &mut client, &mut server, 5000);
            assert_eq!(server.plain.len(), 100_000);
            assert_eq!(client.layer.held(), 0);
        }
    });
}
