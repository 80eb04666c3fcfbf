//! A card for Microsoft Teams: an Adaptive Card in the envelope that a workflow's webhook ("when a Teams webhook request is received")
//! posts to a channel. The older connector cards were retired.

use serde_json::{Value, json};

use super::cut;
use crate::notify::core::notice::{Notice, Phase};

/// Characters of one value: a card may have 28 kB in all.
const VALUE_MAX: usize = 900;

/// The body of the request.
pub fn body(notice: &Notice) -> Value {
    let facts: Vec<Value> = notice
        .facts()
        .iter()
        .map(|(name, value)| json!({ "title": name, "value": plain(&cut(value, VALUE_MAX)) }))
        .collect();
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": { "width": "Full" },
        "body": [
            { "type": "TextBlock", "text": plain(&notice.title()), "weight": "Bolder", "size": "Medium", "wrap": true,
              "color": color(notice.phase) },
            { "type": "FactSet", "facts": facts },
            { "type": "TextBlock", "text": format!("incident {}", plain(&notice.incident_id)), "size": "Small", "isSubtle": true, "wrap": true },
        ],
    });
    if let (Some(link), Some(card)) = (&notice.link, card.as_object_mut()) {
        let open = json!([{ "type": "Action.OpenUrl", "title": "Open the incident", "url": link }]);
        card.insert("actions".to_owned(), open);
    }
    json!({
        "type": "message",
        "attachments": [{ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card }],
    })
}

const fn color(phase: Phase) -> &'static str {
    match phase {
        Phase::Start | Phase::Update => "Attention",
        Phase::Digest => "Warning",
        Phase::End => "Good",
        Phase::Test => "Default",
    }
}

/// Text of cards is read as a subset of Markdown: what would make links, lists or emphasis is escaped.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '*' | '_' | '[' | ']' | '`' | '#') {
            plain.push('\\');
        }
        plain.push(if letter.is_control() { ' ' } else { letter });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::notice::tests::example;

    #[test]
    fn it_is_an_adaptive_card_in_a_message_and_names_cannot_make_links() {
        let body = body(&example(Phase::Start));
        let card = &body["attachments"][0];
        assert_eq!(body["type"], "message");
        assert_eq!(
            card["contentType"],
            "application/vnd.microsoft.card.adaptive"
        );
        assert_eq!(card["content"]["type"], "AdaptiveCard");
        assert_eq!(
            card["content"]["actions"][0]["url"],
            "https://collector.example/incidents/7f0c"
        );
        assert!(body.to_string().contains("Utrecht\\\\]"));
        assert!(body.to_string().len() < 28_000);
    }
}
