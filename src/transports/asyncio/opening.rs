//! How a transport comes into being: on a connected descriptor, or on the stream of another transport.

use pyo3::prelude::*;

use super::clients;
use super::sink::AsyncioSink;
use super::transport::{Inner, Names, StreamTransport, how_it_takes};
use crate::io::medium::{Medium, Owner};
use crate::io::sink::{Face, Sink};
use crate::io::stream::{self, Flush, Options, Stream};
use crate::poll::Key;
use crate::proto::marks::WaterMarks;
use crate::proto::phase::WriteRules;
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, sockets};
use crate::runtime::LoopCore;
use crate::sys::addr::Named;
use crate::sys::{Fd, socket};

pub(super) const OPTIONS: Options = Options {
    flush: Flush::Now,
    rules: WriteRules::ASYNCIO,
    marks: WaterMarks::ASYNCIO,
    reading: true,
    reads: 1,
};

/// What a new transport starts with.
pub struct Start<'py> {
    pub fd: Fd,
    pub medium: Medium,
    pub sock: Option<Bound<'py, PyAny>>,
    pub peer: Option<Named>,
    pub protocol: Bound<'py, PyAny>,
    pub context: Bound<'py, PyAny>,
    pub waiter: Option<Bound<'py, PyAny>>,
    pub extra: Option<Bound<'py, PyAny>>,
    pub server: Option<Bound<'py, PyAny>>,
}

impl StreamTransport {
    /// Puts a connected descriptor into the loop. Its protocol hears of it in the next turn.
    pub fn open<'py>(core: &Bound<'py, LoopCore>, start: Start<'py>) -> PyResult<Bound<'py, Self>> {
        let (transport, launch) = Self::build(core, start)?;
        let transport = Bound::new(core.py(), transport)?;
        launch.go(core, &transport, &AsyncioSink, OPTIONS)?;
        Ok(transport)
    }

    /// The transport, not yet in the loop, and what it takes to put it there.
    pub(super) fn build<'py>(
        core: &Bound<'py, LoopCore>,
        start: Start<'py>,
    ) -> PyResult<(Self, Launch<'py>)> {
        if let Some(sock) = &start.sock {
            sockets::learn(sock)?;
        }
        let launch = Launch {
            fd: start.fd,
            medium: start.medium,
            owner: Some(match &start.sock {
                Some(sock) => Owner::Object(sock.clone().unbind()),
                None => Owner::Stream,
            }),
            server: start.server.clone(),
        };
        let transport = StreamTransport {
            core: core.clone().unbind(),
            key: Flag::new(Key::NONE),
            takes: Flag::new(how_it_takes(&start.protocol)?),
            inner: StateCell::new(Inner {
                protocol: Some(start.protocol.unbind()),
                context: Some(start.context.unbind()),
                extra: start.extra.map(Bound::unbind),
                server: start.server.map(Bound::unbind),
                waiter: start.waiter.map(Bound::unbind),
                sock: start.sock.map(Bound::unbind),
                names: Names::Open(start.peer),
            }),
            connected: Flag::new(false),
            fd: Flag::new(start.fd),
            ending: Flag::new(false),
            eof: Flag::new(false),
            lately: Default::default(),
            built: true,
            lost_writes: Flag::new(0),
            fatal_text: None,
        };
        Ok((transport, launch))
    }

    /// Another transport on the same stream, for `protocol`: it takes over what `beneath` knows of the connection.
    pub(super) fn build_over<'py>(
        beneath: &Bound<'py, StreamTransport>,
        protocol: Bound<'py, PyAny>,
        waiter: Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        let py = beneath.py();
        let below = beneath.get();
        below.keep_names(py);
        let (sock, names) = below.inner.with(py, |inner, refs| {
            let names = match &inner.names {
                Names::Open(peer) => Names::Open(peer.clone()),
                Names::Kept(kept) => Names::Kept(kept.clone()),
                Names::Made(made) => {
                    Names::Made(Box::new((refs.clone(&made.0), refs.clone(&made.1))))
                }
            };
            (inner.sock.as_ref().map(|sock| refs.clone(sock)), names)
        });
        Ok(StreamTransport {
            core: below.core.clone_ref(py),
            key: Flag::new(below.key()),
            takes: Flag::new(how_it_takes(&protocol)?),
            inner: StateCell::new(Inner {
                protocol: Some(protocol.unbind()),
                context: Some(call::copy_context(py)?.unbind()),
                extra: None,
                // The server has the one beneath among its own.
                server: None,
                waiter: Some(waiter.unbind()),
                sock,
                names,
            }),
            connected: Flag::new(true),
            fd: Flag::new(below.fd.get()),
            ending: Flag::new(false),
            eof: Flag::new(false),
            lately: Default::default(),
            built: true,
            lost_writes: Flag::new(0),
            fatal_text: None,
        })
    }
}

/// What it takes to put a transport into the loop. One that does not get there closes a descriptor that nobody else owns.
pub(super) struct Launch<'py> {
    fd: Fd,
    medium: Medium,
    /// Gone once a stream has it.
    owner: Option<Owner>,
    server: Option<Bound<'py, PyAny>>,
}

impl Drop for Launch<'_> {
    fn drop(&mut self) {
        if let Some(Owner::Stream) = self.owner {
            socket::close(self.fd);
        }
    }
}

impl<'py> Launch<'py> {
    /// Puts it there, with the sink and the options of its kind.
    pub fn go(
        mut self,
        core: &Bound<'py, LoopCore>,
        transport: &Bound<'py, StreamTransport>,
        sink: &'static dyn Sink,
        options: Options,
    ) -> PyResult<()> {
        let face = Face {
            object: transport.clone().into_any().unbind(),
            sink,
        };
        let owner = self.owner.take().unwrap_or(Owner::Face);
        let ours = matches!(owner, Owner::Stream);
        let mut stream = Stream::new(self.fd, self.medium, owner, face, options);
        if self.medium == Medium::Tcp {
            stream = stream.never_delay();
            if !ours {
                // Somebody else sees the socket, and may send.
                stream.set_nodelay();
            }
        }
        transport.get().key.set(stream::open(core, stream));
        match self.server.take() {
            Some(server) => clients::attach(&server, transport),
            None => Ok(()),
        }
    }
}
