//! Figures of a bench with their targets: the lines under the table, and the JSON file.
#![expect(clippy::print_stdout, reason = "a bench talks to its user")]

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

/// Figures by name, and which of them miss their target.
#[derive(Default)]
pub struct Figures {
    values: Map<String, Value>,
    lines: Vec<String>,
    missed: usize,
}

impl Figures {
    /// Notes a figure that has no target.
    pub fn note(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let rounded = value.as_f64().map_or(value, |number| round(number).into());
        self.values.insert(name.to_owned(), rounded);
    }

    /// Notes a figure that is to be at most `target`.
    pub fn at_most(&mut self, name: &str, value: f64, target: f64) {
        self.judge(
            name,
            value,
            value <= target,
            &format!("at most {}", short(target)),
        );
    }

    /// Notes a figure that is to be at least `target`.
    pub fn at_least(&mut self, name: &str, value: f64, target: f64) {
        self.judge(
            name,
            value,
            value >= target,
            &format!("at least {}", short(target)),
        );
    }

    /// Notes how many times one figure is another, which is to be at least `target`.
    pub fn ratio_at_least(&mut self, name: &str, ours: &str, theirs: &str, target: f64) {
        self.at_least(name, self.ratio(ours, theirs), target);
    }

    /// Notes how many times one figure is another, which is to be at most `target`.
    pub fn ratio_at_most(&mut self, name: &str, ours: &str, theirs: &str, target: f64) {
        self.at_most(name, self.ratio(ours, theirs), target);
    }

    fn ratio(&self, ours: &str, theirs: &str) -> f64 {
        let figure = |name: &str| self.values.get(name).and_then(Value::as_f64);
        figure(ours).unwrap_or(f64::NAN) / figure(theirs).unwrap_or(f64::NAN)
    }

    fn judge(&mut self, name: &str, value: f64, met: bool, target: &str) {
        let word = if met { "met   " } else { "MISSED" };
        self.lines
            .push(format!("{word} {name} = {} ({target})", short(value)));
        self.missed += usize::from(!met);
        self.note(name, value);
    }

    /// Prints the targets, writes the file, and says whether all targets are met.
    ///
    /// # Errors
    /// If the file or its folder cannot be written.
    pub fn publish(mut self, json: Option<&Path>) -> anyhow::Result<bool> {
        for line in &self.lines {
            println!("{line}");
        }
        self.note("targets_missed", self.missed);
        if let Some(path) = json {
            let folder = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            let text =
                serde_json::to_string_pretty(&self.values).context("cannot write JSON")? + "\n";
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(self.missed == 0)
    }
}

/// The load of the machine, which every table names.
///
/// # Errors
/// Where there is no `/proc/loadavg`.
pub fn load() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("no /proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Three digits behind the point say enough.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn short(value: f64) -> String {
    format!("{}", round(value))
}
