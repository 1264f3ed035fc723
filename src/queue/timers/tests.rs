use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Entry, KEPT, STALE_MIN, TimerKey, Timers};

/// A small generator (xorshift64*), so that random tests need no dependency and repeat exactly.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }
}

/// Few distinct values, so that equal deadlines are common.
fn deadline(rng: &mut Rng) -> f64 {
    f64::from(u8::try_from(rng.below(40)).unwrap()) - 10.0
}

/// The heap's promises, checked over the whole of it.
fn check<T>(timers: &Timers<T>) {
    for (at, entry) in timers.heap.iter().enumerate().skip(1) {
        assert!(
            !entry.before(&timers.heap[(at - 1) / super::ARITY]),
            "a child before its parent"
        );
    }
    let named = timers.heap.iter().filter(|entry| !timers.is_stale(entry));
    assert_eq!(
        named.clone().count(),
        timers.live,
        "one entry for each live timer"
    );
    for entry in named {
        let slot = &timers.slots[entry.index as usize];
        assert!(slot.value.is_some());
        assert!(
            (entry.rank, entry.seq) <= (slot.rank, slot.seq),
            "an entry after its timer"
        );
    }
    let stale = timers.heap.len() - timers.live;
    assert!(
        stale < STALE_MIN || stale <= timers.live,
        "{stale} stale of {}",
        timers.heap.len()
    );
}

fn drain(timers: &mut Timers<&'static str>, end: f64) -> Vec<&'static str> {
    std::iter::from_fn(|| timers.pop_due(end))
        .map(|(_, _, value)| value)
        .collect()
}

#[test]
fn sizes() {
    assert_eq!(size_of::<Entry>(), 24);
    assert_eq!(size_of::<TimerKey>(), 8);
    assert_eq!(size_of::<super::Slot<Box<u8>>>(), 40);
}

#[test]
fn fires_by_deadline_then_by_insertion_and_the_past_is_not_clamped() {
    let mut timers = Timers::new();
    for (deadline, name) in [
        (1.0, "c"),
        (-1.0, "b"),
        (1.0, "d"),
        (-2.0, "a"),
        (f64::INFINITY, "never"),
        (2.0, "e"),
    ] {
        let _ = timers.insert(deadline, name);
    }
    assert_eq!(timers.peek_deadline(), Some(-2.0));
    assert_eq!(
        drain(&mut timers, 2.0),
        ["a", "b", "c", "d"],
        "at its deadline a timer is not due"
    );
    assert_eq!(drain(&mut timers, f64::INFINITY), ["e"]);
    assert_eq!(
        (timers.len(), timers.peek_deadline()),
        (1, Some(f64::INFINITY))
    );
}

#[test]
fn odd_deadlines() {
    let mut timers = Timers::new();
    for (deadline, name) in [
        (0.0, "zero"),
        (-0.0, "minus zero"),
        (f64::MAX, "max"),
        (f64::MIN_POSITIVE, "tiny"),
    ] {
        let _ = timers.insert(deadline, name);
    }
    let nan = timers.insert(f64::NAN, "nan");
    assert_eq!(timers.deadline(nan), Some(f64::NEG_INFINITY));
    assert_eq!(drain(&mut timers, f64::NAN), [""; 0]);
    assert_eq!(
        drain(&mut timers, f64::INFINITY),
        ["nan", "zero", "minus zero", "tiny", "max"]
    );
    for deadline in [
        -1.5,
        0.0,
        1e-300,
        1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -1e300,
    ] {
        assert_eq!(
            super::unrank(super::rank(deadline)).to_bits(),
            f64::to_bits(deadline)
        );
    }
}

#[test]
fn a_key_dies_with_its_timer() {
    let mut timers = Timers::new();
    let first = timers.insert(1.0, "first");
    assert_eq!(
        (timers.get(first), timers.deadline(first)),
        (Some(&"first"), Some(1.0))
    );
    assert_eq!(timers.cancel(first), Some("first"));
    assert_eq!(timers.cancel(first), None);
    // The slot is used again, the key is not.
    let second = timers.insert(2.0, "second");
    assert_ne!(first, second);
    assert_eq!(first.index, second.index);
    assert_eq!(timers.cancel(first), None);
    assert_eq!((timers.get(first), timers.deadline(first)), (None, None));
    assert!(!timers.reschedule(first, 0.0));
    assert_eq!(timers.pop_due(3.0), Some((second, 2.0, "second")));
    assert_eq!(timers.cancel(second), None);
    assert!(!timers.reschedule(second, 0.0));
    assert!(timers.is_empty() && timers.peek_deadline().is_none());
}

#[test]
fn a_key_dies_also_when_its_slot_was_given_back() {
    let mut timers = Timers::new();
    let keys: Vec<_> = (0..=KEPT).map(|_| timers.insert(1.0, "old")).collect();
    while timers.pop_due(2.0).is_some() {}
    assert!(timers.slots.is_empty());
    for _ in 0..=KEPT {
        let _ = timers.insert(1.0, "new");
    }
    assert!(
        keys.iter()
            .all(|key| timers.get(*key).is_none() && !timers.reschedule(*key, 0.0))
    );
}

#[test]
fn reschedule_keeps_the_key_and_counts_as_scheduled_anew() {
    let mut timers = Timers::new();
    let moved = timers.insert(1.0, "moved");
    let _ = timers.insert(1.0, "b");
    let _ = timers.insert(3.0, "c");
    // To the same deadline: behind the one that was there.
    assert!(timers.reschedule(moved, 1.0));
    let order: Vec<_> = timers.iter_sorted().map(|(_, _, name)| *name).collect();
    assert_eq!(order, ["b", "moved", "c"]);
    // Later: no entry is added.
    assert!(timers.reschedule(moved, 5.0));
    assert_eq!((timers.heap_len(), timers.deadline(moved)), (3, Some(5.0)));
    check(&timers);
    assert_eq!(drain(&mut timers, 4.0), ["b", "c"]);
    // Earlier.
    let _ = timers.insert(4.0, "d");
    assert!(timers.reschedule(moved, 2.0));
    check(&timers);
    assert_eq!(timers.pop_due(9.0), Some((moved, 2.0, "moved")));
    assert_eq!(drain(&mut timers, 9.0), ["d"]);
}

#[test]
fn a_timer_put_off_again_and_again_stays_one_entry() {
    let mut timers = Timers::new();
    let key = timers.insert(0.0, "timeout");
    let _ = timers.insert(0.5, "other");
    for step in 1..10_000 {
        assert!(timers.reschedule(key, f64::from(step)));
        assert_eq!(timers.heap_len(), 2);
    }
    assert_eq!(timers.peek_deadline(), Some(0.5));
    assert_eq!(drain(&mut timers, 9_999.0), ["other"]);
    assert_eq!(drain(&mut timers, 10_000.0), ["timeout"]);
}

#[test]
fn a_timer_moved_ahead_again_and_again_does_not_fill_the_heap() {
    let mut alone = Timers::new();
    let key = alone.insert(0.0, "alone");
    for step in 1..100 {
        assert!(alone.reschedule(key, -f64::from(step)));
        assert_eq!(alone.heap_len(), 1, "the last leaf is replaced");
    }

    let mut timers = Timers::new();
    let key = timers.insert(0.0, "timeout");
    let _ = timers.insert(0.5, "other");
    for step in 1..10_000 {
        assert!(timers.reschedule(key, -f64::from(step)));
        check(&timers);
    }
    assert_eq!(drain(&mut timers, 1.0), ["timeout", "other"]);
}

#[test]
fn cancelled_timers_leave_the_heap() {
    // One after the other, with a timer that stays and is due first, last, or in between.
    for stays in [-1.0, 5.0, 1e9] {
        let mut timers = Timers::new();
        let _ = timers.insert(stays, "stays");
        for step in 0..100_000 {
            let key = timers.insert(f64::from(step % 10), "timeout");
            assert_eq!(timers.cancel(key), Some("timeout"));
            assert!(timers.heap_len() <= STALE_MIN + 1);
        }
        assert!(timers.slots.len() <= 2 && timers.heap.capacity() <= KEPT);
    }
    // All at once: first inserted first, last inserted first.
    for reversed in [false, true] {
        let mut timers = Timers::new();
        let stays = timers.insert(0.5, "stays");
        let mut keys: Vec<_> = (0..100_000)
            .map(|step| timers.insert(f64::from(step), "timeout"))
            .collect();
        if reversed {
            keys.reverse();
        }
        for key in keys {
            assert_eq!(timers.cancel(key), Some("timeout"));
            let (live, heap) = (timers.len(), timers.heap_len());
            assert!(heap <= live + live.max(STALE_MIN));
        }
        assert!(
            timers.heap.capacity() <= 2 * KEPT,
            "room for {} entries",
            timers.heap.capacity()
        );
        assert_eq!(timers.pop_due(1.0), Some((stays, 0.5, "stays")));
        assert!(timers.heap.capacity() <= 2 * KEPT && timers.slots.capacity() <= KEPT);
    }
}

#[test]
fn insert_and_cancel_do_not_allocate_when_warm() {
    let mut timers = Timers::new();
    let _ = timers.insert(0.0, "stays");
    for round in 0..3 {
        let capacities = (timers.slots.capacity(), timers.heap.capacity());
        for step in 0..1000 {
            let key = timers.insert(f64::from(1000 - step), "timeout");
            assert_eq!(timers.cancel(key), Some("timeout"));
            assert_eq!(timers.heap_len(), 1, "the last leaf leaves at once");
        }
        if round > 0 {
            assert_eq!(
                (timers.slots.capacity(), timers.heap.capacity()),
                capacities
            );
        }
    }
}

/// A value that notes its own drop.
#[derive(Debug)]
struct Noted(Rc<Cell<usize>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn nothing_is_dropped_inside() {
    let drops = Rc::new(Cell::new(0));
    let mut timers = Timers::new();
    let mut kept = Vec::new();
    for round in 0..3 {
        let keys: Vec<_> = (0..3000)
            .map(|step| timers.insert(f64::from(step), Noted(Rc::clone(&drops))))
            .collect();
        for key in keys.iter().step_by(2) {
            assert!(timers.reschedule(*key, 1.0));
        }
        for key in keys.iter().step_by(3) {
            kept.extend(timers.cancel(*key));
        }
        while let Some((_, _, value)) = timers.pop_due(2000.0) {
            kept.push(value);
        }
        if round == 1 {
            kept.extend(timers.clear());
            assert!(timers.is_empty() && timers.heap_len() == 0);
        }
    }
    kept.extend(timers.clear());
    assert_eq!((drops.get(), kept.len()), (0, 9000));
}

#[test]
fn iterates_over_what_is_live() {
    let mut timers = Timers::new();
    let keys: Vec<_> = [3.0, 1.0, 2.0, 1.0]
        .into_iter()
        .zip(["a", "b", "c", "d"])
        .map(|(d, n)| timers.insert(d, n))
        .collect();
    assert_eq!(timers.cancel(keys[2]), Some("c"));
    let sorted: Vec<_> = timers.iter_sorted().collect();
    assert_eq!(
        sorted,
        [
            (keys[1], 1.0, &"b"),
            (keys[3], 1.0, &"d"),
            (keys[0], 3.0, &"a")
        ]
    );
    let mut any: Vec<_> = timers.iter().map(|(key, _, name)| (*name, key)).collect();
    any.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(any, [("a", keys[0]), ("b", keys[1]), ("d", keys[3])]);
    assert_eq!(timers.values().count(), 3);
}

#[test]
fn model() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut timers = Timers::new();
        // By (deadline in whole numbers, order of scheduling), the name.
        let mut model: BTreeMap<(i64, usize), usize> = BTreeMap::new();
        // By name: the key, and the place in the model while it lives.
        let mut made: Vec<(TimerKey, Option<(i64, usize)>)> = Vec::new();
        // Some runs mostly grow, some mostly shrink.
        let growth = 2 + rng.below(6);
        for step in 0..2000 {
            let deadline = deadline(&mut rng);
            #[allow(clippy::cast_possible_truncation)]
            let place = (deadline as i64, step);
            match rng.below(10) {
                choice if choice < growth => {
                    let name = made.len();
                    made.push((timers.insert(deadline, name), Some(place)));
                    model.insert(place, name);
                }
                choice @ 2..8 if !made.is_empty() => {
                    // Mostly a recent one, as timeouts are.
                    let name = made.len()
                        - 1
                        - rng.below(made.len().min(if choice == 2 { usize::MAX } else { 50 }));
                    let (key, old) = &mut made[name];
                    if choice % 2 == 0 {
                        assert_eq!(timers.cancel(*key), old.map(|_| name));
                        old.take().map(|old| model.remove(&old));
                    } else {
                        assert_eq!(timers.reschedule(*key, deadline), old.is_some());
                        if let Some(old) = old {
                            model.remove(old);
                            model.insert(place, name);
                            *old = place;
                        }
                    }
                }
                8 => {
                    let end = deadline - 8.0;
                    while let Some((key, when, name)) = timers.pop_due(end) {
                        let ((first, _), expected) = model.pop_first().unwrap();
                        #[allow(clippy::cast_possible_truncation)]
                        let found = (when as i64, name);
                        assert_eq!(found, (first, expected));
                        assert_eq!((key, made[name].1.take().is_some()), (made[name].0, true));
                    }
                    #[allow(clippy::cast_precision_loss)]
                    let next = model.keys().next().map(|(first, _)| *first as f64);
                    assert!(next.is_none_or(|next| next >= end));
                }
                _ => {
                    #[allow(clippy::cast_precision_loss)]
                    let next = model.keys().next().map(|(first, _)| *first as f64);
                    assert_eq!(timers.peek_deadline(), next);
                }
            }
            check(&timers);
            assert_eq!(timers.len(), model.len());
            if step % 50 == 0 {
                assert!(
                    timers
                        .iter_sorted()
                        .map(|(_, _, name)| name)
                        .eq(model.values())
                );
            }
        }
        let mut left = timers.clear();
        left.sort_unstable();
        let mut expected: Vec<_> = model.into_values().collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}

#[test]
fn tickets_are_told_from_keys() {
    let mut timers = Timers::new();
    let first = timers.insert(1.0, "first");
    let ticket = timers.ticket();
    let second = timers.insert(1.0, "second");
    assert_ne!(ticket, first.ticket());
    assert_ne!(ticket, second.ticket());
    // A timer that is put off stays the same scheduling; one that takes its place is another.
    let before = first.ticket();
    assert!(timers.reschedule(first, 2.0));
    assert_eq!(first.ticket(), before);
    assert_eq!(timers.cancel(first), Some("first"));
    let third = timers.insert(1.0, "third");
    assert_ne!(third.ticket(), before);
    assert_ne!(third.ticket(), timers.ticket());
}
