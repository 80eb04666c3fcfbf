//! BMP (RFC 7854): routers tell which routes their peers send them.

pub mod session;
pub mod station;
