//! Sessions against sessions: no socket, no loop.
