//! Floor 1: the poller (owned by the turn), the registrar (shared), keys with generations, the table
//! of sources.

mod key;
mod poller;
mod registrar;
mod table;

pub use key::Key;
pub use mio::Waker;
pub use poller::{Poller, Readiness};
pub use registrar::Registrar;
pub use table::Table;
