//! Floor 6: the faces, one folder a host. They never import each other.

pub mod asyncio;
pub mod tornado;
pub mod twisted;
