//! An e-mail: the same facts as text and as HTML.

use std::fmt::Write;

use super::cut;
use crate::notify::core::notice::{Notice, Phase};

/// Characters of a subject: what a phone shows of it, and some.
const SUBJECT_MAX: usize = 150;
/// Why writing to a text cannot fail.
const FITS: &str = "a text takes what is written to it";

/// The parts of an e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Subject, one line.
    pub subject: String,
    /// Text.
    pub text: String,
    /// HTML that loads nothing.
    pub html: String,
    /// `Message-ID` (RFC 5322 §3.6.4): the same whenever the message is sent again.
    pub message_id: String,
    /// `Message-ID` that stands for the incident: mail programs gather what refers to it in one thread.
    pub thread_id: String,
}

/// Writes an e-mail; `domain` is the right side of its identities.
pub fn mail(notice: &Notice, domain: &str) -> Mail {
    Mail {
        subject: cut(
            &one_line(&format!("firstmile {}", notice.title())),
            SUBJECT_MAX,
        ),
        text: text(notice),
        html: html(notice),
        message_id: format!("<{}@{domain}>", notice.message_id),
        thread_id: format!("<incident.{}@{domain}>", notice.incident_id),
    }
}

fn text(notice: &Notice) -> String {
    let mut text = format!("{}\n\n", one_line(&notice.title()));
    let facts = notice.facts();
    let width = facts.iter().map(|fact| fact.0.len()).max().unwrap_or(0);
    for (name, value) in &facts {
        writeln!(text, "{name:width$}  {}", one_line(value)).expect(FITS);
    }
    if !notice.reasons.is_empty() {
        text.push_str("\nWhy\n");
    }
    for reason in &notice.reasons {
        writeln!(text, "  {}", one_line(reason)).expect(FITS);
    }
    if let Some(link) = &notice.link {
        writeln!(text, "\n{link}").expect(FITS);
    }
    writeln!(text, "\nincident {}", notice.incident_id).expect(FITS);
    text
}

fn html(notice: &Notice) -> String {
    let color = match notice.phase {
        Phase::Start | Phase::Update => "#c92a2a",
        Phase::Digest => "#e8590c",
        Phase::End => "#2b8a3e",
        Phase::Test => "#495057",
    };
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><body style=\"font-family:sans-serif\"><h2 style=\"color:{color}\">{}</h2><table>",
        escaped(&notice.title())
    );
    for (name, value) in notice.facts() {
        write!(
            html,
            "<tr><th align=\"left\" valign=\"top\" style=\"padding-right:1em\">{name}</th><td>{}</td></tr>",
            escaped(&value)
        ).expect(FITS);
    }
    html.push_str("</table>");
    if !notice.reasons.is_empty() {
        let reasons: Vec<String> = notice
            .reasons
            .iter()
            .map(|reason| format!("<li>{}</li>", escaped(reason)))
            .collect();
        let reasons = reasons.concat();
        write!(html, "<p>Why</p><ul>{reasons}</ul>").expect(FITS);
    }
    if let Some(link) = &notice.link {
        write!(
            html,
            "<p><a href=\"{}\">Open the incident</a></p>",
            escaped(link)
        )
        .expect(FITS);
    }
    write!(
        html,
        "<p style=\"color:#868e96\">incident {}</p></body></html>",
        escaped(&notice.incident_id)
    )
    .expect(FITS);
    html
}

/// Text in HTML, also inside a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn one_line(text: &str) -> String {
    text.split(char::is_control).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::notice::tests::example;

    #[test]
    fn a_name_with_a_line_end_makes_no_header_and_one_with_a_tag_no_html() {
        let mut notice = example(Phase::Start);
        notice.summary = "moved\r\nBcc: victim@example.com <b>".to_owned();
        let mail = mail(&notice, "collector.example");
        assert!(!mail.subject.contains(['\r', '\n']));
        assert!(!mail.html.contains("<b>") && mail.html.contains("&lt;b&gt;"));
        assert!(!mail.html.contains("Branch <1>"));
    }

    #[test]
    fn the_same_message_has_the_same_identity_and_an_incident_one_thread() {
        let (start, mut end) = (example(Phase::Start), example(Phase::End));
        end.message_id = crate::notify::core::notice::message_id("7f0c", 2);
        let of = |notice: &Notice| mail(notice, "collector.example");
        assert_eq!(of(&start), of(&start));
        assert_ne!(of(&start).message_id, of(&end).message_id);
        assert_eq!(of(&start).thread_id, of(&end).thread_id);
        assert!(of(&end).text.contains("recovery"));
    }
}
