//! Descriptors that travel with the bytes of a Unix socket ([`Medium::Passing`]): each leaves with one byte of its own, and what
//! came beside a read waits for the face.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::medium::Medium;
use super::stream::{self, Stream, parts};
use crate::poll::Key;
use crate::runtime::LoopCore;
use crate::sys::Fd;
use crate::sys::ancillary::{self, Message};

/// What is beside the bytes of a stream.
#[derive(Default)]
pub struct Passing {
    /// To be sent, first of all. The sender's until they are.
    leaving: VecDeque<Fd>,
    received: Vec<Message>,
}

impl Stream {
    /// The descriptor that has to leave before any byte leaves alone.
    #[inline]
    pub(super) fn next_leaving(&self) -> Option<Fd> {
        self.passing.as_ref()?.leaving.front().copied()
    }

    /// That one has left.
    pub(super) fn descriptor_left(&mut self) {
        if let Some(passing) = &mut self.passing {
            passing.leaving.pop_front();
        }
    }

    #[inline]
    pub(super) fn receive(&mut self, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        self.look_at_owner();
        if self.medium != Medium::Passing {
            return self.medium.receive(self.fd, buffer, &mut self.beside);
        }
        let mut messages = Vec::new();
        let count = ancillary::receive(self.fd, buffer, &mut messages)?;
        self.beside = !messages.is_empty();
        if !messages.is_empty() {
            let passing = self.passing.get_or_insert_default();
            passing.received.append(&mut messages);
        }
        Ok(count)
    }

    /// Forgets what was to be sent.
    pub(super) fn forget_descriptors(&mut self) {
        if let Some(passing) = &mut self.passing {
            passing.leaving.clear();
        }
    }

    /// How many descriptors wait to be sent.
    pub fn leaving(&self) -> usize {
        self.passing
            .as_ref()
            .map_or(0, |passing| passing.leaving.len())
    }
}

/// Queues a descriptor for the next byte that leaves. At the end of the turn the face is asked, and has a look at whether
/// there is one.
pub fn queue(core: &Bound<'_, LoopCore>, key: Key, descriptor: Fd) {
    core.get().state.with(core.py(), |state, _| {
        if let Some(mut parts) = parts(state, key)
            && parts.stream.life.may_send()
        {
            let passing = parts.stream.passing.get_or_insert_default();
            passing.leaving.push_back(descriptor);
            parts.stream.fill = true;
            parts.hold();
        }
    });
}

/// What came beside the bytes that were received, in its order.
pub fn take_received(core: &Bound<'_, LoopCore>, key: Key) -> Vec<Message> {
    stream::with(core, key, |stream| match &mut stream.passing {
        Some(passing) => std::mem::take(&mut passing.received),
        None => Vec::new(),
    })
    .unwrap_or_default()
}
