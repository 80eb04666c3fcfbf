//! How an agent gets its identity, keeps it, and renews it.

pub(crate) mod identity;
mod obtain;
pub(crate) mod request;
pub(crate) mod verifier;

pub(crate) use identity::Identity;
pub(crate) use obtain::{ObtainError, obtain};
pub(crate) use request::{Newcomer, renew};
