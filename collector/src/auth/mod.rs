//! Who may come in: the collector's own certificate authority for agents, logins for people.

pub mod authority;
pub mod files;
pub mod identity;
pub mod login;
pub mod server_identity;
pub mod tls;
pub mod token;
