//! What a protocol declares about itself (`zope.interface`), as each connection asks it twice. Asking costs a call or two of
//! Python functions; nearly all protocols of a program are of a few classes.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::py::cell::StateCell;
use crate::py::{call, names};

/// How many declarations are remembered: a power of two, one place for each hash.
const PLACES: usize = 16;

/// Declarations of which it is known that nothing adapts what has them to IHalfCloseableProtocol.
static UNADAPTED: StateCell<[Option<Unadapted>; PLACES]> = StateCell::new([const { None }; PLACES]);

struct Unadapted {
    declaration: Py<PyAny>,
    /// Of Twisted's registry of adapters: another one when adapters were added.
    generation: i64,
}

fn place(declaration: &Bound<'_, PyAny>) -> usize {
    // Objects are aligned to 16 bytes.
    (declaration.as_ptr() as usize >> 4) % PLACES
}

/// `IHalfCloseableProtocol(protocol, None)`; None for the answer None.
pub fn half_closeable<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = protocol.py();
    let interface = names::TWISTED_HALF_CLOSEABLE.get(py)?;
    let answer = |answer: Bound<'py, PyAny>| Ok(answer.is_truthy()?.then_some(answer));
    // An instance's own say.
    if protocol.getattr_opt(intern!(py, "__conform__"))?.is_some() {
        return answer(interface.call1((protocol, py.None()))?);
    }
    let hooks = names::ZOPE_ADAPTER_HOOKS.get(py)?;
    let hooks = hooks.cast::<PyList>()?.len();
    let registry = names::TWISTED_ADAPTERS.get(py)?;
    let generation: i64 = registry
        .getattr_opt(intern!(py, "_generation"))?
        .map_or(Ok(-1), |generation| generation.extract())?;
    if hooks != 1 || generation < 0 {
        return answer(interface.call1((protocol, py.None()))?);
    }
    let declaration = call::call1(&names::ZOPE_PROVIDED_BY.get(py)?, protocol)?;
    let at = place(&declaration);
    let wanted = declaration.as_ptr() as usize;
    let known = UNADAPTED.with(py, |places, _| {
        places[at].as_ref().is_some_and(|known| {
            known.declaration.as_ptr() as usize == wanted && known.generation == generation
        })
    });
    // What a class declares can still change.
    let provides = intern!(py, "isOrExtends");
    if call::call_method1(&declaration, provides, &interface)?.is_truthy()? {
        return answer(protocol.clone());
    }
    if known {
        return Ok(None);
    }
    let adapter = registry.call_method1(intern!(py, "lookup1"), (&declaration, &interface))?;
    if !adapter.is_none() {
        return answer(interface.call1((protocol, py.None()))?);
    }
    let unadapted = Unadapted {
        declaration: declaration.unbind(),
        generation,
    };
    let old = UNADAPTED.with(py, |places, _| places[at].replace(unadapted));
    drop(old);
    Ok(None)
}

/// `transport._getLogPrefix(protocol)`.
pub fn log_prefix<'py>(
    transport: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyString>> {
    let py = transport.py();
    let prefix = if protocol.is_instance(&names::TWISTED_PROTOCOL.get(py)?)? {
        // That class declares that it has one.
        call::call_method0(protocol, intern!(py, "logPrefix"))?
    } else {
        call::call_method1(transport, intern!(py, "_getLogPrefix"), protocol)?
    };
    prefix.str()
}
