//! The shells as Windows has them; each stands in for the file of the same name beside this folder.

pub(crate) mod echo;
pub(crate) mod tcp;
