//! The engine on real sockets, in a network of its own: loopback only, no right needed but to make user namespaces.
#![expect(
    clippy::print_stdout,
    reason = "a test with its own main says what it did"
)]

#[cfg(target_os = "linux")]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::run();
    #[cfg(not(target_os = "linux"))]
    println!("the engine is for Linux");
}
