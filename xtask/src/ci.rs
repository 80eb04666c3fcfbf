//! `cargo xtask ci`: what can be said of the tree without running the product.

use anyhow::Result;

use crate::step::{command, run, shown, step};
use crate::{artefacts, needs, tidy, tree};

/// Runs every check and stops at the first that fails. A checker that is not installed is named at the end.
pub(crate) fn ci() -> Result<()> {
    let root = tree::root();
    let mut left_out = Vec::new();
    step("format", || {
        shown(&root, "cargo", &["fmt", "--all", "--check"])
    })?;
    step("tidy", tidy::tidy)?;
    if needs::has("typos") {
        step("spelling", || shown(&root, "typos", &[]))?;
    } else {
        left_out.push(
            "spelling: install it with `cargo install --locked typos-cli` or `pip install typos`",
        );
    }
    if needs::has("cargo-deny") {
        // The advisory database needs a network that reaches it; licences, bans and sources do not.
        step("licences, bans, sources", || {
            shown(
                &root,
                "cargo",
                &["deny", "--locked", "check", "licenses", "bans", "sources"],
            )
        })?;
    } else {
        left_out
            .push("licences, bans, sources: install it with `cargo install --locked cargo-deny`");
    }
    artefacts::dashboard()?;
    step("dashboard: types, lints, unit tests", || {
        dashboard_checks().map(drop)
    })?;
    step("clippy", || {
        shown(
            &root,
            "cargo",
            &[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )
    })?;
    step("docs", || {
        let mut doc = command("cargo");
        doc.args([
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ]);
        run(doc.env("RUSTDOCFLAGS", "-D warnings").current_dir(&root))
    })?;
    for what in &left_out {
        println!("left out: {what}");
    }
    Ok(())
}

/// The dashboard's own checks, and the types of the browser tests.
pub(crate) fn dashboard_checks() -> Result<()> {
    shown(
        &artefacts::dashboard_folder(),
        "npm",
        &["run", "--silent", "check"],
    )?;
    let browser = tree::root().join("tests/browser");
    artefacts::npm_ci(&browser)?;
    shown(&browser, "npm", &["run", "--silent", "check"])
}
