//! `[[rollout]]`: which version of the agent's program is expected of whom.

use firstmile_wire::version::{NotAVersion, Version};
use toml::Value;

use super::keys::{ConfigError, Section, Setting};
use crate::registry::invite::site_name;
use crate::registry::rollout::{Rollout, Stage};

/// Stages that a plan may have: more than any roll-out has, few enough to be looked through for each report.
const MAX_STAGES: usize = 100;

/// The name of a site.
struct SiteName(String);

impl Setting for Version {
    const LIKE: &'static str = "the version of a release, such as \"0.2.0\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("this is no text in quotes")?;
        let version: Self = text
            .parse()
            .map_err(|error: NotAVersion| error.to_string())?;
        // Written back it has to be what stands there: what is built from it is compared as text on the other side.
        if version.to_string() == text {
            Ok(version)
        } else {
            Err("only a release can be expected".to_owned())
        }
    }
}

impl Setting for SiteName {
    const LIKE: &'static str = "the name of a site, as `firstmile-collector sites list` shows it";
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("this is no text in quotes")?;
        let name = site_name(text).map_err(|error| error.to_string())?;
        Ok(Self(name.to_owned()))
    }
}

/// Reads the stages in the order of the file.
pub(super) fn read(top: &mut Section<'_>) -> Result<Rollout, ConfigError> {
    let sections = top.section_list("rollout")?;
    if sections.len() > MAX_STAGES {
        let count = sections.len().to_string();
        return Err(top.refuse(
            "rollout",
            &count,
            "these are too many stages",
            "keep at most 100",
        ));
    }
    let stages: Result<Vec<Stage>, ConfigError> = sections.into_iter().map(stage).collect();
    Ok(Rollout::new(stages?))
}

fn stage(mut section: Section<'_>) -> Result<Stage, ConfigError> {
    let version = section.take::<Version>("version")?;
    let share = section.take::<u32>("share")?.unwrap_or(100);
    let sites = section.take_list::<SiteName>("sites")?.unwrap_or_default();
    if !(1..=100).contains(&share) {
        let why = "a share is 1 to 100 percent";
        let fix = "write share = 10, or leave it out for all of them";
        return Err(section.refuse("share", &share.to_string(), why, fix));
    }
    let Some(version) = version else {
        let why = "a stage names the version that it expects";
        return Err(section.refuse("version", "nothing", why, "write version = \"0.2.0\""));
    };
    section.finish()?;
    Ok(Stage {
        version,
        share,
        sites: sites.into_iter().map(|site| site.0).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use firstmile_wire::ids::AgentId;
    use uuid::Uuid;

    use crate::config::{Config, ConfigError};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/firstmile/collector.toml"))
    }

    #[test]
    fn stages_are_read_in_order() {
        let config = parse(
            "[[rollout]]\nversion = '0.3.0'\nsites = ['Testville', 'Elsewhere']\n[[rollout]]\nversion = '0.2.0'\nshare = 10",
        )
        .expect("parses");
        let expected = |turn, site| {
            let agent = AgentId(Uuid::from_u128(turn));
            let version = config.rollout.expected(agent, site);
            version.map(|version| version.to_string())
        };
        assert_eq!(expected(50, Some("Elsewhere")).as_deref(), Some("0.3.0"));
        assert_eq!(expected(9, Some("Nowhere")).as_deref(), Some("0.2.0"));
        assert_eq!(expected(10, Some("Nowhere")), None);
    }

    #[test]
    fn what_cannot_be_expected_is_refused_with_the_fix() {
        for (text, key, fix) in [
            ("share = 10", "rollout[1].version", "version = \"0.2.0\""),
            ("version = '0.2'", "rollout[1].version", "0.2.0"),
            ("version = '0.2.0-rc.1'", "rollout[1].version", "release"),
            ("version = '0.2.00'", "rollout[1].version", "release"),
            ("version = 2", "rollout[1].version", "in quotes"),
            (
                "version = '0.2.0'\nshare = 0",
                "rollout[1].share",
                "share = 10",
            ),
            (
                "version = '0.2.0'\nshare = 101",
                "rollout[1].share",
                "share = 10",
            ),
            (
                "version = '0.2.0'\nsites = ['']",
                "rollout[1].sites",
                "sites list",
            ),
            ("version = '0.2.0'\nsite = 'x'", "rollout[1].site", "sites?"),
        ] {
            let error = parse(&format!("[[rollout]]\n{text}")).expect_err(text);
            let error = error.to_string();
            assert!(
                error.contains(key) && error.contains(fix),
                "{text}: {error}"
            );
            assert!(!error.contains('\n'), "{text}: {error}");
        }
        let many = "[[rollout]]\nversion = '0.2.0'\n".repeat(101);
        assert!(parse(&many).is_err());
    }
}
