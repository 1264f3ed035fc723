//! The attributes of a plain Python instance: its dict, without a look at its class.

use std::sync::atomic::{AtomicIsize, Ordering};

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use super::cell::Flag;
use super::objects;

/// The name of an attribute, and where it was in the dict that was asked last: the instances of a class have their
/// attributes in one order, that of `__init__`.
pub struct Attribute {
    name: &'static str,
    interned: PyOnceLock<Py<PyString>>,
    place: AtomicIsize,
}

impl Attribute {
    pub const fn new(name: &'static str) -> Self {
        Attribute {
            name,
            interned: PyOnceLock::new(),
            place: AtomicIsize::new(0),
        }
    }

    #[inline]
    pub fn name<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        self.interned
            .get_or_init(py, || PyString::intern(py, self.name).unbind())
            .bind(py)
    }
}

/// The instance dict of an object whose class has no descriptors by the names that are asked for. A sixth of the cost
/// of `getattr()`.
pub struct Fields<'a, 'py> {
    object: &'a Bound<'py, PyAny>,
    dict: Bound<'py, PyDict>,
}

impl<'a, 'py> Fields<'a, 'py> {
    /// Errors: AttributeError for an object without a dict.
    #[inline]
    pub fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let dict = objects::instance_dict(object)?;
        Ok(Fields { object, dict })
    }

    /// The same of a native class of ours, whose instances have their dict in the object.
    #[inline]
    pub fn of_ours<T: PyClass>(object: &'a Bound<'py, T>) -> PyResult<Self> {
        match objects::present_dict(object) {
            Some(dict) => Ok(Fields {
                object: object.as_any(),
                dict,
            }),
            None => Self::of(object.as_any()),
        }
    }

    #[inline]
    pub fn py(&self) -> Python<'py> {
        self.dict.py()
    }

    /// How many attributes the instance has itself.
    #[inline]
    pub fn count(&self) -> usize {
        self.dict.len()
    }

    /// The attribute, the class's where the instance has none. Errors: AttributeError.
    #[inline]
    pub fn get(&self, attribute: &Attribute) -> PyResult<Bound<'py, PyAny>> {
        let name = attribute.name(self.py());
        match self.known(name, attribute.place.load(Ordering::Relaxed)) {
            Some(value) => Ok(value),
            None => {
                let (value, place) = self.search(name)?;
                if let Some(place) = place {
                    attribute.place.store(place, Ordering::Relaxed);
                }
                Ok(value)
            }
        }
    }

    /// As [`get`](Self::get), for classes whose instances have their attributes in several orders: each keeps the place itself.
    #[inline]
    pub fn get_at(
        &self,
        name: &Bound<'py, PyString>,
        place: &Flag<isize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.known(name, place.get()) {
            Some(value) => Ok(value),
            None => {
                let (value, found) = self.search(name)?;
                if let Some(found) = found {
                    place.set(found);
                }
                Ok(value)
            }
        }
    }

    /// The attribute, if it is at that place.
    #[inline]
    fn known(&self, name: &Bound<'py, PyString>, mut place: isize) -> Option<Bound<'py, PyAny>> {
        let (key, value) = self.entry(&mut place)?;
        // SAFETY: a live object that the dict holds; a new reference is taken before anything else can run.
        (key == name.as_ptr()).then(|| unsafe { Bound::from_borrowed_ptr(self.py(), value) })
    }

    /// The entry (key, value) at a place as `PyDict_Next` counts them, or the first one behind it; the place is then the
    /// next one. Any number may be asked for: there is none beyond the end. Both are borrowed from the dict, and good
    /// until something else runs.
    #[inline]
    fn entry(&self, place: &mut isize) -> Option<(*mut ffi::PyObject, *mut ffi::PyObject)> {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: a live dict and the GIL; it answers whether it has set both.
        let found =
            unsafe { ffi::PyDict_Next(self.dict.as_ptr(), place, &mut key, &mut value) } != 0;
        found.then_some((key, value))
    }

    /// The attribute, and its place if it is in the dict by that very name object.
    #[cold]
    fn search(&self, name: &Bound<'py, PyString>) -> PyResult<(Bound<'py, PyAny>, Option<isize>)> {
        let Some(value) = self.dict.get_item(name)? else {
            return Ok((self.object.getattr(name)?, None));
        };
        let mut place = 0;
        let mut before = 0;
        while let Some((key, _)) = self.entry(&mut place) {
            if key == name.as_ptr() {
                return Ok((value, Some(before)));
            }
            before = place;
        }
        Ok((value, None))
    }

    /// As [`get`](Self::get), for instances whose attributes are in no particular order.
    #[inline]
    pub fn look_up(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        match self.dict.get_item(name)? {
            Some(value) => Ok(value),
            None => self.object.getattr(name),
        }
    }

    /// Whether the instance has it itself.
    #[inline]
    pub fn has(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        self.dict.contains(name)
    }

    /// Sets it on the instance.
    #[inline]
    pub fn set(&self, attribute: &Attribute, value: &Bound<'py, PyAny>) -> PyResult<()> {
        self.dict.set_item(attribute.name(self.py()), value)
    }
}
