//! How an agent gets its identity, keeps it, and renews it.

pub(crate) mod identity;
mod invitation;
mod machine;
mod obtain;
pub(crate) mod request;
pub(crate) mod verifier;

pub(crate) use identity::Identity;
pub(crate) use invitation::{Invitation, text_of};
pub(crate) use machine::{OwnError, own};
pub(crate) use obtain::{ObtainError, obtain};
pub(crate) use request::{Newcomer, renew};
