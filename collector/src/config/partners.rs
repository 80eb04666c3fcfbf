//! `[[partner]]`: partners beside those of the published lists, or in their place.

use std::collections::BTreeSet;

use firstmile_peering::directory::Provider;
use toml::Value;

use super::keys::{ConfigError, Section, Setting};

/// The published list has 34.
const MAX_PARTNERS: usize = 1_000;
/// Longest name of a partner or a metro.
const MAX_NAME: usize = 100;

/// The name of a partner or a metro.
struct Name(String);

impl Setting for Name {
    const LIKE: &'static str = "a name, such as \"Zurich\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("this is no text in quotes")?.trim();
        if text.is_empty() {
            Err("it is empty".to_owned())
        } else if text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
            Err("a name has at most 100 characters, all of them visible".to_owned())
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// Reads the partners; of two entries with one name the file has to say which.
pub(super) fn read(top: &mut Section<'_>) -> Result<Vec<Provider>, ConfigError> {
    let sections = top.section_list("partner")?;
    if sections.len() > MAX_PARTNERS {
        let count = sections.len().to_string();
        let fix = "keep at most 1000";
        return Err(top.refuse("partner", &count, "these are too many partners", fix));
    }
    let mut seen = BTreeSet::new();
    let mut partners = Vec::new();
    for mut section in sections {
        let Some(Name(name)) = section.take::<Name>("name")? else {
            let why = "a partner has a name";
            return Err(section.refuse("name", "nothing", why, "write name = \"Swisscom\""));
        };
        if !seen.insert(name.to_lowercase()) {
            let why = "another entry has this name";
            return Err(section.refuse("name", &name, why, "put both into one entry"));
        }
        let also = section.take_list::<Name>("also")?.unwrap_or_default();
        let metros = section.take_list::<Name>("metros")?.unwrap_or_default();
        if metros.is_empty() {
            let why = "a partner meets Microsoft somewhere";
            return Err(section.refuse("metros", "[]", why, "write metros = [\"Zurich\"]"));
        }
        section.finish()?;
        partners.push(Provider {
            name,
            also: also.into_iter().map(|name| name.0).collect(),
            metros: metros.into_iter().map(|metro| metro.0).collect(),
        });
    }
    Ok(partners)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, ConfigError};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/firstmile/collector.toml"))
    }

    #[test]
    fn partners_are_read_with_their_names_and_metros() {
        let text =
            "[[partner]]\nname = 'Example Net'\nalso = ['EXN']\nmetros = ['Zurich', 'Geneva']";
        let config = parse(text).expect("parses");
        let [partner] = config.partners.as_slice() else {
            unreachable!("one entry")
        };
        assert_eq!(partner.name, "Example Net");
        assert_eq!(partner.also, ["EXN"]);
        assert!(partner.metros.contains("Geneva") && partner.metros.len() == 2);
    }

    #[test]
    fn what_is_no_partner_is_refused_with_the_fix() {
        for (text, key, fix) in [
            ("metros = ['Zurich']", "partner[1].name", "write name"),
            ("name = ''\nmetros = ['Zurich']", "partner[1].name", "empty"),
            (
                "name = 'a\\u0007'\nmetros = ['Zurich']",
                "partner[1].name",
                "visible",
            ),
            ("name = 'Net'", "partner[1].metros", "write metros"),
            (
                "name = 'Net'\nmetros = [7]",
                "partner[1].metros",
                "in quotes",
            ),
            (
                "name = 'Net'\nmetros = ['Bern']\nmetro = ['Zurich']",
                "partner[1].metro",
                "metros?",
            ),
            (
                "name = 'Net'\nmetros = ['Zurich']\n[[partner]]\nname = 'NET'\nmetros = ['Bern']",
                "partner[2].name",
                "one entry",
            ),
        ] {
            let text = text.replace("'a\\u0007'", "\"a\\u0007\"");
            let error = parse(&format!("[[partner]]\n{text}")).expect_err(&text);
            let error = error.to_string();
            assert!(
                error.contains(key) && error.contains(fix),
                "{text}: {error}"
            );
        }
    }
}
