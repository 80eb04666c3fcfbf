//! The agent at difficult sites: behind a proxy, in another network, with a tunnel, with two uplinks, without IPv4.
//!
//! Each test makes a site of its own out of network namespaces, and runs the built agent and the built collector in it. Nothing
//! of it outlives the test: every process belongs to a namespace of process ids that ends with it.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod change;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod ipv6;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod machine;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod rig;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod vantage;
