//! Reading keys one by one, so that every complaint can name file, key, value and fix.

use std::io;

use toml::{Table, Value};

/// Why a configuration cannot be used: one line that names file, key, value and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot be read; name another one with --config")]
    Read {
        /// Which file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{file}: line {line}: {text:?} is not TOML: {detail}")]
    Syntax {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What the parser said.
        detail: String,
    },
    /// There is no such key.
    #[error("{file}: {key} = {value}: there is no such key; {fix}")]
    UnknownKey {
        /// Which file.
        file: String,
        /// Which key.
        key: String,
        /// Its value.
        value: String,
        /// What to write instead.
        fix: String,
    },
    /// The value cannot be used.
    #[error("{file}: {key} = {value}: {why}; {fix}")]
    BadValue {
        /// Which file.
        file: String,
        /// Which key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
        /// What to write instead.
        fix: String,
    },
}

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// How such a value is written, as the fix of an error.
    const LIKE: &'static str;
    /// Reads the value, or says what is wrong with it.
    fn read(value: &Value) -> Result<Self, String>;
}

/// One table of the file. Keys are taken out; what is left at the end is unknown.
pub(super) struct Section<'a> {
    file: &'a str,
    prefix: String,
    table: Table,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn open(text: &str, file: &'a str) -> Result<Self, ConfigError> {
        let table = text
            .parse::<Table>()
            .map_err(|error| syntax_error(text, file, &error))?;
        Ok(Self {
            file,
            prefix: String::new(),
            table,
            known: Vec::new(),
        })
    }

    pub(super) fn section(&mut self, key: &'static str) -> Result<Self, ConfigError> {
        self.known.push(key);
        let prefix = format!("{}{key}.", self.prefix);
        match self.table.remove(key) {
            None => Ok(Self {
                file: self.file,
                prefix,
                table: Table::new(),
                known: Vec::new(),
            }),
            Some(Value::Table(table)) => Ok(Self {
                file: self.file,
                prefix,
                table,
                known: Vec::new(),
            }),
            Some(other) => {
                let fix = format!("write its keys under [{}{key}]", self.prefix);
                Err(self.refuse(
                    key,
                    &one_line(&other),
                    "this is a section, not a value",
                    &fix,
                ))
            }
        }
    }

    /// The sections under a key, by the names that the administrator gave them: `[notify.channels.NAME]`.
    pub(super) fn named_sections(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(String, Self)>, ConfigError> {
        let whole = self.section(key)?;
        let prefix = whole.prefix;
        let inner = |(name, value): (String, Value)| {
            let Some(table) = value.as_table() else {
                return Err(self.refuse(
                    &format!("{key}.{}", name.escape_debug()),
                    &one_line(&value),
                    "this is a section, not a value",
                    &format!("write its keys under [{prefix}NAME]"),
                ));
            };
            let section = Self {
                file: self.file,
                prefix: format!("{prefix}{}.", name.escape_debug()),
                table: table.clone(),
                known: Vec::new(),
            };
            Ok((name, section))
        };
        whole.table.into_iter().map(inner).collect()
    }

    /// The sections of a list: `[[notify.rules]]`, counted from 1 in messages.
    pub(super) fn section_list(&mut self, key: &'static str) -> Result<Vec<Self>, ConfigError> {
        self.known.push(key);
        let found = self.table.remove(key);
        let fix = format!("write each one's keys under [[{}{key}]]", self.prefix);
        let refuse =
            |value: &Value| self.refuse(key, &one_line(value), "this is a list of sections", &fix);
        let values = match found {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => return Err(refuse(&other)),
        };
        let inner = |(index, value): (usize, Value)| {
            let table = value.as_table().ok_or_else(|| refuse(&value))?;
            Ok(Self {
                file: self.file,
                prefix: format!("{}{key}[{}].", self.prefix, index + 1),
                table: table.clone(),
                known: Vec::new(),
            })
        };
        values.into_iter().enumerate().map(inner).collect()
    }

    pub(super) fn take<T: Setting>(&mut self, key: &'static str) -> Result<Option<T>, ConfigError> {
        self.known.push(key);
        self.table
            .remove(key)
            .map(|value| self.read(key, &value))
            .transpose()
    }

    pub(super) fn take_list<T: Setting>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        self.known.push(key);
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| self.read(key, value))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(self.refuse(
                key,
                &one_line(&other),
                "this is a list",
                "write it like [\"…\"], or [] for none",
            )),
        }
    }

    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let Some((key, value)) = self.table.iter().next() else {
            return Ok(());
        };
        let nearest = self.known.iter().min_by_key(|known| distance(known, key));
        let fix = match nearest.filter(|known| distance(known, key) <= 2) {
            Some(known) => format!("did you mean {}{known}?", self.prefix),
            None => format!("known keys: {}", self.known.join(", ")),
        };
        let key = format!("{}{}", self.prefix, key.escape_debug());
        Err(ConfigError::UnknownKey {
            file: self.file.to_owned(),
            key,
            value: one_line(value),
            fix,
        })
    }

    pub(super) fn refuse(&self, key: &str, value: &str, why: &str, fix: &str) -> ConfigError {
        ConfigError::BadValue {
            file: self.file.to_owned(),
            key: format!("{}{key}", self.prefix),
            value: value.to_owned(),
            why: why.to_owned(),
            fix: fix.to_owned(),
        }
    }

    fn read<T: Setting>(&self, key: &str, value: &Value) -> Result<T, ConfigError> {
        let fix = format!("write it like {}", T::LIKE);
        T::read(value).map_err(|why| self.refuse(key, &one_line(value), &why, &fix))
    }
}

fn syntax_error(text: &str, file: &str, error: &toml::de::Error) -> ConfigError {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    ConfigError::Syntax {
        file: file.to_owned(),
        line,
        text: text
            .lines()
            .nth(line - 1)
            .unwrap_or_default()
            .chars()
            .take(80)
            .collect(),
        detail: error
            .message()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// A value as it would be written, on one line, cut where nobody reads on.
fn one_line(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => value.to_string(),
    };
    let text: Vec<&str> = text.split_whitespace().collect();
    let text = text.join(" ");
    if text.chars().count() > 100 {
        text.chars().take(100).chain(['…']).collect()
    } else {
        text
    }
}

/// Letters to insert, delete or replace to get from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut next = vec![index + 1];
        let mut last = index + 1;
        for ((other, above_left), above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            last = (above_left + usize::from(letter != *other))
                .min(above + 1)
                .min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
