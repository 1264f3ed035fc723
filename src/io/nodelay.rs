//! When the kernel is told that small writes are not to wait for the acknowledgement of those before (TCP_NODELAY).

use super::stream::Stream;
use crate::sys::socket;

/// Whether the kernel knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nodelay {
    /// It does, or that is not wanted.
    Settled,
    /// It does not, and nothing was sent: the first send leaves at once in any case, where
    /// [`FIRST_SEND_LEAVES`](socket::FIRST_SEND_LEAVES). Many connections send once, and never need the call.
    AfterFirst,
    /// It has to know before the next send.
    Due,
}

impl Stream {
    /// Small writes are to leave at once, for as long as the connection lasts (TCP_NODELAY). For a socket that nobody else
    /// has: the kernel is told when it matters.
    pub fn never_delay(mut self) -> Self {
        self.nodelay = if socket::FIRST_SEND_LEAVES {
            Nodelay::AfterFirst
        } else {
            Nodelay::Due
        };
        self
    }

    /// To be called before each send.
    #[inline]
    pub(super) fn about_to_send(&mut self) {
        self.look_at_owner();
        if self.nodelay != Nodelay::Settled {
            self.settle_nodelay();
        }
    }

    #[cold]
    fn settle_nodelay(&mut self) {
        if self.nodelay == Nodelay::AfterFirst {
            self.nodelay = Nodelay::Due;
        } else {
            self.set_nodelay();
        }
    }

    /// Tells the kernel now, if that is still to come: the socket is about to be seen, or used by other calls than `send`.
    pub fn set_nodelay(&mut self) {
        if self.nodelay != Nodelay::Settled {
            self.nodelay = Nodelay::Settled;
            // A socket that lost its peer in between may refuse; reading will tell.
            let _ = socket::set_nodelay(self.fd, true);
        }
    }
}
