//! A message for an incoming webhook of Slack: Block Kit, with a plain text for notifications on phones.

use serde_json::{Value, json};

use super::cut;
use crate::notify::core::notice::{Notice, Phase};

/// Characters of a header block and of one field, as Slack limits them, with room for marks.
const HEADER_MAX: usize = 145;
const FIELD_MAX: usize = 900;
/// Fields of one section.
const FIELDS_MAX: usize = 10;

/// The body of the request.
pub fn body(notice: &Notice) -> Value {
    let title = notice.title();
    let fields: Vec<Value> = notice
        .facts()
        .iter()
        .map(|(name, value)| {
            let text = format!("*{name}*\n{}", escaped(&cut(value, FIELD_MAX)));
            json!({ "type": "mrkdwn", "text": text })
        })
        .collect();
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": cut(&format!("{} {title}", sign(notice.phase)), HEADER_MAX) } }),
    ];
    for part in fields.chunks(FIELDS_MAX) {
        blocks.push(json!({ "type": "section", "fields": part }));
    }
    if let Some(link) = &notice.link {
        blocks.push(json!({ "type": "section",
            "text": { "type": "mrkdwn", "text": format!("<{}|Open the incident>", escaped(link)) } }));
    }
    let origin = format!(
        "incident {} · message {}",
        notice.incident_id, notice.message_id
    );
    blocks.push(
        json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": escaped(&origin) }] }),
    );
    json!({ "text": escaped(&title), "blocks": blocks })
}

const fn sign(phase: Phase) -> &'static str {
    match phase {
        Phase::Start | Phase::Update => "🔴",
        Phase::Digest => "🟠",
        Phase::End => "🟢",
        Phase::Test => "⚪",
    }
}

/// The three characters that control Slack's markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::notice::tests::example;

    #[test]
    fn names_cannot_break_out_of_the_markup_and_sections_keep_their_limit() {
        let body = body(&example(Phase::Start));
        let text = body.to_string();
        assert!(text.contains("Branch &lt;1&gt; &amp; "));
        assert!(!text.contains("Branch <1>"));
        for block in body["blocks"].as_array().unwrap() {
            let fields = block["fields"].as_array().map_or(0, Vec::len);
            assert!(fields <= FIELDS_MAX);
        }
        assert!(text.contains("<https://collector.example/incidents/7f0c|Open the incident>"));
    }

    #[test]
    fn the_phases_can_be_told_apart() {
        let heads: std::collections::BTreeSet<String> = [
            Phase::Start,
            Phase::Update,
            Phase::End,
            Phase::Digest,
            Phase::Test,
        ]
        .into_iter()
        .map(|phase| body(&example(phase))["text"].to_string())
        .collect();
        assert_eq!(heads.len(), 5);
    }
}
