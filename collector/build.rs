//! Watches for what the dashboard's build leaves for this crate to embed: `dashboard/dist/` and `dashboard/dist-data/`.
//!
//! Both may be absent: a collector without them still builds, says so on its page and in its log. A debug build reads the
//! folders when it runs, so only a build that embeds them has to look again when they change.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PROFILE");
    if std::env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_some() {
        return;
    }
    for folder in ["dashboard/dist", "dashboard/dist-data"] {
        if !Path::new(folder).exists() {
            println!(
                "cargo:warning=collector/{folder} is absent and will not be embedded; `cargo xtask run` builds it"
            );
        }
        // A folder that is absent counts as changed, so it is found as soon as it is there.
        println!("cargo:rerun-if-changed={folder}");
    }
}
