//! Draws lines in place on a terminal, with plain control sequences (ECMA-48).
//!
//! The alternate screen is used, so that what stood there comes back. Each line is put at its own row: a table that is
//! higher than the window writes over the last row instead of scrolling.

use std::io::{self, Write};

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The screen; leaving it, however that happens, restores the terminal.
pub(super) struct Screen;

impl Screen {
    pub(super) fn enter() -> Self {
        write(ENTER);
        Self
    }
}

/// Draws over what was drawn before.
pub(super) fn draw(lines: &[String]) {
    write(&frame(lines));
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
    }
}

fn frame(lines: &[String]) -> String {
    let mut frame = String::new();
    for (row, line) in (1..).zip(lines) {
        frame.push_str(&format_row(row, line));
    }
    frame.push_str("\x1b[J");
    frame
}

/// Goes to a row, clears it, writes it. What is no character is left out: names come from DNS.
fn format_row(row: usize, line: &str) -> String {
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    format!("\x1b[{row};1H\x1b[K{plain}")
}

/// A terminal that has gone away is no failure: the next signal ends the program.
fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    drop(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_row_and_no_name_writes_control_sequences() {
        let lines = ["a".to_owned(), "b\x1b[2Jc\r".to_owned()];
        assert_eq!(frame(&lines), "\x1b[1;1H\x1b[Ka\x1b[2;1H\x1b[Kb[2Jc\x1b[J");
    }
}
