//! A connection's life as one table: nine phases, seven events, what follows.
//!
//! ```text
//!            LocalEof             WriteDrained (FIN)
//!   Open ───────────► Finishing ───────────► LocalShut      peer still sends
//!    │ PeerEof            │ PeerEof             │ PeerEof
//!    ▼                    ▼                     ▼
//!   PeerShut ───────► PeerShutFinishing ───► BothShut       peer sent EOF, the host keeps the connection
//!
//!   any of these: Close ──► Flushing ── WriteDrained ──► Closing ── LostDelivered ──► Lost
//!                 Abort, Failed ───────────────────────►
//! ```
//!
//! **The peer's EOF and its answer are two steps.** Whether a connection outlives the peer's EOF is decided by Python
//! (`eof_received`, `IHalfCloseableProtocol`), and Python can re-enter. So the state changes first: feed
//! [`Event::PeerEof`], which stops reading, *then* ask, then feed what the host makes of the answer: nothing (keep it
//! half open), [`Event::Close`] (asyncio: flush, then lost) or [`Event::Abort`] (Twisted without half-close, Tornado:
//! lost at once). If the answer was pre-empted by a close from inside the callback, the second event is ignored.
//!
//! **Draining is an event too.** `Close` and `LocalEof` do not ask whether anything is buffered: whoever feeds them
//! follows with [`Event::WriteDrained`] if the buffer is empty already. "Drained" means that nothing is buffered *and*
//! nobody who feeds the buffer is registered (Twisted's `loseConnection` waits for its producer).
//!
//! **Why the connection ends** (a clean close, an exception, an abort) is not kept here: the stream keeps the first
//! reason, the one at hand when [`Actions::QUEUE_LOST`] is answered.

use std::fmt;

/// Where in its life a connection is. One byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Phase {
    /// Bytes go both ways.
    #[default]
    Open,
    /// The host has asked for EOF; what is buffered goes out first. Still reading.
    Finishing,
    /// Half-closed by us: the write direction is shut down. Still reading.
    LocalShut,
    /// Half-closed by the peer: no more reads. Still writing.
    PeerShut,
    /// [`Phase::PeerShut`] and [`Phase::Finishing`] at once.
    PeerShutFinishing,
    /// Both directions are shut down, and the host has not closed yet: asyncio and Twisted wait for it.
    BothShut,
    /// The host has closed; what is buffered goes out first. Not reading.
    Flushing,
    /// The end is decided and its report is due. Nothing moves any more.
    Closing,
    /// The host has been told.
    Lost,
}

/// What can happen to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Event {
    /// `write_eof()`, `loseWriteConnection()`.
    LocalEof,
    /// The write buffer is empty and has no producer. Cheap to report more often than needed while writing is open.
    WriteDrained,
    /// The peer's EOF was read. Report it before the host is asked what to do about it.
    PeerEof,
    /// `close()`, `loseConnection()`: end the connection once the buffer is flushed.
    Close,
    /// `abort()`, `abortConnection()`, Tornado's `close()`: end the connection, what is buffered is dropped.
    Abort,
    /// A system call or a callback failed.
    Failed,
    /// The report of the end is about to be made. Feed it before the call, so that it happens once.
    LostDelivered,
}

/// What the stream must do after an event, as a set. The stream updates its own state for all of them before it calls
/// anything.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(u8);

impl Actions {
    /// Nothing to do.
    pub const NONE: Self = Self(0);
    /// No read may be started any more; drop the read interest.
    pub const STOP_READING: Self = Self(1);
    /// `shutdown(SHUT_WR)` now: all bytes are out. Its error, if any, is to be ignored as all three hosts do.
    pub const SHUTDOWN_WRITE: Self = Self(2);
    /// Throw the write buffer away.
    pub const DROP_OUTPUT: Self = Self(4);
    /// Arrange for the report of the end: asyncio by `call_soon`, Twisted and Tornado in their own ways.
    pub const QUEUE_LOST: Self = Self(8);

    /// Are all of `other` in this set?
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is there nothing to do?
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::STOP_READING, "STOP_READING"),
            (Self::SHUTDOWN_WRITE, "SHUTDOWN_WRITE"),
            (Self::DROP_OUTPUT, "DROP_OUTPUT"),
            (Self::QUEUE_LOST, "QUEUE_LOST"),
        ];
        let mut separator = "";
        for (_, name) in names.iter().filter(|(action, _)| self.contains(*action)) {
            write!(f, "{separator}{name}")?;
            separator = " | ";
        }
        if self.is_none() {
            f.write_str("NONE")
        } else {
            Ok(())
        }
    }
}

/// One cell of the table.
#[derive(Clone, Copy)]
enum Cell {
    /// Enter that phase and do that.
    To(Phase, Actions),
    /// Legal and without effect, as the hosts' own calls are (`close()` twice).
    Stay,
    /// Cannot happen; a bug of the stream above if it does.
    Illegal,
}

const PHASES: usize = Phase::Lost as usize + 1;
const EVENTS: usize = Event::LostDelivered as usize + 1;

/// The law. Rows are phases and columns events, both in the order of their declaration.
#[rustfmt::skip]
const TABLE: [[Cell; EVENTS]; PHASES] = {
    use Cell::{Illegal, Stay, To};
    use Phase::{BothShut, Closing, Finishing, Flushing, LocalShut, Lost, PeerShut, PeerShutFinishing};

    const NIL: Actions = Actions::NONE;
    const STOP: Actions = Actions::STOP_READING;
    const SHUT: Actions = Actions::SHUTDOWN_WRITE;
    // There is still something to flush, and it is read from as well.
    const CUT: Actions = Actions::STOP_READING.and(Actions::DROP_OUTPUT).and(Actions::QUEUE_LOST);
    // Reading has been stopped before.
    const DROP: Actions = Actions::DROP_OUTPUT.and(Actions::QUEUE_LOST);
    // Everything is out, and it is read from.
    const HANG: Actions = Actions::STOP_READING.and(Actions::QUEUE_LOST);
    const LOSE: Actions = Actions::QUEUE_LOST;
    [
        //                       LocalEof                     WriteDrained         PeerEof                      Close                Abort                Failed               LostDelivered
        /* Open              */ [To(Finishing, NIL),          Stay,                To(PeerShut, STOP),          To(Flushing, STOP),  To(Closing, CUT),    To(Closing, CUT),    Illegal],
        /* Finishing         */ [Stay,                        To(LocalShut, SHUT), To(PeerShutFinishing, STOP), To(Flushing, STOP),  To(Closing, CUT),    To(Closing, CUT),    Illegal],
        /* LocalShut         */ [Stay,                        Illegal,             To(BothShut, STOP),          To(Closing, HANG),   To(Closing, HANG),   To(Closing, HANG),   Illegal],
        /* PeerShut          */ [To(PeerShutFinishing, NIL),  Stay,                Illegal,                     To(Flushing, NIL),   To(Closing, DROP),   To(Closing, DROP),   Illegal],
        /* PeerShutFinishing */ [Stay,                        To(BothShut, SHUT),  Illegal,                     To(Flushing, NIL),   To(Closing, DROP),   To(Closing, DROP),   Illegal],
        /* BothShut          */ [Stay,                        Illegal,             Illegal,                     To(Closing, LOSE),   To(Closing, LOSE),   To(Closing, LOSE),   Illegal],
        /* Flushing          */ [Stay,                        To(Closing, LOSE),   Illegal,                     Stay,                To(Closing, DROP),   To(Closing, DROP),   Illegal],
        /* Closing           */ [Stay,                        Illegal,             Illegal,                     Stay,                Stay,                Stay,                To(Lost, NIL)],
        /* Lost              */ [Stay,                        Illegal,             Illegal,                     Stay,                Stay,                Stay,                Illegal],
    ]
};

/// An event that cannot happen in a phase: a bug in the stream that reported it. The phase is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IllegalEvent {
    /// The phase the connection was (and is) in.
    pub phase: Phase,
    /// What was reported.
    pub event: Event,
}

impl fmt::Display for IllegalEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {:?} cannot happen in phase {:?}",
            self.event, self.phase
        )
    }
}

impl std::error::Error for IllegalEvent {}

/// Until when a host may add bytes to the write buffer. Plain data, chosen by the face.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteRules {
    /// After EOF was asked for, as long as it has not left (Twisted: `loseWriteConnection` marks, the drain shuts).
    pub until_eof_sent: bool,
    /// After a close, as long as the buffer has not drained.
    pub while_flushing: bool,
}

impl WriteRules {
    /// A write after `write_eof()` is an error; one after `close()` still goes out if earlier bytes are waiting.
    pub const ASYNCIO: Self = Self {
        until_eof_sent: false,
        while_flushing: true,
    };
    /// Writes are accepted until the buffer has drained, whatever it drains for.
    pub const TWISTED: Self = Self {
        until_eof_sent: true,
        while_flushing: true,
    };
    /// Tornado closes at once and has no half-close.
    pub const TORNADO: Self = Self {
        until_eof_sent: false,
        while_flushing: false,
    };
}

/// Why bytes are not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteRefused {
    /// The host has ended this direction itself (asyncio raises).
    AfterEof,
    /// A file is being sent; nothing may come between its bytes (asyncio raises).
    SendsFile,
    /// The connection is closing or lost (asyncio counts and warns, Twisted ignores, Tornado: `StreamClosedError`).
    Closed,
}

/// The phase of one connection, and the one fact of its past that closing would forget. Two bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lifecycle {
    phase: Phase,
    /// EOF was asked for while that had an effect. Kept through closing, since asyncio answers a later `write` by it.
    eof_requested: bool,
}

impl Lifecycle {
    /// A connection that is open in both directions.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            phase: Phase::Open,
            eof_requested: false,
        }
    }

    /// Takes an event, changes the phase and answers what to do about it.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the event cannot happen in this phase, which is then unchanged.
    pub const fn apply(&mut self, event: Event) -> Result<Actions, IllegalEvent> {
        match TABLE[self.phase as usize][event as usize] {
            Cell::To(next, actions) => {
                if matches!(event, Event::LocalEof) {
                    self.eof_requested = true;
                }
                self.phase = next;
                Ok(actions)
            }
            Cell::Stay => Ok(Actions::NONE),
            Cell::Illegal => Err(IllegalEvent {
                phase: self.phase,
                event,
            }),
        }
    }

    /// The phase.
    #[must_use]
    pub const fn phase(self) -> Phase {
        self.phase
    }

    /// May the socket be read? (Whether the host has paused reading is not known here.)
    #[must_use]
    pub const fn may_read(self) -> bool {
        matches!(
            self.phase,
            Phase::Open | Phase::Finishing | Phase::LocalShut
        )
    }

    /// Are bytes of the host accepted into the write buffer?
    ///
    /// # Errors
    /// The reason why not. Having ended the direction itself comes before the connection's end, as in asyncio.
    pub const fn may_write(self, rules: WriteRules) -> Result<(), WriteRefused> {
        let accepted = match self.phase {
            Phase::Open | Phase::PeerShut => true,
            Phase::Finishing | Phase::PeerShutFinishing => rules.until_eof_sent,
            Phase::Flushing => {
                rules.while_flushing && (rules.until_eof_sent || !self.eof_requested)
            }
            Phase::LocalShut | Phase::BothShut | Phase::Closing | Phase::Lost => false,
        };
        if accepted {
            Ok(())
        } else if self.eof_requested {
            Err(WriteRefused::AfterEof)
        } else {
            Err(WriteRefused::Closed)
        }
    }

    /// May buffered bytes be sent to the socket?
    #[must_use]
    pub const fn may_send(self) -> bool {
        matches!(
            self.phase,
            Phase::Open
                | Phase::Finishing
                | Phase::PeerShut
                | Phase::PeerShutFinishing
                | Phase::Flushing
        )
    }

    /// Has the host closed, or the connection ended otherwise? (asyncio's `is_closing()`.)
    #[must_use]
    pub const fn is_closing(self) -> bool {
        matches!(self.phase, Phase::Flushing | Phase::Closing | Phase::Lost)
    }

    /// Has the host asked for EOF? True from the request on, also after the end.
    #[must_use]
    pub const fn write_eof_requested(self) -> bool {
        self.eof_requested
    }

    /// Is the write direction shut down while the connection stands (half-closed by us)?
    #[must_use]
    pub const fn write_eof_sent(self) -> bool {
        matches!(self.phase, Phase::LocalShut | Phase::BothShut)
    }
}
