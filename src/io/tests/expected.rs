use super::super::expected::Expected;

const MOST: usize = 100;

/// A listener and those who wait to be accepted.
struct Queue {
    expected: Expected,
    waiting: usize,
    poll: u32,
    tries: usize,
}

impl Queue {
    fn new() -> Self {
        Queue {
            expected: Expected::new(MOST),
            waiting: 0,
            // The next one is numbered anew.
            poll: u32::MAX - 1,
            tries: 0,
        }
    }

    /// A poll, before which so many more have come; answers how many were accepted after it.
    fn turn(&mut self, more: usize) -> usize {
        self.poll = self.poll.wrapping_add(1);
        self.waiting += more;
        if self.waiting == 0 {
            return 0;
        }
        let count = self.expected.begin(self.poll);
        assert!((1..=MOST).contains(&count));
        for done in 0..count {
            self.tries += 1;
            if self.waiting == 0 {
                self.expected.fewer(done);
                return done;
            }
            self.waiting -= 1;
        }
        self.expected.all();
        count
    }
}

#[test]
fn one_at_a_time_is_found_by_one_try() {
    let mut queue = Queue::new();
    for _ in 0..50 {
        assert_eq!((queue.turn(1), queue.turn(0)), (1, 0));
    }
    assert_eq!(queue.tries, 50);
}

#[test]
fn many_are_accepted_in_few_turns_and_never_too_many_in_one() {
    let mut queue = Queue::new();
    let mut turns = vec![queue.turn(1000)];
    while queue.waiting > 0 {
        turns.push(queue.turn(0));
    }
    assert_eq!(&turns[..6], [1, 1, 4, 16, 64, MOST]);
    assert_eq!(turns.iter().sum::<usize>(), 1000);
    assert!(turns.iter().all(|&count| count <= MOST));
    assert!(turns.len() < 16);
    // Those that come one at a time cost one try each again.
    queue.turn(0);
    let before = queue.tries;
    for _ in 0..10 {
        queue.turn(1);
        queue.turn(0);
    }
    assert_eq!(queue.tries - before, 10);
}

#[test]
fn a_steady_stream_leaves_nobody_behind() {
    for each in 1..20 {
        let mut queue = Queue::new();
        for _ in 0..1000 {
            queue.turn(each);
        }
        assert!(queue.waiting < 5 * each, "{each} a turn: {}", queue.waiting);
        // A try too many now and then.
        assert!(
            queue.tries < 1000 * each + 500,
            "{each} a turn: {}",
            queue.tries
        );
    }
}
