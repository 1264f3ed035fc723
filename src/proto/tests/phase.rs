use super::super::phase::{
    Actions, Event, IllegalEvent, Lifecycle, Phase, WriteRefused, WriteRules,
};
use super::rng::Rng;

const EVENTS: [Event; 7] = [
    Event::LocalEof,
    Event::WriteDrained,
    Event::PeerEof,
    Event::Close,
    Event::Abort,
    Event::Failed,
    Event::LostDelivered,
];

// What events ask for, by the names that the table has for them.
const STOP: &[Actions] = &[Actions::STOP_READING];
const SHUT: &[Actions] = &[Actions::SHUTDOWN_WRITE];
const CUT: &[Actions] = &[
    Actions::STOP_READING,
    Actions::DROP_OUTPUT,
    Actions::QUEUE_LOST,
];
const DROP: &[Actions] = &[Actions::DROP_OUTPUT, Actions::QUEUE_LOST];
const HANG: &[Actions] = &[Actions::STOP_READING, Actions::QUEUE_LOST];
const LOSE: &[Actions] = &[Actions::QUEUE_LOST];

/// Applies `event` and holds the answer against exactly these actions.
#[track_caller]
fn step(life: &mut Lifecycle, event: Event, phase: Phase, actions: &[Actions]) {
    let answer = life.apply(event).unwrap();
    assert_eq!(life.phase(), phase);
    for known in [
        Actions::STOP_READING,
        Actions::SHUTDOWN_WRITE,
        Actions::DROP_OUTPUT,
        Actions::QUEUE_LOST,
    ] {
        assert_eq!(
            answer.contains(known),
            actions.contains(&known),
            "{known:?} in {answer:?}"
        );
    }
    assert_eq!(answer.is_none(), actions.is_empty());
}

#[test]
fn size_is_two_bytes() {
    assert_eq!(size_of::<Lifecycle>(), 2);
}

#[test]
fn asyncio_close_flushes_then_reports() {
    let mut life = Lifecycle::new();
    assert!(life.may_read() && life.may_send() && !life.is_closing());
    step(&mut life, Event::WriteDrained, Phase::Open, &[]);
    step(&mut life, Event::Close, Phase::Flushing, STOP);
    assert!(life.is_closing() && life.may_send() && !life.may_read());
    // As in selector_events: _conn_lost is still zero, the bytes join those that wait.
    assert_eq!(life.may_write(WriteRules::ASYNCIO), Ok(()));
    step(&mut life, Event::Close, Phase::Flushing, &[]);
    step(&mut life, Event::WriteDrained, Phase::Closing, LOSE);
    assert_eq!(
        life.may_write(WriteRules::ASYNCIO),
        Err(WriteRefused::Closed)
    );
    step(&mut life, Event::Abort, Phase::Closing, &[]);
    step(&mut life, Event::LostDelivered, Phase::Lost, &[]);
    step(&mut life, Event::Abort, Phase::Lost, &[]);
    step(&mut life, Event::Failed, Phase::Lost, &[]);
}

#[test]
fn asyncio_abort_drops() {
    let mut life = Lifecycle::new();
    step(&mut life, Event::Abort, Phase::Closing, CUT);
    assert!(life.is_closing() && !life.may_send() && !life.may_read());

    let mut life = Lifecycle::new();
    step(&mut life, Event::Close, Phase::Flushing, STOP);
    step(&mut life, Event::Abort, Phase::Closing, DROP);
}

#[test]
fn asyncio_write_eof_leaves_after_the_buffer_and_is_remembered() {
    let mut life = Lifecycle::new();
    step(&mut life, Event::LocalEof, Phase::Finishing, &[]);
    assert!(
        life.write_eof_requested() && !life.write_eof_sent() && life.may_read() && life.may_send()
    );
    assert_eq!(
        life.may_write(WriteRules::ASYNCIO),
        Err(WriteRefused::AfterEof)
    );
    step(&mut life, Event::LocalEof, Phase::Finishing, &[]);
    step(&mut life, Event::WriteDrained, Phase::LocalShut, SHUT);
    assert!(life.write_eof_sent() && life.may_read() && !life.may_send());
    step(&mut life, Event::Close, Phase::Closing, HANG);
    // RuntimeError in asyncio, also when the connection is gone.
    assert_eq!(
        life.may_write(WriteRules::ASYNCIO),
        Err(WriteRefused::AfterEof)
    );
    step(&mut life, Event::LostDelivered, Phase::Lost, &[]);
    assert_eq!(
        life.may_write(WriteRules::ASYNCIO),
        Err(WriteRefused::AfterEof)
    );
}

#[test]
fn asyncio_close_after_write_eof_flushes_without_shutdown() {
    let mut life = Lifecycle::new();
    step(&mut life, Event::LocalEof, Phase::Finishing, &[]);
    step(&mut life, Event::Close, Phase::Flushing, STOP);
    assert_eq!(
        life.may_write(WriteRules::ASYNCIO),
        Err(WriteRefused::AfterEof)
    );
    step(&mut life, Event::WriteDrained, Phase::Closing, LOSE);
}

#[test]
fn write_eof_after_close_is_ignored_and_not_remembered() {
    let mut life = Lifecycle::new();
    step(&mut life, Event::Close, Phase::Flushing, STOP);
    step(&mut life, Event::LocalEof, Phase::Flushing, &[]);
    assert!(!life.write_eof_requested());
    assert_eq!(life.may_write(WriteRules::ASYNCIO), Ok(()));
}

#[test]
fn peer_eof_kept_open_then_both_shut_until_closed() {
    let mut life = Lifecycle::new();
    step(&mut life, Event::PeerEof, Phase::PeerShut, STOP);
    assert!(!life.may_read() && life.may_send() && !life.is_closing());
    assert_eq!(life.may_write(WriteRules::ASYNCIO), Ok(()));
    step(&mut life, Event::WriteDrained, Phase::PeerShut, &[]);
    step(&mut life, Event::LocalEof, Phase::PeerShutFinishing, &[]);
    step(&mut life, Event::WriteDrained, Phase::BothShut, SHUT);
    assert!(!life.is_closing() && life.write_eof_sent());
    step(&mut life, Event::Close, Phase::Closing, LOSE);

    let mut life = Lifecycle::new();
    step(&mut life, Event::LocalEof, Phase::Finishing, &[]);
    step(&mut life, Event::PeerEof, Phase::PeerShutFinishing, STOP);
    step(&mut life, Event::Close, Phase::Flushing, &[]);

    let mut life = Lifecycle::new();
    step(&mut life, Event::LocalEof, Phase::Finishing, &[]);
    step(&mut life, Event::WriteDrained, Phase::LocalShut, SHUT);
    step(&mut life, Event::PeerEof, Phase::BothShut, STOP);
    step(&mut life, Event::Failed, Phase::Closing, LOSE);
}

#[test]
fn peer_eof_answered_by_a_close_that_the_callback_made_already() {
    // eof_received() calls transport.abort() and answers None: the close that follows changes nothing.
    let mut life = Lifecycle::new();
    step(&mut life, Event::PeerEof, Phase::PeerShut, STOP);
    step(&mut life, Event::Abort, Phase::Closing, DROP);
    step(&mut life, Event::Close, Phase::Closing, &[]);
}

#[test]
fn twisted_writes_until_drained() {
    // loseConnection: what is written while it flushes still goes out.
    let mut life = Lifecycle::new();
    step(&mut life, Event::Close, Phase::Flushing, STOP);
    assert_eq!(life.may_write(WriteRules::TWISTED), Ok(()));
    step(&mut life, Event::WriteDrained, Phase::Closing, LOSE);
    assert_eq!(
        life.may_write(WriteRules::TWISTED),
        Err(WriteRefused::Closed)
    );

    // loseWriteConnection: the same, up to the shutdown; then loseConnection ends it at once.
    let mut life = Lifecycle::new();
    step(&mut life, Event::LocalEof, Phase::Finishing, &[]);
    assert_eq!(life.may_write(WriteRules::TWISTED), Ok(()));
    let mut both = life;
    step(&mut life, Event::WriteDrained, Phase::LocalShut, SHUT);
    assert_eq!(
        life.may_write(WriteRules::TWISTED),
        Err(WriteRefused::AfterEof)
    );
    step(&mut life, Event::Close, Phase::Closing, HANG);

    step(&mut both, Event::Close, Phase::Flushing, STOP);
    assert_eq!(both.may_write(WriteRules::TWISTED), Ok(()));
}

#[test]
fn tornado_closes_at_once() {
    let mut life = Lifecycle::new();
    assert_eq!(life.may_write(WriteRules::TORNADO), Ok(()));
    step(&mut life, Event::PeerEof, Phase::PeerShut, STOP);
    step(&mut life, Event::Abort, Phase::Closing, DROP);
    assert_eq!(
        life.may_write(WriteRules::TORNADO),
        Err(WriteRefused::Closed)
    );

    let mut flushing = Lifecycle::new();
    step(&mut flushing, Event::Close, Phase::Flushing, STOP);
    assert_eq!(
        flushing.may_write(WriteRules::TORNADO),
        Err(WriteRefused::Closed)
    );
}

#[test]
fn illegal_events_name_phase_and_event_and_change_nothing() {
    let mut life = Lifecycle::new();
    let error = life.apply(Event::LostDelivered).unwrap_err();
    assert_eq!(
        error,
        IllegalEvent {
            phase: Phase::Open,
            event: Event::LostDelivered
        }
    );
    assert_eq!(
        error.to_string(),
        "event LostDelivered cannot happen in phase Open"
    );
    assert_eq!(life, Lifecycle::new());
}

#[test]
fn actions_print_their_names() {
    let mut life = Lifecycle::new();
    assert_eq!(
        format!("{:?}", life.apply(Event::LocalEof).unwrap()),
        "NONE"
    );
    assert_eq!(
        format!("{:?}", life.apply(Event::Abort).unwrap()),
        "STOP_READING | DROP_OUTPUT | QUEUE_LOST"
    );
}

/// The same rules as independent facts instead of a table: two directions, a wish to close, and the end.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)]
struct Model {
    peer_eof: bool,
    eof_asked: bool,
    eof_sent: bool,
    close_asked: bool,
    ended: bool,
    told: bool,
}

impl Model {
    /// Answers (stop reading, shutdown, drop output, queue lost), or `None` for what cannot happen.
    fn apply(&mut self, event: Event) -> Option<[bool; 4]> {
        let reading = !self.peer_eof && !self.close_asked && !self.ended;
        let sending = !self.eof_sent && !self.ended;
        match event {
            Event::LocalEof => {
                if !self.close_asked && !self.ended {
                    self.eof_asked = true;
                }
                Some([false; 4])
            }
            Event::WriteDrained if !sending => None,
            Event::WriteDrained if self.close_asked => {
                self.ended = true;
                Some([false, false, false, true])
            }
            Event::WriteDrained => {
                self.eof_sent = self.eof_asked;
                Some([false, self.eof_asked, false, false])
            }
            Event::PeerEof if !reading => None,
            Event::PeerEof => {
                self.peer_eof = true;
                Some([true, false, false, false])
            }
            Event::Close if self.close_asked || self.ended => Some([false; 4]),
            Event::Close => {
                self.close_asked = true;
                self.ended = self.eof_sent;
                Some([reading, false, false, self.eof_sent])
            }
            Event::Abort | Event::Failed if self.ended => Some([false; 4]),
            Event::Abort | Event::Failed => {
                self.ended = true;
                Some([reading, false, sending, true])
            }
            Event::LostDelivered if self.ended && !self.told => {
                self.told = true;
                Some([false; 4])
            }
            Event::LostDelivered => None,
        }
    }
}

#[test]
fn model() {
    let mut seen = std::collections::HashSet::new();
    for seed in 0..2000 {
        let mut rng = Rng::new(seed);
        let mut life = Lifecycle::new();
        let mut model = Model::default();
        let mut reports = 0;
        for _ in 0..20 {
            let event = EVENTS[rng.below(EVENTS.len())];
            seen.insert((life.phase(), event));
            let before = life;
            match (life.apply(event), model.apply(event)) {
                (Ok(actions), Some(expected)) => {
                    let found = [
                        Actions::STOP_READING,
                        Actions::SHUTDOWN_WRITE,
                        Actions::DROP_OUTPUT,
                        Actions::QUEUE_LOST,
                    ]
                    .map(|action| actions.contains(action));
                    assert_eq!(found, expected, "{event:?} in {before:?}");
                    reports += usize::from(actions.contains(Actions::QUEUE_LOST));
                }
                (Err(error), None) => {
                    assert_eq!(
                        error,
                        IllegalEvent {
                            phase: before.phase(),
                            event
                        }
                    );
                    assert_eq!(life, before);
                }
                (found, expected) => {
                    panic!("{event:?} in {before:?}: {found:?}, expected {expected:?}")
                }
            }
            assert_eq!(
                life.may_read(),
                !model.peer_eof && !model.close_asked && !model.ended
            );
            assert_eq!(life.may_send(), !model.eof_sent && !model.ended);
            assert_eq!(life.is_closing(), model.close_asked || model.ended);
            assert_eq!(life.write_eof_requested(), model.eof_asked);
            assert_eq!(life.write_eof_sent(), model.eof_sent && !model.ended);
            let asyncio = life.may_write(WriteRules::ASYNCIO);
            assert_eq!(asyncio.is_ok(), !model.eof_asked && !model.ended);
            assert_eq!(life.may_write(WriteRules::TWISTED).is_ok(), life.may_send());
        }
        assert_eq!(
            reports,
            usize::from(model.ended),
            "the end is reported once"
        );
    }
    assert_eq!(
        seen.len(),
        9 * EVENTS.len(),
        "every cell of the table was visited"
    );
}
