//! End to end, in the lab.
