//! One line of syslog (RFC 5424), with the facts as structured data.

use crate::notify::core::model::Level;
use crate::notify::core::notice::{Notice, Phase, rfc3339};

/// The longest line: every receiver takes 2048 bytes (RFC 5424 §6.1 asks for it); the structured data goes before the text.
const LINE_MAX: usize = 2_048;
/// The number that private structured data is named under: that of the examples (RFC 5612); it has no other meaning.
const SD_ID: &str = "firstmile@32473";

/// Writes a line; `host` and `facility` (0 to 23, RFC 5424 §6.2.1) are the configuration's.
pub fn line(notice: &Notice, host: &str, facility: u8) -> String {
    let priority = u32::from(facility) * 8 + severity(notice);
    let at = notice.ended_unix_ms.unwrap_or(notice.decided_unix_ms);
    let mut line = format!(
        "<{priority}>1 {} {} firstmile - {} [{SD_ID}",
        rfc3339(at),
        header(host, 255),
        header(&notice.event_type, 32),
    );
    for (name, value) in parameters(notice) {
        let parameter = format!(" {name}=\"{}\"", value_of(&value));
        // Room for the bracket, and some of the text.
        if line.len() + parameter.len() < LINE_MAX - 200 {
            line.push_str(&parameter);
        }
    }
    line.push_str("] ");
    let text = notice.title();
    for letter in text.chars() {
        let letter = if letter.is_control() { ' ' } else { letter };
        if line.len() + letter.len_utf8() > LINE_MAX {
            break;
        }
        line.push(letter);
    }
    line
}

/// Severities of RFC 5424 §6.2.1: critical 2, error 3, warning 4, notice 5, informational 6.
const fn severity(notice: &Notice) -> u32 {
    match (notice.phase, notice.event_level) {
        (Phase::End, _) => 5,
        (Phase::Test, _) | (_, Level::Information) => 6,
        (_, Level::Warning) => 4,
        (_, Level::Error) => 3,
        (_, Level::Critical) => 2,
    }
}

fn parameters(notice: &Notice) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("messageId", notice.message_id.clone()),
        ("incident", notice.incident_id.clone()),
        ("sequence", notice.sequence.to_string()),
        ("phase", notice.phase.as_str().to_owned()),
        ("level", notice.event_level.as_str().to_owned()),
        ("class", notice.class.clone()),
        ("onsetFrom", rfc3339(notice.onset_from_unix_ms)),
        ("onsetTo", rfc3339(notice.onset_to_unix_ms)),
        ("agents", notice.agents_affected.to_string()),
        ("sites", notice.sites_affected.to_string()),
    ];
    let optional = [
        ("from", notice.from.clone()),
        ("to", notice.to.clone()),
        (
            "providerAsn",
            notice.provider_asn.map(|asn| asn.to_string()),
        ),
        ("prefix", notice.prefix.clone()),
        ("ended", notice.ended_unix_ms.map(rfc3339)),
        ("ending", notice.ending.clone()),
        ("geographies", Some(notice.geographies.join(","))),
        ("siteNames", Some(notice.sites.join(","))),
        ("link", notice.link.clone()),
    ];
    let known = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)));
    all.extend(known);
    all
}

/// A field of the header: printable ASCII without spaces (RFC 5424 §6).
fn header(text: &str, most: usize) -> String {
    let text: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(most)
        .collect();
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

/// Inside quotes `"`, `\` and `]` are escaped (RFC 5424 §6.3.3).
fn value_of(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '"' | '\\' | ']') {
            value.push('\\');
        }
        value.push(if letter.is_control() { ' ' } else { letter });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::notice::tests::example;

    #[test]
    fn a_line_reads_as_the_rfc_writes_it() {
        let line = line(&example(Phase::Start), "collector.example", 16);
        let head =
            "<131>1 2026-01-01T00:00:41.000Z collector.example firstmile - PathGeoFailoverEvent ";
        assert!(line.starts_with(head), "{line}");
        assert!(line.contains("[firstmile@32473 messageId=\""));
        assert!(line.contains("siteNames=\"Branch <1> & \\\"co\\\",Utrecht\\]\""));
        assert!(line.ends_with("] [Error] ingress moved from Amsterdam to Frankfurt for 2 agents"));
    }

    #[test]
    fn levels_are_severities_and_an_end_is_a_notice() {
        for (phase, level, priority) in [
            (Phase::Start, Level::Critical, 130),
            (Phase::Digest, Level::Warning, 132),
            (Phase::End, Level::Critical, 133),
            (Phase::Test, Level::Information, 134),
        ] {
            let notice = Notice {
                event_level: level,
                ..example(phase)
            };
            assert!(line(&notice, "h", 16).starts_with(&format!("<{priority}>1 ")));
        }
    }

    #[test]
    fn a_line_keeps_its_length_and_stays_one_line() {
        let mut notice = example(Phase::Start);
        notice.sites = vec!["é\n".repeat(900); 3];
        notice.summary = "ü\n".repeat(3_000);
        let line = line(&notice, "", 1);
        assert!(line.len() <= LINE_MAX && !line.contains('\n'));
        assert!(line.contains("Z - firstmile - "), "an unknown host is nil");
    }
}
