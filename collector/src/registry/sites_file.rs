//! Sites from a CSV file: name, place, and the rules that lead agents to them.
//!
//! Pure: text in, sites out. The whole file is good or nothing of it is used, and every bad line is told, not only the first.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::invite::site_name;
use super::placing::{Rule, UNASSIGNED};
use crate::geo::{Declared, Geography};

/// Sites of one file: far more than an organisation has.
const MAX_SITES: usize = 100_000;
/// Bad lines that are told; the rest is counted.
const MAX_TOLD: usize = 20;

/// One line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredSite {
    /// Name.
    pub name: String,
    /// Where it is.
    pub geography: Geography,
    /// What leads agents to it.
    pub rules: Vec<Rule>,
}

/// Why a file is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was changed: {}", self.told())]
pub struct SitesFileError {
    /// Line number and what is wrong with it.
    pub problems: Vec<(u64, String)>,
}

impl SitesFileError {
    fn told(&self) -> String {
        let lines = self.problems.iter().take(MAX_TOLD);
        let lines: Vec<String> = lines
            .map(|(line, what)| format!("line {line}: {what}"))
            .collect();
        let more = self.problems.len().saturating_sub(MAX_TOLD);
        let rest = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        format!("{}{rest}", lines.join("; "))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    #[serde(default)]
    country: Option<String>,
    #[serde(default)]
    subdivision: Option<String>,
    #[serde(default)]
    metro: Option<String>,
    #[serde(default)]
    latitude: Option<f64>,
    #[serde(default)]
    longitude: Option<f64>,
    #[serde(default)]
    rules: Option<String>,
}

/// Reads the text of a file. Its first line names the columns: `name`, and any of `country`, `subdivision`, `metro`, `latitude`,
/// `longitude`, `rules`; rules are separated by spaces.
///
/// # Errors
/// [`SitesFileError`] with every bad line.
pub fn parse(text: &str) -> Result<Vec<DeclaredSite>, SitesFileError> {
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let (mut sites, mut problems) = (Vec::new(), Vec::new());
    let mut seen = Seen::default();
    for (index, record) in (2_u64..).zip(reader.deserialize::<Line>()) {
        if sites.len() >= MAX_SITES {
            problems.push((
                index,
                format!("more than {MAX_SITES} sites; split the file"),
            ));
            break;
        }
        let read = match record {
            Ok(line) => site_of(line).and_then(|site| seen.check(&site, index).map(|()| site)),
            Err(error) => Err(csv_problem(&error)),
        };
        match read {
            Ok(site) => sites.push(site),
            Err(problem) => problems.push((index, problem)),
        }
    }
    if sites.is_empty() && problems.is_empty() {
        problems.push((
            1,
            "there is no site in it; write name,country,… and a line for each".to_owned(),
        ));
    }
    if problems.is_empty() {
        Ok(sites)
    } else {
        Err(SitesFileError { problems })
    }
}

/// What earlier lines took.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, u64>,
    rules: BTreeMap<Rule, u64>,
}

impl Seen {
    fn check(&mut self, site: &DeclaredSite, line: u64) -> Result<(), String> {
        if let Some(before) = self.names.insert(site.name.clone(), line) {
            return Err(format!("site {:?} is on line {before} already", site.name));
        }
        for rule in &site.rules {
            if let Some(before) = self.rules.insert(rule.clone(), line) {
                return Err(format!("{rule} is a rule of line {before} already"));
            }
        }
        Ok(())
    }
}

fn site_of(line: Line) -> Result<DeclaredSite, String> {
    let name = site_name(&line.name)
        .map_err(|error| error.to_string())?
        .to_owned();
    if name == UNASSIGNED {
        return Err(format!(
            "{UNASSIGNED:?} is the name of no site of yours: agents without a site are there"
        ));
    }
    let declared = Declared {
        country: line.country,
        subdivision: line.subdivision,
        metro: line.metro,
        latitude: line.latitude,
        longitude: line.longitude,
    };
    let geography = declared.parse().map_err(|error| error.to_string())?;
    let rules = line.rules.unwrap_or_default();
    let rules = rules
        .split_whitespace()
        .map(|text| text.parse::<Rule>().map_err(|error| error.to_string()));
    Ok(DeclaredSite {
        name,
        geography,
        rules: rules.collect::<Result<_, _>>()?,
    })
}

/// What the reader says, without its own counting of lines.
fn csv_problem(error: &csv::Error) -> String {
    if let csv::ErrorKind::UnequalLengths {
        expected_len, len, ..
    } = error.kind()
    {
        return format!("{len} fields where the first line names {expected_len}");
    }
    if let csv::ErrorKind::Deserialize { err, .. } = error.kind() {
        return err.to_string();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_is_read_with_places_and_rules() {
        let text = "\
# our branches
name,country,subdivision,metro,latitude,longitude,rules
Amsterdam, nl, , Amsterdam, 52.37, 4.9, hostname:ams-* subnet:10.20.0.0/16
Pune,IN,,,,,
";
        let sites = parse(text).expect("good");
        assert_eq!(sites.len(), 2);
        assert_eq!(sites[0].geography.country.as_deref(), Some("NL"));
        let rules: Vec<String> = sites[0].rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["hostname:ams-*", "subnet:10.20.0.0/16"]);
        assert_eq!(parse("name\nBerlin\n").expect("good")[0].rules, []);
    }

    #[test]
    fn every_bad_line_is_told() {
        for (text, want) in [
            ("", "no site in it"),
            ("name,country\n", "no site in it"),
            ("name,country\nA,XX\n", "line 2: country \"XX\""),
            ("name,countri\nA,NL\n", "unknown field `countri`"),
            ("country\nNL\n", "missing field `name`"),
            ("name,rules\nA,host:x\n", "line 2: \"host:x\" is no rule"),
            ("name\nA\nA\n", "line 3: site \"A\" is on line 2 already"),
            (
                "name,rules\nA,tag:x\nB,tag:x\n",
                "line 3: tag:x is a rule of line 2",
            ),
            ("name,latitude,longitude\nA,north,4\n", "line 2:"),
            (
                "name,country\nA,NL,more\n",
                "line 2: 3 fields where the first line names 2",
            ),
            (
                "name\nunassigned\n",
                "line 2: \"unassigned\" is the name of no site",
            ),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text:?}: {error}");
        }
        let two = parse("name,country\nA,XX\nB,NL\nC,YY\n").expect_err("two bad lines");
        assert_eq!(two.problems.len(), 2);
    }
}
