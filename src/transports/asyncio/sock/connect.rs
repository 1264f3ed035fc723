//! `sock_connect()`: a name is looked up, the connection begun, and its end waited for.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::iterator::PySendResult;

use super::attempt::{Outcome, Subject};
use crate::py::{coroutine, errors, names};
use crate::runtime::watch::Side;
use crate::sys::socket;

/// How far it is.
pub enum Connect {
    New(Py<PyAny>),
    /// The coroutine of `loop._ensure_resolved()` is under way.
    Resolving(Py<PyAny>),
    /// The kernel is at it.
    Begun(Py<PyAny>),
    Over,
}

impl Connect {
    pub fn new(address: Py<PyAny>) -> Self {
        Connect::New(address)
    }

    /// The coroutine on which it waits.
    pub fn resolver(&self) -> Option<&Py<PyAny>> {
        match self {
            Connect::Resolving(resolver) => Some(resolver),
            _ => None,
        }
    }

    pub fn visit(&self, visitor: &mut dyn FnMut(&Py<PyAny>)) {
        match self {
            Connect::New(object) | Connect::Resolving(object) | Connect::Begun(object) => {
                visitor(object);
            }
            Connect::Over => {}
        }
    }

    pub fn attempt<'py>(&mut self, subject: &Subject<'_, 'py>) -> PyResult<Outcome<'py>> {
        let py = subject.core.py();
        match std::mem::replace(self, Connect::Over) {
            Connect::New(address) => {
                let resolver =
                    names::RESOLUTION
                        .get(py)?
                        .call1((subject.core, subject.sock, &address))?;
                if resolver.is_none() {
                    return self.begin(subject, address.into_bound(py));
                }
                *self = Connect::Resolving(resolver.unbind());
                self.attempt(subject)
            }
            Connect::Resolving(resolver) => {
                let step = coroutine::send(resolver.bind(py), py.None().bind(py))?;
                self.resolved(subject, resolver, step)
            }
            Connect::Begun(address) => {
                let code = match subject.fd {
                    Some(fd) => {
                        socket::take_error(fd).map_err(|error| errors::os_error(py, &error))?
                    }
                    None => names::SOCKET_ERROR
                        .get(py)?
                        .call1((subject.sock,))?
                        .extract()?,
                };
                if code != 0 {
                    let text = format!("Connect call failed {}", address.bind(py).str()?);
                    return Err(PyOSError::new_err((code, text)));
                }
                Ok(Outcome::Silent)
            }
            Connect::Over => Ok(Outcome::Silent),
        }
    }

    /// What came of a step of the look-up.
    pub fn resolved<'py>(
        &mut self,
        subject: &Subject<'_, 'py>,
        resolver: Py<PyAny>,
        step: PySendResult<'py>,
    ) -> PyResult<Outcome<'py>> {
        match step {
            PySendResult::Next(yielded) => {
                *self = Connect::Resolving(resolver);
                Ok(Outcome::Yield(yielded))
            }
            PySendResult::Return(found) => {
                // The first answer's address.
                let address = found.get_item(0)?.get_item(4)?;
                self.begin(subject, address)
            }
        }
    }

    fn begin<'py>(
        &mut self,
        subject: &Subject<'_, 'py>,
        address: Bound<'py, PyAny>,
    ) -> PyResult<Outcome<'py>> {
        let args = (&address,).into_pyobject(subject.core.py())?;
        Ok(match subject.call("connect", &args)? {
            Some(_) => Outcome::Silent,
            // In progress, also after EINTR.
            None => {
                *self = Connect::Begun(address.unbind());
                Outcome::Wait(Side::Writer)
            }
        })
    }
}
