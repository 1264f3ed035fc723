//! Attributes that a native class borrows from asyncio's.
//!
//! Each is a descriptor that asks the stock class at the time of the call, since suites and libraries patch it there
//! (websockets replaces `asyncio.Transport.get_extra_info`). Not a `__getattr__`: a class that has one is never
//! specialized by CPython 3.11 and later, and each `transport.write` would cost a full lookup.

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::names::Imported;

/// One borrowed attribute.
#[pyclass(frozen, module = "interloop._core")]
struct StockAttribute {
    stock: Py<PyAny>,
    name: Py<PyString>,
}

#[pymethods]
impl StockAttribute {
    fn __get__<'py>(
        &self,
        py: Python<'py>,
        instance: Option<Bound<'py, PyAny>>,
        _owner: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = self.stock.bind(py);
        let found = class.getattr(&self.name)?;
        let Some(instance) = instance else {
            return Ok(found);
        };
        let Ok(bind) = found.getattr(pyo3::intern!(py, "__get__")) else {
            return Ok(found);
        };
        // A slot of the stock class does not fit our objects: that is a missing attribute.
        bind.call1((&instance, class)).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(py) {
                let (class, name) = (instance.get_type(), &self.name);
                PyAttributeError::new_err(format!("'{class}' object has no attribute '{name}'"))
            } else {
                error
            }
        })
    }
}

/// Gives `class` every attribute of the stock class that it does not have itself. Not what `object` or the
/// interpreter put there.
pub fn lend(class: &Bound<'_, PyType>, stock: &Imported) -> PyResult<()> {
    let py = class.py();
    let stock = stock.get(py)?;
    for name in stock.dir()? {
        let name = name.cast_into::<PyString>()?;
        if name.to_str()?.starts_with("__") || class.hasattr(&name)? {
            continue;
        }
        let attribute = StockAttribute {
            stock: stock.clone().unbind(),
            name: name.clone().unbind(),
        };
        class.setattr(&name, Bound::new(py, attribute)?)?;
    }
    Ok(())
}
