//! What waits to be sent and has not come to the loop's stream. Most streams never have any, and pay one word for it.

use std::ops::{Deref, DerefMut};

use crate::proto::write_buffer::{Finished, WriteBuffer};
use crate::py::bytes::Chunk;

/// A [`WriteBuffer`] that is made when something is put into it.
#[derive(Default)]
pub struct Early(Option<Box<WriteBuffer<Chunk>>>);

static EMPTY: WriteBuffer<Chunk> = WriteBuffer::new();

impl Early {
    /// Takes all chunks out and gives all memory back.
    pub fn clear(&mut self) -> Finished<Chunk> {
        self.0
            .take()
            .map_or_else(Finished::none, |mut buffer| buffer.clear())
    }
}

impl Deref for Early {
    type Target = WriteBuffer<Chunk>;

    fn deref(&self) -> &WriteBuffer<Chunk> {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Early {
    fn deref_mut(&mut self) -> &mut WriteBuffer<Chunk> {
        self.0.get_or_insert_with(|| Box::new(WriteBuffer::new()))
    }
}
