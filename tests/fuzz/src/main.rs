//! One target under libFuzzer: `FIRSTMILE_FUZZ_TARGET=NAME firstmile-fuzz [libFuzzer's options] FOLDER`.
//!
//! `cargo xtask fuzz` builds it with coverage and runs it.
#![no_main]

use std::sync::OnceLock;

use firstmile_fuzz::{TARGETS, Target, target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (TARGET.get_or_init(chosen).run)(bytes);
});

#[expect(
    clippy::disallowed_methods,
    reason = "libFuzzer owns the command line, so the target is named beside it"
)]
fn chosen() -> &'static Target {
    let name = std::env::var("FIRSTMILE_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!(
            "there is no target `{name}`; there are: {}",
            names.join(" ")
        )
    })
}
