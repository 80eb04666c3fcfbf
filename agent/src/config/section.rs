//! A TOML table read key by key, so that every refusal can name its key and its value, and no key goes unread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::ConfigError;

/// One table of the file. What is not taken by the time of [`Section::finish`] is unknown, hence an error.
pub(super) struct Section {
    file: PathBuf,
    path: String,
    table: Table,
    known: Vec<&'static str>,
}

impl Section {
    pub(super) fn root(file: &Path, table: Table) -> Self {
        Self {
            file: file.to_owned(),
            path: String::new(),
            table,
            known: Vec::new(),
        }
    }

    /// Takes a key and parses its value; `None` when the key is absent. `parse` says the fix when it refuses.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        self.known.push(key);
        let Some(value) = self.table.remove(key) else {
            return Ok(None);
        };
        parse(&value).map(Some).map_err(|fix| ConfigError::Value {
            file: self.file.clone(),
            key: self.full(key),
            value: show(&value),
            fix,
        })
    }

    /// As [`Section::take`], for a value that no refusal may show.
    pub(super) fn take_secret<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        self.take(key, |value| Ok(parse(value)))?
            .transpose()
            .map_err(|fix| self.refuse(key, "…", fix))
    }

    /// As [`Section::take`], for a key that has to be there.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        fix: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let missing = ConfigError::MissingKey {
            file: self.file.clone(),
            key: self.full(key),
            fix,
        };
        self.take(key, parse)?.ok_or(missing)
    }

    /// Takes a sub-table; an absent one is empty.
    pub(super) fn sub(&mut self, key: &'static str) -> Result<Self, ConfigError> {
        let path = self.full(key);
        let table = self.take(key, |value| {
            value
                .as_table()
                .cloned()
                .ok_or_else(|| format!("write it as a table, [{key}]"))
        })?;
        Ok(Self {
            file: self.file.clone(),
            path,
            table: table.unwrap_or_default(),
            known: Vec::new(),
        })
    }

    /// Takes an array of tables; an absent one is empty.
    pub(super) fn subs(&mut self, key: &'static str) -> Result<Vec<Self>, ConfigError> {
        let path = self.full(key);
        let tables = self.take(key, |value| {
            let fix = || format!("write each as a table of its own, [[{key}]]");
            value
                .as_array()
                .ok_or_else(fix)?
                .iter()
                .map(|item| item.as_table().cloned().ok_or_else(fix))
                .collect()
        })?;
        let tables: Vec<Table> = tables.unwrap_or_default();
        Ok(tables
            .into_iter()
            .enumerate()
            .map(|(index, table)| Self {
                file: self.file.clone(),
                path: format!("{path}[{index}]"),
                table,
                known: Vec::new(),
            })
            .collect())
    }

    /// A refusal of this section's `key` found after its value was taken.
    pub(super) fn refuse(
        &self,
        key: &str,
        value: impl Into<String>,
        fix: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value {
            file: self.file.clone(),
            key: self.full(key),
            value: value.into(),
            fix: fix.into(),
        }
    }

    /// Refuses a key that nothing took: a misspelt key is an error, not a default.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let Some((key, value)) = self.table.iter().next() else {
            return Ok(());
        };
        let nearest = (self.known.iter())
            .min_by_key(|known| (!known.contains(key.as_str()), distance(known, key)));
        let fix = nearest.map_or_else(String::new, |nearest| {
            // Far from all, the nearest one is a guess, or a key of another table.
            if distance(nearest, key) <= 3 || nearest.contains(key.as_str()) {
                format!("did you mean {nearest}?")
            } else {
                format!("the nearest is {nearest}, of {}", self.known.join(", "))
            }
        });
        Err(ConfigError::UnknownKey {
            file: self.file.clone(),
            key: self.full(key),
            value: show(value),
            fix,
        })
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// A text value.
pub(super) fn text(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| "write it as a text in double quotes".to_owned())
}

/// A truth value.
pub(super) fn truth(value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| "write true or false, without quotes".to_owned())
}

/// A list of texts, each parsed by `parse`.
pub(super) fn list<T>(
    value: &Value,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let items = value
        .as_array()
        .ok_or_else(|| "write it as a list, such as [\"…\", \"…\"]".to_owned())?;
    items
        .iter()
        .map(|item| text(item).and_then(&parse))
        .collect()
}

/// A whole number within bounds.
pub(super) fn whole(value: &Value, min: u16, max: u16) -> Result<u16, String> {
    let fix = || format!("write a whole number from {min} to {max}, without quotes");
    let number = value.as_integer().ok_or_else(fix)?;
    u16::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(fix)
}

/// A length of time with its unit, within bounds.
pub(super) fn duration(value: &Value, min: Duration, max: Duration) -> Result<Duration, String> {
    let (least, most) = (
        humantime::format_duration(min),
        humantime::format_duration(max),
    );
    let fix = || {
        format!("write a time with its unit from \"{least}\" to \"{most}\", such as \"{least}\"")
    };
    let parsed = text(value)
        .ok()
        .and_then(|text| humantime::parse_duration(text).ok())
        .ok_or_else(fix)?;
    if (min..=max).contains(&parsed) {
        Ok(parsed)
    } else {
        Err(fix())
    }
}

/// A size in bytes with its unit, within bounds.
pub(super) fn bytes(value: &Value, min: u64, max: u64) -> Result<u64, String> {
    let fix = || {
        format!(
            "write a size with its unit from \"{}MiB\" to \"{}GiB\", such as \"64MiB\"",
            min >> 20,
            max >> 30
        )
    };
    let parsed = text(value).ok().and_then(parse_bytes).ok_or_else(fix)?;
    if (min..=max).contains(&parsed) {
        Ok(parsed)
    } else {
        Err(fix())
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The value as the file has it, on one line, cut at 80 characters.
fn show(value: &Value) -> String {
    let line = match value {
        Value::Table(_) => "{…}".to_owned(),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_) => value.to_string().replace('\n', " "),
    };
    let mut cut: String = line.chars().take(80).collect();
    if cut.len() < line.len() {
        cut.push('…');
    }
    cut
}

/// Edits that turn one word into the other (Levenshtein), for the nearest known key.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for (r, pair) in right.iter().zip(row.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            let before = next.last().copied().unwrap_or(0);
            next.push(
                (diagonal + usize::from(l != *r))
                    .min(above + 1)
                    .min(before + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
