//! TLS in TLS.

use super::harness::{End, carry, established, kinds, pair, with_python};
use crate::tls::layer::Layer;
use crate::tls::stacked::Stacked;

/// A layer that is handed over.
fn upon(lower: Box<dyn Layer>, upper: Box<dyn Layer>) -> End {
    End::new(Box::new(Stacked::new(lower, upper, true, b"", false)))
}

#[test]
fn handshake_data_and_end_through_two_layers() {
    with_python(|py| {
        for kind in kinds() {
            let (outer_client, outer_server) = established(py, kind);
            let (inner_client, inner_server) = pair(py, kind);
            let mut client = upon(outer_client.layer, inner_client.layer);
            let mut server = upon(outer_server.layer, inner_server.layer);
            for end in [&mut client, &mut server] {
                end.layer.start(py, &mut end.wire).unwrap();
                assert!(!end.layer.is_ready() && end.layer.wants_input());
                end.write(py, b"early ");
                assert_eq!(end.layer.held(), 6);
            }
            carry(py, &mut client, &mut server, 50);
            assert!(client.layer.is_ready() && server.layer.is_ready());
            let data = vec![b'd'; 70_000];
            for (piece, room) in [(1000, 100_000), (1 << 20, 100_000), (1 << 20, 77)] {
                client.room = room;
                server.room = room;
                client.plain.clear();
                server.plain.clear();
                client.write(py, &data);
                server.write(py, &data);
                carry(py, &mut client, &mut server, piece);
                assert!(
                    client.plain == data && server.plain == data,
                    "{kind:?} {room}"
                );
            }
            client.layer.finish(py, &mut client.wire).unwrap();
            assert!(client.layer.wants_input());
            carry(py, &mut client, &mut server, 1 << 20);
            assert!(server.ended && !client.ended);
            server.layer.finish(py, &mut server.wire).unwrap();
            carry(py, &mut client, &mut server, 1 << 20);
            assert!(client.ended);
        }
    });
}

#[test]
fn an_error_above_is_carried_by_what_lies_beneath() {
    with_python(|py| {
        for kind in kinds().take(1) {
            let (outer_client, mut outer_server) = established(py, kind);
            let (_, inner_server) = pair(py, kind);
            let mut client = End::new(outer_client.layer);
            outer_server.wire.clear();
            let mut server = upon(outer_server.layer, inner_server.layer);
            server.layer.start(py, &mut server.wire).unwrap();
            // Data where a handshake has to begin.
            client.write(py, b"\x17\x03\x03\x00\x05hello");
            server.input = std::mem::take(&mut client.wire);
            let error = server.digest(py).unwrap_err();
            assert!(error.to_string().contains("[SSL: "), "{error}");
            // The alert, in a record of the outer layer.
            client.input = std::mem::take(&mut server.wire);
            client.digest(py).unwrap();
            assert_eq!(client.plain.first(), Some(&21), "{:?}", client.plain);
        }
    });
}

#[test]
fn what_ends_beneath_ends_above() {
    with_python(|py| {
        for kind in kinds().take(4) {
            let (outer_client, mut outer_server) = established(py, kind);
            let (inner_client, _) = pair(py, kind);
            let mut client = upon(outer_client.layer, inner_client.layer);
            client.layer.start(py, &mut client.wire).unwrap();
            // close_notify of the outer layer, in the middle of the inner handshake.
            outer_server.wire.clear();
            let wire = &mut outer_server.wire;
            outer_server.layer.finish(py, wire).unwrap();
            client.input = std::mem::take(wire);
            let error = client.digest(py).unwrap_err();
            assert!(error.is_instance_of::<pyo3::exceptions::PyConnectionResetError>(py));
        }
    });
}
