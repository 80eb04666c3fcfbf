//! Findings as a person reads them.
//!
//! Pure: findings in, text out.

use super::judge::{Finding, Level};

/// The whole text; `colours` where a terminal reads it.
pub(super) fn render(findings: &[Finding], colours: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&line(finding, colours));
        if let Some(change) = &finding.change {
            text.push_str("         -> ");
            text.push_str(change);
            text.push('\n');
        }
    }
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let ending = format!(
        "\n{}, {}, {} ok\n",
        counted(problems, "problem"),
        counted(warnings, "warning"),
        count(Level::Ok)
    );
    text.push_str(&ending);
    text
}

fn line(finding: &Finding, colours: bool) -> String {
    let (word, colour) = match finding.level {
        Level::Ok => ("ok", "32"),
        Level::Warning => ("warning", "33"),
        Level::Problem => ("problem", "31"),
    };
    let word = if colours {
        format!("\x1b[{colour}m{word:<7}\x1b[0m")
    } else {
        format!("{word:<7}")
    };
    let about = finding
        .about
        .as_ref()
        .map_or_else(String::new, |about| format!("{about}: "));
    // What DNS and servers say stands in these texts: no control sequence of theirs reaches the terminal.
    let says: String = format!("{about}{}", finding.says)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    format!("{word}  {:<11}  {says}\n", finding.check)
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
