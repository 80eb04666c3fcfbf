//! The routes over a real store: what they answer, whom they refuse, and that organisations never meet.

mod access;
mod answers;
mod arm;
mod changes;
mod connections;
mod desk;
mod live;
mod marks;
mod questions;
mod thousand;
