//! What people say of incidents.

use std::collections::BTreeMap;

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, OrganisationId};
use rusqlite::{OptionalExtension, Row, ToSql, Transaction, params};

use super::registry::{self, all};
use super::writer::Durability;
use super::{Embedded, engine, forms, inbox};
use crate::registry::SiteId;
use crate::store::desk::{Desk, Doing, KeptWindow, Marks, NOTES_MAX, Note, WINDOWS_MAX};
use crate::store::{InboxReport, StoreError, StoreResult};

#[async_trait]
impl Desk for Embedded {
    async fn acknowledge(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
        by: Doing,
        on: bool,
    ) -> StoreResult<bool> {
        let (organisation, incident_id) = (organisation.clone(), incident_id.to_owned());
        self.writer
            .run(Durability::Full, "acknowledge an incident", move |tx| {
                acknowledge(tx, &organisation, &incident_id, &by, on)
            })
            .await
    }

    async fn add_note(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
        note: Note,
    ) -> StoreResult<()> {
        let (organisation, incident_id) = (organisation.clone(), incident_id.to_owned());
        self.writer
            .run(Durability::Full, "write a note", move |tx| {
                add_note(tx, &organisation, &incident_id, &note)
            })
            .await
    }

    async fn marks(&self, organisation: &OrganisationId, incident_id: &str) -> StoreResult<Marks> {
        let (organisation, incident_id) = (organisation.clone(), incident_id.to_owned());
        self.readers
            .run("read notes", move |tx| {
                marks(tx, &organisation, &incident_id)
            })
            .await
    }

    async fn windows(&self, organisation: &OrganisationId) -> StoreResult<Vec<KeptWindow>> {
        let organisation = organisation.clone();
        self.readers
            .run("read change windows", move |tx| {
                let sql = "SELECT window_id, created_unix_ms, who, form FROM change_window WHERE organisation = ?1
                    ORDER BY created_unix_ms, window_id";
                all(tx, sql, [organisation.as_str()], window_of)
            })
            .await
    }

    async fn put_window(
        &self,
        organisation: &OrganisationId,
        window: KeptWindow,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        self.writer
            .run(Durability::Full, "write a change window", move |tx| {
                put_window(tx, &organisation, &window)
            })
            .await
    }

    async fn delete_window(
        &self,
        organisation: &OrganisationId,
        id: &str,
        by: Doing,
    ) -> StoreResult<bool> {
        let (organisation, id) = (organisation.clone(), id.to_owned());
        self.writer
            .run(Durability::Full, "delete a change window", move |tx| {
                let sql = "DELETE FROM change_window WHERE organisation = ?1 AND window_id = ?2";
                let gone = execute(tx, sql, params![organisation.as_str(), id])? > 0;
                if gone {
                    audit(
                        tx,
                        &organisation,
                        &by,
                        &format!("deleted change window {id}"),
                    )?;
                }
                Ok(gone)
            })
            .await
    }

    async fn reports_of(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        received_unix_ms: (i64, i64),
        limit: u32,
    ) -> StoreResult<Vec<InboxReport>> {
        let organisation = organisation.clone();
        self.readers
            .run("read reports of an agent", move |tx| {
                inbox::of_agent(tx, &organisation, agent, received_unix_ms, limit)
            })
            .await
    }

    async fn site_zones(
        &self,
        organisation: &OrganisationId,
    ) -> StoreResult<BTreeMap<String, String>> {
        let organisation = organisation.clone();
        self.readers
            .run("read time zones", move |tx| {
                let sql = "SELECT site_id, zone FROM site_zone WHERE organisation = ?1";
                let pair = |row: &Row<'_>| {
                    let read =
                        || -> rusqlite::Result<(String, String)> { Ok((row.get(0)?, row.get(1)?)) };
                    read().map_err(engine("read time zones"))
                };
                Ok(all(tx, sql, [organisation.as_str()], pair)?
                    .into_iter()
                    .collect())
            })
            .await
    }

    async fn put_site_zone(
        &self,
        organisation: &OrganisationId,
        site: SiteId,
        zone: Option<String>,
        by: Doing,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        self.writer
            .run(Durability::Full, "write a time zone", move |tx| {
                put_site_zone(tx, &organisation, site, zone.as_deref(), &by)
            })
            .await
    }
}

fn acknowledge(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
    by: &Doing,
    on: bool,
) -> StoreResult<bool> {
    let changed = if on {
        let sql = "INSERT INTO incident_acknowledged (organisation, incident_id, at_unix_ms, who) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO NOTHING";
        let row = params![organisation.as_str(), incident_id, by.at_unix_ms, by.who];
        execute(tx, sql, row)?
    } else {
        let sql = "DELETE FROM incident_acknowledged WHERE organisation = ?1 AND incident_id = ?2";
        execute(tx, sql, params![organisation.as_str(), incident_id])?
    };
    if changed > 0 {
        let did = if on {
            "acknowledged"
        } else {
            "took back the acknowledgement of"
        };
        audit(
            tx,
            organisation,
            by,
            &format!("{did} incident {incident_id}"),
        )?;
    }
    Ok(changed > 0)
}

fn add_note(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
    note: &Note,
) -> StoreResult<()> {
    let sql = "SELECT count(*) FROM incident_note WHERE organisation = ?1 AND incident_id = ?2";
    let key = params![organisation.as_str(), incident_id];
    if count(tx, sql, key)? >= NOTES_MAX {
        return Err(StoreError::Conflict {
            what: "full list of notes of incident",
            key: incident_id.to_owned(),
        });
    }
    let sql = "INSERT INTO incident_note (organisation, incident_id, at_unix_ms, who, note) VALUES (?1, ?2, ?3, ?4, ?5)";
    let Doing { at_unix_ms, who } = &note.by;
    let row = params![
        organisation.as_str(),
        incident_id,
        at_unix_ms,
        who,
        note.text
    ];
    execute(tx, sql, row)?;
    let line = format!("wrote a note to incident {incident_id}");
    audit(tx, organisation, &note.by, &line)
}

fn marks(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
) -> StoreResult<Marks> {
    let key = params![organisation.as_str(), incident_id];
    let sql = "SELECT at_unix_ms, who FROM incident_acknowledged WHERE organisation = ?1 AND incident_id = ?2";
    let acknowledged = tx
        .query_row(sql, key, |row| {
            Ok(Doing {
                at_unix_ms: row.get(0)?,
                who: row.get(1)?,
            })
        })
        .optional()
        .map_err(engine("read an acknowledgement"))?;
    let sql = "SELECT at_unix_ms, who, note FROM incident_note WHERE organisation = ?1 AND incident_id = ?2 ORDER BY note_no";
    let note_of = |row: &Row<'_>| {
        let read = || -> rusqlite::Result<Note> {
            let by = Doing {
                at_unix_ms: row.get(0)?,
                who: row.get(1)?,
            };
            let text = row.get(2)?;
            Ok(Note { by, text })
        };
        read().map_err(engine("read a note"))
    };
    Ok(Marks {
        acknowledged,
        notes: all(tx, sql, key, note_of)?,
    })
}

fn put_window(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    window: &KeptWindow,
) -> StoreResult<()> {
    let sql = "SELECT count(*) FROM change_window WHERE organisation = ?1";
    if count(tx, sql, params![organisation.as_str()])? >= WINDOWS_MAX {
        return Err(StoreError::Conflict {
            what: "full list of change windows, at most",
            key: WINDOWS_MAX.to_string(),
        });
    }
    let form = forms::write("a change window", &window.wish)?;
    let sql = "INSERT INTO change_window (organisation, window_id, created_unix_ms, who, form) VALUES (?1, ?2, ?3, ?4, ?5)";
    let Doing { at_unix_ms, who } = &window.by;
    execute(
        tx,
        sql,
        params![organisation.as_str(), window.id, at_unix_ms, who, form],
    )?;
    let line = format!("made change window {}: {form}", window.id);
    audit(tx, organisation, &window.by, &line)
}

fn window_of(row: &Row<'_>) -> StoreResult<KeptWindow> {
    let read = || -> rusqlite::Result<(String, Doing, String)> {
        let by = Doing {
            at_unix_ms: row.get(1)?,
            who: row.get(2)?,
        };
        Ok((row.get(0)?, by, row.get(3)?))
    };
    let (id, by, form) = read().map_err(engine("read change windows"))?;
    let wish = forms::read("a change window", &form)?;
    Ok(KeptWindow { id, by, wish })
}

fn put_site_zone(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    site: SiteId,
    zone: Option<&str>,
    by: &Doing,
) -> StoreResult<()> {
    let known = registry::site(tx, organisation, site)?;
    let key = site.to_string();
    if let Some(zone) = zone {
        let sql = "INSERT INTO site_zone (organisation, site_id, zone) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET zone = excluded.zone";
        execute(tx, sql, params![organisation.as_str(), key, zone])?;
    } else {
        let sql = "DELETE FROM site_zone WHERE organisation = ?1 AND site_id = ?2";
        execute(tx, sql, params![organisation.as_str(), key])?;
    }
    let line = format!(
        "set the time zone of site {} to {}",
        known.name,
        zone.unwrap_or("none")
    );
    audit(tx, organisation, by, &line)
}

/// Deletes what was said of incidents before a time.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    let delete = |sql: &str| execute(tx, sql, params![before_unix_ms]);
    Ok(delete("DELETE FROM incident_note WHERE at_unix_ms < ?1")?
        + delete("DELETE FROM incident_acknowledged WHERE at_unix_ms < ?1")?)
}

fn audit(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    by: &Doing,
    line: &str,
) -> StoreResult<()> {
    registry::audit(tx, organisation, by.at_unix_ms, &by.who, line)
}

fn execute(tx: &Transaction<'_>, sql: &str, row: &[&dyn ToSql]) -> StoreResult<usize> {
    tx.execute(sql, row).map_err(engine("write what was said"))
}

fn count(tx: &Transaction<'_>, sql: &str, key: &[&dyn ToSql]) -> StoreResult<u32> {
    tx.query_row(sql, key, |row| row.get(0))
        .map_err(engine("count what was said"))
}
