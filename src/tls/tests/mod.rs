//! Sessions against sessions: no socket, no loop. The certificate is signed by itself and good until 2120; nobody else
//! has any use for its key.

mod harness;
mod session;
mod stacked;
