//! The cross-thread queue: any thread pushes, the loop's thread takes, and a sleeping loop is woken.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};

/// Items on their way from other threads into the loop.
///
/// The protocol against lost wake-ups: the loop says that it sleeps *before* it looks at the queue for
/// the last time, and a sender pushes *before* it looks whether the loop sleeps. Whichever comes
/// second sees the other. Both sides are sequentially consistent: with less, both could miss.
pub struct Remote<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
    sleeping: AtomicBool,
}

impl<T> Default for Remote<T> {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        Remote {
            sender,
            receiver,
            sleeping: AtomicBool::new(false),
        }
    }
}

impl<T> Remote<T> {
    /// Queues an item; true when the loop sleeps and the caller must wake it. Only one sender is told so
    /// per sleep: a wake-up costs a system call, a burst needs one.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        // The receiver lives as long as the sender: sending cannot fail.
        let _ = self.sender.send(item);
        self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst)
    }

    /// Called by the loop before it waits; false when there is work and it must not.
    #[must_use]
    pub fn prepare_to_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        if self.receiver.is_empty() {
            return true;
        }
        self.sleeping.store(false, Ordering::SeqCst);
        false
    }

    /// Called by the loop when it has waited.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// How many items are waiting: what a turn takes, so that senders cannot keep it for ever.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Takes the oldest item.
    pub fn pop(&self) -> Option<T> {
        // The sender lives beside it, so that the only error is an empty queue.
        self.receiver.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_push_while_asleep_asks_for_exactly_one_wake_up() {
        let remote = Remote::default();
        assert!(!remote.push(1), "nobody sleeps");
        assert!(!remote.prepare_to_sleep(), "there is work");
        assert_eq!(remote.pop(), Some(1));
        assert!(remote.prepare_to_sleep());
        assert!(remote.push(2));
        assert!(!remote.push(3), "the wake-up is under way");
        remote.awake();
        assert_eq!(
            (remote.pop(), remote.pop(), remote.pop()),
            (Some(2), Some(3), None)
        );
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        const ITEMS: usize = 100_000;
        let remote = Arc::new(Remote::default());
        let wakes = Arc::new(AtomicUsize::new(0));
        let loop_thread = std::thread::current();
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (remote, wakes, loop_thread) =
                    (Arc::clone(&remote), Arc::clone(&wakes), loop_thread.clone());
                std::thread::spawn(move || {
                    for item in 0..ITEMS {
                        if remote.push(item) {
                            wakes.fetch_add(1, Ordering::SeqCst);
                            loop_thread.unpark();
                        }
                    }
                })
            })
            .collect();
        let (mut taken, mut seen) = (0, 0);
        while taken < 4 * ITEMS {
            if remote.prepare_to_sleep() {
                // Parks until a sender says so; a lost wake-up hangs here.
                while wakes.load(Ordering::SeqCst) == seen {
                    std::thread::park();
                }
            }
            seen = wakes.load(Ordering::SeqCst);
            remote.awake();
            while remote.pop().is_some() {
                taken += 1;
            }
        }
        for sender in senders {
            sender.join().expect("a sender does not panic");
        }
        assert!(remote.is_empty());
    }
}
