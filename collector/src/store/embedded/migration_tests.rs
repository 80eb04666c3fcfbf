//! A store of each earlier version with rows in every table is brought forward: nothing of it is lost, and it is backed up first.

use std::collections::BTreeMap;

use super::*;
use crate::geo::Geography;
use crate::store::{Store as _, embedded};

/// A row of a table: its columns by name, as SQL writes their values.
type Row = BTreeMap<String, String>;

/// Rows that each table is given.
const ROWS: u8 = 3;

fn tables(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// Names and types of a table's columns.
fn columns(connection: &Connection, table: &str) -> Vec<(String, String)> {
    let mut statement = connection
        .prepare("SELECT name, type FROM pragma_table_info(?1)")
        .unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found = statement.query_map([table], read).unwrap();
    found.collect::<Result<_, _>>().unwrap()
}

/// A value of its own for each row, of a form that later programs read where they read it again.
fn value(table: &str, column: &str, kind: &str, row: u8) -> String {
    match (table, column, kind) {
        // One row for each organisation.
        ("organisation" | "incident_change", "organisation", _) => format!("'organisation-{row}'"),
        (_, "organisation", _) => "'default'".to_owned(),
        ("site", "geography", _) => {
            let text = serde_json::to_string(&Geography::default()).unwrap();
            format!("'{text}'")
        }
        (_, "revoked", _) => "0".to_owned(),
        ("event", "form", _) => format!("'{{\"kept\":{row}}}'"),
        (_, _, "INTEGER") => row.to_string(),
        (_, _, "BLOB") => format!("x'{}'", format!("{row:02x}").repeat(16)),
        (_, _, "TEXT") => format!("'{column}-{row}'"),
        (_, _, other) => panic!("{table}.{column} is of an unknown type: {other}"),
    }
}

fn fill(connection: &Connection) {
    for table in tables(connection) {
        for row in 1..=ROWS {
            let (names, values): (Vec<_>, Vec<_>) = columns(connection, &table)
                .into_iter()
                .map(|(name, kind)| (name.clone(), value(&table, &name, &kind, row)))
                .unzip();
            let (names, values) = (names.join(", "), values.join(", "));
            let sql = format!("INSERT INTO {table} ({names}) VALUES ({values})");
            connection.execute_batch(&sql).unwrap();
        }
    }
}

/// All that is in the store, by table.
fn contents(connection: &Connection) -> BTreeMap<String, Vec<Row>> {
    let of = |table: String| {
        let columns = columns(connection, &table);
        let quoted: Vec<String> = columns
            .iter()
            .map(|(name, _)| format!("quote({name})"))
            .collect();
        let sql = format!("SELECT {} FROM {table}", quoted.join(", "));
        let mut statement = connection.prepare(&sql).unwrap();
        let read = |row: &rusqlite::Row<'_>| {
            let values = columns.iter().enumerate();
            values
                .map(|(index, (name, _))| Ok((name.clone(), row.get(index)?)))
                .collect::<rusqlite::Result<Row>>()
        };
        let mut rows: Vec<Row> = statement
            .query_map([], read)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        rows.sort();
        (table, rows)
    };
    tables(connection).into_iter().map(of).collect()
}

/// Version 10 compares paths by another classifier, which learns afresh: the only table that a migration empties.
fn is_emptied(version: usize, table: &str) -> bool {
    version < 10 && table == "path_memory"
}

fn at_version(version: usize, path: &Path) -> Connection {
    let connection = open_writer(path).unwrap();
    for sql in &MIGRATIONS[..version] {
        connection.execute_batch(sql).unwrap();
    }
    connection
        .pragma_update(None, "user_version", u32::try_from(version).unwrap())
        .unwrap();
    connection
}

#[tokio::test]
async fn a_store_of_every_earlier_version_comes_forward_with_all_it_holds() {
    for version in 1..MIGRATIONS.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let before = {
            let connection = at_version(version, &path);
            fill(&connection);
            contents(&connection)
        };

        // As the collector does at its start.
        let store = embedded::open(dir.path()).await.unwrap();
        let organisation = firstmile_wire::ids::OrganisationId::default_organisation();
        let agents = store.agents(&organisation).await.unwrap();
        let hosts: Vec<_> = agents.iter().map(|agent| &*agent.hostname).collect();
        assert_eq!(hosts, ["hostname-1", "hostname-2", "hostname-3"]);
        let sites = store.sites(&organisation).await.unwrap();
        assert_eq!(sites.len(), usize::from(ROWS), "version {version}");
        drop(store);

        let after = Connection::open(&path).unwrap();
        let sound: String = after
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok", "version {version}");
        let after = contents(&after);
        for (table, rows) in &before {
            let kept = &after[table];
            if is_emptied(version, table) {
                assert_eq!(kept.len(), 0, "{table} of version {version}");
                continue;
            }
            assert_eq!(kept.len(), rows.len(), "{table} of version {version}");
            for (row, kept) in rows.iter().zip(kept) {
                // A column may be added, and one may be given what a new meaning needs; none is lost.
                for (column, value) in row {
                    assert_eq!(
                        kept.get(column),
                        Some(value),
                        "{table}.{column} of version {version}"
                    );
                }
            }
        }
        let kept = Connection::open(backup_path(&path, u32::try_from(version).unwrap())).unwrap();
        assert_eq!(contents(&kept), before, "the backup of version {version}");
    }
}
