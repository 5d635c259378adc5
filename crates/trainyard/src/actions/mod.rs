//! Actions: what stands behind a `uses`, where it comes from, and what runs it.
//!
//! Deliberately absent: Docker actions.

pub mod cache;
pub mod load;
pub mod node;
pub mod places;
pub mod reference;
