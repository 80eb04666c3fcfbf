//! How an agent gets its identity, keeps it, and renews it.

pub(crate) mod identity;
pub(crate) mod request;
pub(crate) mod verifier;

pub(crate) use identity::Identity;
pub(crate) use request::{enroll, renew};
