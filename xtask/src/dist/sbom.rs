//! The bill of materials of a program, as `CycloneDX` 1.5 JSON: every crate that is linked into it, from cargo's own resolution
//! and lock file, and what the dashboard in it was bundled from, from npm's.
//!
//! Same commit, same bytes: no time, no random number, everything sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::step::{captured, command};
use crate::tree;

/// The bill of `package`, built for `target`; with `dashboard` in it or not.
pub(super) fn of(package: &str, target: &str, dashboard: bool) -> Result<String> {
    let metadata = captured(
        cargo_metadata()
            .args(["--filter-platform", target])
            .current_dir(tree::root()),
    )?;
    let metadata: Value =
        serde_json::from_str(&metadata).context("cannot read what cargo metadata prints")?;
    let lock =
        fs::read_to_string(tree::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let graph = Graph::of(&metadata, &lock);
    let root = graph
        .id_of(package)
        .with_context(|| format!("cargo knows no package {package}"))?;
    let linked = graph.linked_into(&root);
    let mut components: Vec<Value> = linked
        .iter()
        .filter(|id| **id != root)
        .filter_map(|id| graph.component(id))
        .collect();
    let mut dependencies: Vec<Value> = linked
        .iter()
        .filter_map(|id| {
            let on: Vec<_> = graph
                .needs(id)
                .into_iter()
                .filter_map(|id| graph.reference(&id))
                .collect();
            Some(json!({ "ref": graph.reference(id)?, "dependsOn": on }))
        })
        .collect();
    if dashboard {
        let bundled = npm()?;
        let all: Vec<_> = bundled
            .iter()
            .filter_map(|part| part.get("bom-ref").cloned())
            .collect();
        components.extend(bundled);
        dependencies.push(json!({ "ref": "dashboard", "dependsOn": all }));
        components
            .push(json!({ "type": "application", "bom-ref": "dashboard", "name": "dashboard" }));
    }
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "bom-ref": graph.reference(&root),
            "name": package,
            "version": env!("CARGO_PKG_VERSION"),
            "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        } },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&bill).context("cannot write JSON")? + "\n")
}

fn cargo_metadata() -> Command {
    let mut cargo = command("cargo");
    cargo.args(["metadata", "--locked", "--format-version", "1"]);
    cargo
}

/// What cargo resolved.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    /// What each links, without what only builds or tests it.
    edges: BTreeMap<&'a str, BTreeSet<String>>,
    /// Checksums by name and version.
    sums: BTreeMap<(String, String), String>,
}

impl<'a> Graph<'a> {
    fn of(metadata: &'a Value, lock: &str) -> Self {
        let packages = list(metadata, "/packages")
            .iter()
            .filter_map(|package| Some((package.get("id")?.as_str()?, package)))
            .collect();
        let edges = list(metadata, "/resolve/nodes")
            .iter()
            .filter_map(|node| Some((node.get("id")?.as_str()?, linked(node))))
            .collect();
        Self {
            packages,
            edges,
            sums: checksums(lock),
        }
    }

    fn id_of(&self, name: &str) -> Option<String> {
        let named = |package: &Value| text(package, "name") == name;
        let found = self.packages.iter().find(|(_, package)| named(package))?;
        Some((*found.0).to_owned())
    }

    fn needs(&self, id: &str) -> BTreeSet<String> {
        self.edges.get(id).cloned().unwrap_or_default()
    }

    fn linked_into(&self, root: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut next = vec![root.to_owned()];
        while let Some(id) = next.pop() {
            if all.insert(id.clone()) {
                next.extend(self.needs(&id));
            }
        }
        all
    }

    fn reference(&self, id: &str) -> Option<String> {
        let package = self.packages.get(id)?;
        Some(format!(
            "pkg:cargo/{}@{}",
            text(package, "name"),
            text(package, "version")
        ))
    }

    fn component(&self, id: &str) -> Option<Value> {
        let package = self.packages.get(id)?;
        let (name, version) = (text(package, "name"), text(package, "version"));
        let mut component = json!({
            "type": "library",
            "bom-ref": self.reference(id)?,
            "purl": self.reference(id)?,
            "name": name,
            "version": version,
        });
        let fields = component.as_object_mut()?;
        let licence = text(package, "license").replace('/', " OR ");
        if !licence.is_empty() {
            fields.insert("licenses".to_owned(), json!([{ "expression": licence }]));
        }
        if let Some(sum) = self.sums.get(&(name.to_owned(), version.to_owned())) {
            let hashes = json!([{ "alg": "SHA-256", "content": sum }]);
            fields.insert("hashes".to_owned(), hashes);
        }
        Some(component)
    }
}

fn linked(node: &Value) -> BTreeSet<String> {
    list(node, "/deps")
        .iter()
        .filter(|dependency| {
            let kinds = list(dependency, "/dep_kinds");
            kinds
                .iter()
                .any(|kind| kind.get("kind").is_none_or(Value::is_null))
        })
        .map(|dependency| text(dependency, "pkg").to_owned())
        .collect()
}

/// The checksums of a lock file of cargo's.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let field = |name: &str| {
                let start = format!("{name} = \"");
                let line = package.lines().find_map(|line| line.strip_prefix(&*start));
                Some(line?.trim_end_matches('"').to_owned())
            };
            Some(((field("name")?, field("version")?), field("checksum")?))
        })
        .collect()
}

/// What the dashboard is bundled from: all that npm installs, but what only builds and tests it.
fn npm() -> Result<Vec<Value>> {
    let file = tree::root().join("collector/dashboard/package-lock.json");
    let lock =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let lock: Value =
        serde_json::from_str(&lock).with_context(|| format!("cannot read {}", file.display()))?;
    let packages = lock.get("packages").and_then(Value::as_object);
    let mut parts: BTreeMap<String, Value> = BTreeMap::new();
    for (path, package) in packages.into_iter().flatten() {
        let Some((_, name)) = path.rsplit_once("node_modules/") else {
            continue;
        };
        let is_dev = package.get("dev").and_then(Value::as_bool) == Some(true);
        if is_dev {
            continue;
        }
        let version = text(package, "version");
        let reference = format!("pkg:npm/{}@{version}", name.replace('@', "%40"));
        let mut part = json!({
            "type": "library",
            "bom-ref": reference,
            "purl": reference,
            "name": name,
            "version": version,
        });
        let licence = text(package, "license");
        if let Some(fields) = part.as_object_mut().filter(|_| !licence.is_empty()) {
            fields.insert("licenses".to_owned(), json!([{ "expression": licence }]));
        }
        parts.insert(reference, part);
    }
    Ok(parts.into_values().collect())
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_names_what_is_linked_and_not_what_only_builds_or_tests() {
        let bill = of("firstmile-agent", "x86_64-unknown-linux-gnu", false).expect("a bill");
        let bill: Value = serde_json::from_str(&bill).expect("JSON");
        let names: BTreeSet<&str> = list(&bill, "/components")
            .iter()
            .map(|component| text(component, "name"))
            .collect();
        for linked in ["rustls", "tokio", "firstmile-wire", "sd-notify"] {
            assert!(names.contains(linked), "{linked} is missing");
        }
        for other in ["proptest", "windows-service", "protox", "firstmile-agent"] {
            assert!(!names.contains(other), "{other} is not in the program");
        }
        let rustls = list(&bill, "/components")
            .iter()
            .find(|component| text(component, "name") == "rustls")
            .expect("found");
        assert_eq!(list(rustls, "/hashes").len(), 1);
    }
}
