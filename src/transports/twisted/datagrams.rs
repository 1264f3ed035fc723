//! `TwistedDatagrams`: what runs per datagram in a Twisted UDP port, or in one of its UNIX datagram ports. They differ in what
//! `write` takes and in what becomes of an error, which their Python halves know.

use std::collections::VecDeque;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::home::{Home, Resident, inside};
use crate::io::datagram::{self, Datagram, Datagrams, Face, Options, Port, Sink};
use crate::io::sink::Failed;
use crate::proto::marks::{Pressure, WaterMarks};
use crate::py::address::{Kind, Naming};
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, errors};
use crate::runtime::LoopCore;
use crate::sys::{Fd, socket};

const OPTIONS: Options = Options {
    // Nothing waits here.
    marks: WaterMarks::NONE,
    overhead: 0,
    names: Naming::HostAndPort,
    outlives: true,
};

/// The native half of a Twisted datagram port. All methods belong to the reactor's thread.
#[pyclass(frozen, subclass, dict, weakref, module = "interloop._core")]
pub struct TwistedDatagrams {
    home: Home,
    /// What had been received when its loop was closed.
    inbox: StateCell<VecDeque<Datagram>>,
    /// The rest of longer ones is cut off.
    longest: Flag<usize>,
    /// The protocol is told who sent a datagram.
    tells_sender: Flag<bool>,
    /// See `Handle`: false while CPython 3.11 makes the instance dict.
    built: bool,
}

impl Resident for TwistedDatagrams {
    #[inline]
    fn home(&self) -> &Home {
        &self.home
    }
}

impl TwistedDatagrams {
    /// Sends bytes, to the peer of a connected socket or to `address`. None for what only Twisted's own half understands.
    #[inline]
    fn send<'py>(
        slf: &Bound<'py, Self>,
        datagram: &Bound<'py, PyAny>,
        address: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let Ok(bytes) = datagram.cast::<PyBytes>() else {
            return Ok(None);
        };
        let Some(place) = slf.get().home.place(py) else {
            return Ok(None);
        };
        let bytes = bytes.as_bytes();
        match datagram::send_now(&place.core, place.key, bytes, address) {
            None => Ok(None),
            Some(Ok(())) => Ok(Some(bytes.len().into_pyobject(py)?.into_any())),
            Some(Err(error)) => {
                let error = errors::os_error(py, &error);
                slf.call_method1(intern!(py, "_not_sent"), (error,))
                    .map(Some)
            }
        }
    }
}

#[pymethods]
impl TwistedDatagrams {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        TwistedDatagrams {
            home: Home::new(),
            inbox: StateCell::new(VecDeque::new()),
            longest: Flag::new(0),
            tells_sender: Flag::new(true),
            built: true,
        }
    }

    /// Receives from the socket, which stays the caller's to close, after `_leave()`. Goes over to that loop when it is in
    /// another one. The protocol's `datagramReceived` is given the sender as well if `tells_sender`. OSError for a socket that
    /// is not open.
    fn _receive(
        slf: &Bound<'_, Self>,
        r#loop: &Bound<'_, LoopCore>,
        socket: &Bound<'_, PyAny>,
        tells_sender: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let port = slf.get();
        r#loop.get().check_closed()?;
        port.tells_sender.set(tells_sender);
        if let Some(place) = port.home.place(py)
            && place.core.is(r#loop)
            && datagram::with(&place.core, place.key, |_| ()).is_some()
        {
            return datagram::resume(&place.core, place.key);
        }
        // The context in which it began to listen.
        if port.home.context(py).is_none() {
            port.home.set_context(call::copy_context(py)?);
        }
        let taken = port
            .home
            .place(py)
            .and_then(|place| datagram::take(&place.core, place.key));
        let datagrams = match taken {
            Some(datagrams) => *datagrams,
            None => {
                let fd: Fd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
                let local =
                    socket::local_address(fd).map_err(|error| errors::os_error(py, &error))?;
                let face = Face {
                    object: slf.clone().into_any().unbind(),
                    sink: &DatagramSink,
                };
                let owner = socket.clone().unbind();
                let inbox = port.inbox.with(py, |inbox, _| std::mem::take(inbox));
                Datagrams::new(fd, owner, Kind::of(&local), false, face, OPTIONS).with_inbox(inbox)
            }
        };
        port.home.leave(py);
        let key = datagram::adopt(r#loop, datagrams)?;
        port.home.enter(r#loop, key);
        datagram::resume(r#loop, key)
    }

    /// Receives no more for now. What was received already waits. Nothing when it does not receive.
    fn _pause(&self, py: Python<'_>) -> PyResult<()> {
        match self.home.place(py) {
            Some(place) => datagram::pause(&place.core, place.key),
            None => Ok(()),
        }
    }

    /// Leaves the loop. The socket stays open. Nothing when it is in none.
    fn _leave(&self, py: Python<'_>) {
        if let Some(place) = self.home.place(py) {
            let datagrams = datagram::take(&place.core, place.key);
            self.home.leave(py);
            drop(datagrams);
        }
    }

    /// Whether datagrams are received.
    #[getter]
    fn _listening(&self, py: Python<'_>) -> bool {
        self.home.place(py).is_some_and(|place| {
            datagram::with(&place.core, place.key, |port| port.is_reading()).unwrap_or(false)
        })
    }

    /// The largest datagram, in bytes, that is received whole.
    #[getter(maxPacketSize)]
    fn max_packet_size(&self) -> usize {
        self.longest.get()
    }

    #[setter(maxPacketSize)]
    fn set_max_packet_size(&self, size: usize) {
        self.longest.set(size);
    }

    /// Like `IUDPTransport.write`.
    #[pyo3(signature = (datagram, addr=None))]
    fn write<'py>(
        slf: &Bound<'py, Self>,
        datagram: &Bound<'py, PyAny>,
        addr: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let connected = slf.getattr(intern!(py, "_connectedAddr"))?.is_truthy()?;
        // Either nothing but the datagram, or an address where there has to be one: all else is Twisted's.
        if connected != addr.is_some()
            && let Some(result) = Self::send(slf, datagram, addr)?
        {
            return Ok(result);
        }
        slf.call_method1(intern!(py, "_write"), (datagram, addr))
    }

    /// Like `IUNIXDatagramTransport.write`.
    fn _write_to<'py>(
        slf: &Bound<'py, Self>,
        datagram: &Bound<'py, PyAny>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match Self::send(slf, datagram, Some(address))? {
            Some(result) => Ok(result),
            None => slf.call_method1(intern!(slf.py(), "_write"), (datagram, address)),
        }
    }

    /// Like `IUNIXDatagramConnectedTransport.write`.
    fn _write_to_peer<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match Self::send(slf, data, None)? {
            Some(result) => Ok(result),
            None => slf.call_method1(intern!(slf.py(), "_write"), (data,)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if !self.built {
            return Ok(());
        }
        self.inbox
            .try_with(|inbox| inbox.iter().try_for_each(|(_, sender)| visit.call(sender)))
            .unwrap_or(Ok(()))?;
        self.home.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        let inbox = self.inbox.with(py, |inbox, _| std::mem::take(inbox));
        drop(inbox);
        self.home.clear(py);
    }
}

/// The sink of every [`TwistedDatagrams`].
struct DatagramSink;

fn face<'a, 'py>(port: &Port<'a, 'py>) -> PyResult<&'a Bound<'py, TwistedDatagrams>> {
    Ok(port.object.cast::<TwistedDatagrams>()?)
}

fn not_received(port: &Bound<'_, TwistedDatagrams>, error: PyErr) -> PyResult<()> {
    inside(port, || {
        port.call_method1(intern!(port.py(), "_not_received"), (error,))
            .map(drop)
    })
}

impl Sink for DatagramSink {
    fn made(&self, _port: &Port<'_, '_>) -> PyResult<()> {
        // Adopted: Twisted's own port tells the protocol.
        Ok(())
    }

    #[inline]
    fn received(
        &self,
        port: &Port<'_, '_>,
        data: &Bound<'_, PyBytes>,
        sender: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let port = face(port)?;
        let py = port.py();
        let longest = port.get().longest.get();
        let cut = (data.as_bytes().len() > longest)
            .then(|| PyBytes::new(py, &data.as_bytes()[..longest]));
        let data = cut.as_ref().unwrap_or(data);
        inside(port, || {
            let name = intern!(py, "datagramReceived");
            let result = port.getattr(intern!(py, "protocol")).and_then(|protocol| {
                match port.get().tells_sender.get() {
                    true => protocol.call_method1(name, (data, sender)),
                    false => protocol.call_method1(name, (data,)),
                }
            });
            // Whatever it is: the Python half logs it.
            match result {
                Ok(_) => Ok(()),
                Err(error) => port
                    .call_method1(intern!(py, "_protocol_failed"), (error,))
                    .map(drop),
            }
        })
    }

    fn failed(
        &self,
        port: &Port<'_, '_>,
        _what: Failed,
        error: PyErr,
        _inside: bool,
    ) -> PyResult<()> {
        let port = face(port)?;
        let py = port.py();
        if !error.is_instance_of::<PyOSError>(py) {
            return Err(error);
        }
        not_received(port, error)
    }

    fn pressure(&self, _port: &Port<'_, '_>, _pressure: Pressure) -> PyResult<()> {
        // Nothing waits.
        Ok(())
    }

    fn left(&self, object: &Bound<'_, PyAny>, inbox: VecDeque<Datagram>) {
        let py = object.py();
        if let Ok(port) = object.cast::<TwistedDatagrams>() {
            port.get().home.leave(py);
            let old = port
                .get()
                .inbox
                .with(py, |place, _| std::mem::replace(place, inbox));
            drop(old);
        }
    }

    fn lost(&self, port: &Port<'_, '_>, reason: Option<PyErr>) -> PyResult<()> {
        let port = face(port)?;
        let py = port.py();
        port.get().home.leave(py);
        match reason {
            None => Ok(()),
            // The kernel does not wait for it any more.
            Some(error) => not_received(port, error),
        }
    }
}
