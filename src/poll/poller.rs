//! The poller: owned by the turn, the only thing that waits.

use std::io;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::{Key, Registrar};

// Enough that a busy turn takes everything in one call; 12 bytes each.
const EVENTS: usize = 1024;

const WAKER: Token = Token(usize::MAX);

/// What the kernel said of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// Reading will not block: data, end of file or an error.
    pub readable: bool,
    /// Writing will not block: room, or an error.
    pub writable: bool,
    /// The peer's end of file has arrived: reading on until it is seen, even after a short read.
    pub ended: bool,
    /// There is urgent data, which only some sources ask for.
    pub urgent: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        let error = event.is_error();
        Readiness {
            readable: event.is_readable() || event.is_read_closed() || error,
            writable: event.is_writable() || event.is_write_closed() || error,
            ended: event.is_read_closed() || error,
            urgent: event.is_priority(),
        }
    }
}

/// The kernel's poller and the batch of events it filled last.
pub struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    pub fn new() -> io::Result<(Poller, Registrar, Waker)> {
        let poll = Poll::new()?;
        let registrar = Registrar::new(&poll)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let events = Events::with_capacity(EVENTS);
        Ok((Poller { poll, events }, registrar, waker))
    }

    /// Waits for events: not at all with zero, until there is one with `None`. EINTR is an error
    /// answer, so that the caller can run signal handlers and compute its timeout anew.
    pub fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // A failed call must not leave the last batch to be handled twice.
        self.events.clear();
        self.poll.poll(&mut self.events, timeout)
    }

    /// The batch that the last poll filled, the waker's own event left out.
    pub fn events(&self) -> impl Iterator<Item = (Key, Readiness)> + '_ {
        self.events
            .iter()
            .filter(|event| event.token() != WAKER)
            .map(|event| (Key::from_token(event.token()), Readiness::from(event)))
    }

    pub fn is_quiet(&self) -> bool {
        self.events.is_empty()
    }
}
