//! The password prompt on a terminal (`script` of util-linux makes one).
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};

#[test]
fn an_interrupted_prompt_gives_the_echo_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("collector.toml");
    std::fs::write(&config, "data_dir = \"data\"\n").expect("writes");
    let asks = format!(
        "trap : INT; {} --config {} passwd; stty -a",
        env!("CARGO_BIN_EXE_firstmile-collector"),
        config.display()
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &asks, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut keys = terminal.stdin.take().expect("a pipe");
    let mut screen = terminal.stdout.take().expect("a pipe");
    let mut shown = Vec::new();
    while !shown.ends_with(b"password: ") {
        let mut letter = [0];
        screen.read_exact(&mut letter).expect("it asks");
        shown.extend(letter);
    }
    keys.write_all(b"\x03").expect("types Ctrl-C");
    let mut rest = String::new();
    screen.read_to_string(&mut rest).expect("it ends");
    assert!(rest.contains("interrupted"), "{rest}");
    assert!(
        rest.contains(" echo ") && !rest.contains("-echo "),
        "{rest}"
    );
    assert!(terminal.wait().expect("ends").success());
}
