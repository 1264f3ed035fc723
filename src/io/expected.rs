//! How many connections a listener accepts at a time.

/// How many connections one turn accepts. A try too many is dear: the kernel makes a socket and a file before it finds that
/// nobody waits. So there is one for each that is expected: one, and more when polls in a row have reported more.
pub(super) struct Expected {
    now: usize,
    /// However many wait.
    most: usize,
    /// How many turns in a row have found all that were expected.
    found: u8,
    poll: u32,
}

/// So many turns find one connection each before the next one looks for more.
const SINGLE: u8 = 2;

/// How much faster it then gets from turn to turn, until all are found.
const FASTER: usize = 4;

impl Expected {
    pub fn new(most: usize) -> Self {
        Expected {
            now: 1,
            most,
            found: 0,
            poll: 0,
        }
    }

    /// How many there may be now that this poll has reported some.
    pub fn begin(&mut self, poll: u32) -> usize {
        if poll != self.poll.wrapping_add(1) {
            // Level-triggered: the poll in between would have reported what was left.
            self.now = 1;
            self.found = 0;
        }
        self.poll = poll;
        self.now
    }

    /// There were that many at least.
    pub fn all(&mut self) {
        self.found = self.found.saturating_add(1);
        if self.now > 1 || self.found >= SINGLE {
            self.now = (self.now * FASTER).min(self.most);
        }
    }

    /// There were only so many.
    pub fn fewer(&mut self, count: usize) {
        self.now = count.max(1);
        self.found = 0;
    }
}
