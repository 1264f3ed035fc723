//! Timers: a heap of deadlines over a slab of values.
//!
//! The busiest use of a loop's timers is a timeout that never fires: made, and cancelled a moment later. So a
//! cancellation does not search the heap. It takes the value out of its slot and leaves the heap's entry behind as
//! *stale*; entries that are stale go when they come by at either end of the heap, and all at once when they are more
//! than half of it. What never happens is that cancelled timers pile up: at most [`STALE_MIN`] of them, or as many as
//! there are live ones, wait in the heap, 24 bytes each, and their values are gone already.
//!
//! The other busy use is a timeout that is put off with every message (Twisted's `resetTimeout`). Moving a timer to a
//! later deadline leaves its entry where it is, as an *early* one; when it comes to the head it moves to its place.
//!
//! So a slot and its entry relate by the entry's `seq`, unique over the life of the heap: an entry whose slot does not
//! name it is stale, and every live slot has exactly one entry, with a deadline no later than the slot's own.
//!
//! **Order.** By deadline, then by the order of scheduling (a reschedule counts as scheduling anew). A deadline is not
//! compared with now before: one further in the past runs first.
//!
//! **Nothing is dropped in here.** Values leave through return values, since the drop of a Python object can run code
//! that sets or cancels timers.

#[cfg(test)]
mod tests;

/// The fewest stale entries worth a compaction.
pub const STALE_MIN: usize = 64;

/// Slots and entries that are kept when the last timer goes; more than that is given back.
const KEPT: usize = 1024;

/// Children per node. Four make a heap half as deep as two, and the four are neighbours in memory.
const ARITY: usize = 4;

/// The end of the list of vacant slots.
const NONE: u32 = u32::MAX;

/// Names a timer while it is scheduled. A key outlives its timer harmlessly: it then matches nothing (a slot's next
/// timer has another generation, for the next four thousand million timers).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

impl TimerKey {
    /// The ticket of its scheduling; see [`Timers::ticket`].
    #[must_use]
    pub const fn ticket(self) -> u32 {
        self.generation
    }
}

/// What the heap orders. 24 bytes.
#[derive(Clone, Copy)]
struct Entry {
    /// The deadline, see [`rank`].
    rank: i64,
    seq: u64,
    index: u32,
}

impl Entry {
    const fn before(&self, other: &Self) -> bool {
        self.rank < other.rank || (self.rank == other.rank && self.seq < other.seq)
    }
}

/// A timer, or a place for one.
struct Slot<T> {
    /// The deadline in force, as a rank, and the place among equal deadlines.
    rank: i64,
    seq: u64,
    /// The `seq` of the heap's entry for this slot; less than `seq` after it was put off.
    entry_seq: u64,
    /// Of the timer here, or of the last one that was. The low half of the `seq` it was inserted with, which is what
    /// allows slots to be given back: a new slot cannot repeat the generations of an earlier one in its place.
    generation: u32,
    /// The next vacant slot, if this one is vacant.
    next_vacant: u32,
    /// `None` if vacant.
    value: Option<T>,
}

/// Scheduled values of type `T`, by deadline.
pub struct Timers<T> {
    slots: Vec<Slot<T>>,
    heap: Vec<Entry>,
    /// Head of the list of vacant slots; last out, first in, so that a busy slot stays in the cache.
    vacant: u32,
    live: usize,
    /// The last one given. Zero is never given.
    seq: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    /// No timers. Does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            heap: Vec::new(),
            vacant: NONE,
            live: 0,
            seq: 0,
        }
    }

    /// How many timers are scheduled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Is no timer scheduled?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many entries the heap holds, stale ones included.
    #[must_use]
    pub const fn heap_len(&self) -> usize {
        self.heap.len()
    }

    /// Schedules `value`. A `deadline` that is no number is due at once, as it is for asyncio (`not when >= end`).
    #[must_use = "without its key a timer cannot be cancelled"]
    pub fn insert(&mut self, deadline: f64, value: T) -> TimerKey {
        let (rank, seq) = (rank(deadline), self.next_seq());
        #[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
        let generation = seq as u32;
        let slot = Slot {
            rank,
            seq,
            entry_seq: seq,
            generation,
            next_vacant: NONE,
            value: Some(value),
        };
        let index = self.vacant;
        let index = if let Some(place) = self.slots.get_mut(index as usize) {
            self.vacant = place.next_vacant;
            // The overwritten value is `None`: nothing is dropped.
            *place = slot;
            index
        } else {
            #[allow(clippy::cast_possible_truncation)] // 2^32 slots would be 200 GiB
            let index = self.slots.len() as u32;
            self.slots.push(slot);
            index
        };
        self.live += 1;
        self.push(Entry { rank, seq, index });
        TimerKey { index, generation }
    }

    /// Takes a timer out; `None` if it is gone already (fired or cancelled).
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let value = self.vacate(key)?;
        // Right after its insertion an entry is mostly still the last leaf, and leaves for free.
        self.drop_stale_leaves();
        self.compact_if_due();
        Some(value)
    }

    /// A number that no scheduled timer's key has, nor gets for the next four thousand million timers: for what does not
    /// wait for a time, but shares with timers what tells one scheduling from another.
    #[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
    pub const fn ticket(&mut self) -> u32 {
        self.next_seq() as u32
    }

    /// Moves a timer to another deadline, after those already scheduled for that same one. The key stays valid. False
    /// if the timer is gone already.
    pub fn reschedule(&mut self, key: TimerKey, deadline: f64) -> bool {
        let (rank, seq) = (rank(deadline), self.next_seq());
        let Some(slot) = self
            .slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.is(key))
        else {
            return false;
        };
        let later = rank >= slot.rank;
        (slot.rank, slot.seq) = (rank, seq);
        // The entry's own deadline is no later than the slot's was, so it still comes by in time.
        if !later {
            slot.entry_seq = seq;
            self.drop_stale_leaves();
            self.push(Entry {
                rank,
                seq,
                index: key.index,
            });
            self.compact_if_due();
        }
        true
    }

    /// The value of a timer.
    #[must_use]
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        self.slot(key)?.value.as_ref()
    }

    /// The deadline of a timer.
    #[must_use]
    pub fn deadline(&self, key: TimerKey) -> Option<f64> {
        self.slot(key).map(|slot| unrank(slot.rank))
    }

    /// The earliest deadline.
    pub fn peek_deadline(&mut self) -> Option<f64> {
        self.settle_head().map(|head| unrank(head.rank))
    }

    /// Takes out the first timer if it is due, that is if its deadline is before `end` (asyncio's rule; at `end` it is
    /// not due). Answers the key it had, its deadline and its value.
    pub fn pop_due(&mut self, end: f64) -> Option<(TimerKey, f64, T)> {
        let head = self.settle_head()?;
        if head.rank >= rank(end) {
            return None;
        }
        self.pop_head();
        let key = TimerKey {
            index: head.index,
            generation: self.slots.get(head.index as usize)?.generation,
        };
        let value = self.vacate(key)?;
        self.compact_if_due();
        Some((key, unrank(head.rank), value))
    }

    /// All timers in no order.
    pub fn iter(&self) -> impl Iterator<Item = (TimerKey, f64, &T)> {
        self.live_slots()
            .map(|(key, slot, value)| (key, unrank(slot.rank), value))
    }

    /// All timers in the order in which they will fire.
    #[must_use]
    pub fn iter_sorted(&self) -> std::vec::IntoIter<(TimerKey, f64, &T)> {
        let mut all: Vec<_> = self.live_slots().collect();
        all.sort_unstable_by_key(|(_, slot, _)| (slot.rank, slot.seq));
        all.into_iter()
            .map(|(key, slot, value)| (key, unrank(slot.rank), value))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// All values in no order: for garbage collection.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// Takes all timers out, in no order, and gives all memory back.
    #[must_use = "the values must be dropped outside of any borrow"]
    pub fn clear(&mut self) -> Vec<T> {
        self.live = 0;
        self.vacant = NONE;
        self.heap = Vec::new();
        std::mem::take(&mut self.slots)
            .into_iter()
            .filter_map(|slot| slot.value)
            .collect()
    }

    fn live_slots(&self) -> impl Iterator<Item = (TimerKey, &Slot<T>, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((
                TimerKey {
                    index,
                    generation: slot.generation,
                },
                slot,
                value,
            ))
        })
    }

    fn slot(&self, key: TimerKey) -> Option<&Slot<T>> {
        self.slots
            .get(key.index as usize)
            .filter(|slot| slot.is(key))
    }

    const fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Empties a slot. Its entry in the heap, if it is still there, becomes stale.
    fn vacate(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.entry_seq = 0;
        slot.next_vacant = self.vacant;
        self.vacant = key.index;
        self.live -= 1;
        if self.live == 0 {
            // The heap is stale as a whole.
            self.heap.clear();
            if self.slots.len() > KEPT {
                self.slots = Vec::new();
                self.vacant = NONE;
            }
        }
        // A burst's room is given back once three quarters of it are unused, which the timers that left have paid for.
        let room = self.heap.capacity();
        if room > KEPT && self.heap.len() <= room / 4 {
            self.heap.shrink_to(KEPT.max(2 * self.heap.len()));
        }
        Some(value)
    }
}

/// The heap. It is our own since the standard one gives no access to its last leaf.
impl<T> Timers<T> {
    fn is_stale(&self, entry: &Entry) -> bool {
        // A slot that was given back is one that does not name the entry either.
        self.slots
            .get(entry.index as usize)
            .is_none_or(|slot| slot.entry_seq != entry.seq)
    }

    fn push(&mut self, entry: Entry) {
        let mut at = self.heap.len();
        self.heap.push(entry);
        // A hole moves up instead of two entries changing places.
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if !entry.before(&self.heap[parent]) {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = entry;
    }

    fn pop_head(&mut self) {
        if let Some(last) = self.heap.pop()
            && !self.heap.is_empty()
        {
            self.sift_down(0, last);
        }
    }

    /// Puts `entry` into the place `at`, or under it.
    fn sift_down(&mut self, mut at: usize, entry: Entry) {
        let heap = self.heap.as_mut_slice();
        loop {
            let first = ARITY * at + 1;
            let Some(children) = heap.get(first..heap.len().min(first + ARITY)) else {
                break;
            };
            let Some((offset, child)) =
                (0..).zip(children).reduce(
                    |least, next| {
                        if next.1.before(least.1) { next } else { least }
                    },
                )
            else {
                break;
            };
            if !child.before(&entry) {
                break;
            }
            heap[at] = *child;
            at = first + offset;
        }
        heap[at] = entry;
    }

    /// Clears the head of stale entries and moves early ones to their place, until the first timer is the head.
    fn settle_head(&mut self) -> Option<Entry> {
        loop {
            let head = *self.heap.first()?;
            match self.slots.get_mut(head.index as usize) {
                Some(slot) if slot.entry_seq == head.seq => {
                    if slot.seq == head.seq {
                        return Some(head);
                    }
                    slot.entry_seq = slot.seq;
                    let settled = Entry {
                        rank: slot.rank,
                        seq: slot.seq,
                        index: head.index,
                    };
                    self.sift_down(0, settled);
                }
                _ => self.pop_head(),
            }
        }
    }

    fn drop_stale_leaves(&mut self) {
        while self.heap.last().is_some_and(|last| self.is_stale(last)) {
            self.heap.pop();
        }
    }

    /// Rebuilds the heap without its stale entries once they are more than half of it. Each cancellation leaves one at
    /// most, so each pays for a constant share of this.
    fn compact_if_due(&mut self) {
        let stale = self.heap.len() - self.live;
        if stale < STALE_MIN || stale <= self.live {
            return;
        }
        let slots = &mut self.slots;
        self.heap
            .retain_mut(|entry| match slots.get_mut(entry.index as usize) {
                Some(slot) if slot.entry_seq == entry.seq => {
                    slot.entry_seq = slot.seq;
                    (entry.rank, entry.seq) = (slot.rank, slot.seq);
                    true
                }
                _ => false,
            });
        for at in (0..self.heap.len().div_ceil(ARITY)).rev() {
            self.sift_down(at, self.heap[at]);
        }
    }
}

impl<T> Slot<T> {
    const fn is(&self, key: TimerKey) -> bool {
        self.generation == key.generation && self.value.is_some()
    }
}

/// A deadline as an integer in the same order, so that the heap compares integers: the trick of `f64::total_cmp`, done
/// once. What that would tell apart and asyncio does not is made one: the two zeros. No number counts as the past.
const fn rank(deadline: f64) -> i64 {
    let deadline = if deadline.is_nan() {
        f64::NEG_INFINITY
    } else {
        deadline + 0.0
    };
    flip(deadline.to_bits().cast_signed())
}

const fn unrank(rank: i64) -> f64 {
    f64::from_bits(flip(rank).cast_unsigned())
}

/// Reverses the order of negative numbers, which are stored as sign and magnitude. Its own inverse.
const fn flip(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}
