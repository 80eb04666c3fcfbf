//! What was told, and the outbox.

use std::collections::BTreeMap;

use async_trait::async_trait;
use firstmile_wire::ids::OrganisationId;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::registry::all;
use super::writer::Durability;
use super::{Embedded, engine, forms};
use crate::notify::core::notice::Phase;
use crate::notify::core::plan::{Message, Told};
use crate::store::notifying::{
    Attempt, ChannelCounts, Letter, LetterState, Notifying, Telling, WAITING_MAX,
};
use crate::store::{StoreError, StoreResult};

const LETTER: &str =
    "channel, state, created_unix_ms, due_unix_ms, attempts, last_error, finished_unix_ms, notice";

#[async_trait]
impl Notifying for Embedded {
    async fn told(
        &self,
        organisation: &OrganisationId,
        incidents: Vec<String>,
    ) -> StoreResult<BTreeMap<String, Told>> {
        let organisation = organisation.clone();
        self.readers
            .run("read what was told", move |tx| {
                let mut found = BTreeMap::new();
                for incident_id in incidents {
                    if let Some(told) = told(tx, &organisation, &incident_id)? {
                        found.insert(incident_id, told);
                    }
                }
                Ok(found)
            })
            .await
    }

    async fn tell(
        &self,
        organisation: &OrganisationId,
        now_unix_ms: i64,
        tellings: Vec<Telling>,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        self.writer
            .run(Durability::Full, "write notifications", move |tx| {
                tellings
                    .iter()
                    .try_for_each(|telling| tell(tx, &organisation, now_unix_ms, telling))
            })
            .await
    }

    async fn next_letter(
        &self,
        organisation: &OrganisationId,
        channel: &str,
    ) -> StoreResult<Option<Letter>> {
        let (organisation, channel) = (organisation.clone(), channel.to_owned());
        self.readers
            .run("read its outbox", move |tx| {
                let sql = format!(
                    "SELECT letter_no, {LETTER} FROM notify_outbox
                     WHERE organisation = ?1 AND channel = ?2 AND state = 'waiting' ORDER BY letter_no LIMIT 1"
                );
                let key = params![organisation.as_str(), channel];
                Ok(all(tx, &sql, key, letter_of)?.into_iter().next())
            })
            .await
    }

    async fn settle(
        &self,
        organisation: &OrganisationId,
        number: i64,
        now_unix_ms: i64,
        attempt: Attempt,
    ) -> StoreResult<()> {
        let organisation = organisation.clone();
        self.writer
            .run(
                Durability::Full,
                "write what became of a message",
                move |tx| settle(tx, &organisation, number, now_unix_ms, attempt),
            )
            .await
    }

    async fn give_up_letters(
        &self,
        organisation: &OrganisationId,
        channel: &str,
        before_unix_ms: i64,
        now_unix_ms: i64,
    ) -> StoreResult<usize> {
        let (organisation, channel) = (organisation.clone(), channel.to_owned());
        self.writer
            .run(Durability::Full, "give messages up", move |tx| {
                tx.execute(
                    "UPDATE notify_outbox SET state = 'dead', finished_unix_ms = ?4,
                         last_error = coalesce(last_error, 'it waited longer than messages are kept')
                     WHERE organisation = ?1 AND channel = ?2 AND state = 'waiting' AND created_unix_ms < ?3",
                    params![organisation.as_str(), channel, before_unix_ms, now_unix_ms],
                )
                .map_err(engine("give messages up"))
            })
            .await
    }

    async fn unfinished(&self, organisation: &OrganisationId) -> StoreResult<Vec<String>> {
        let organisation = organisation.clone();
        self.readers
            .run("read what was told", move |tx| {
                let sql = "SELECT incident_id FROM notify_told
                    WHERE organisation = ?1 AND json_array_length(form, '$.channels') > 0";
                all(tx, sql, [organisation.as_str()], |row| {
                    row.get(0).map_err(engine("read what was told"))
                })
            })
            .await
    }

    async fn letters(
        &self,
        organisation: &OrganisationId,
        state: Option<LetterState>,
        incident_id: Option<String>,
        limit: u32,
    ) -> StoreResult<Vec<Letter>> {
        let organisation = organisation.clone();
        self.readers
            .run("read its outbox", move |tx| {
                let sql = format!(
                    "SELECT letter_no, {LETTER} FROM notify_outbox
                     WHERE organisation = ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR incident_id = ?3)
                     ORDER BY letter_no DESC LIMIT ?4"
                );
                let state = state.map(LetterState::as_str);
                let key = params![organisation.as_str(), state, incident_id, limit];
                all(tx, &sql, key, letter_of)
            })
            .await
    }

    async fn channel_counts(
        &self,
        organisation: &OrganisationId,
    ) -> StoreResult<Vec<ChannelCounts>> {
        let organisation = organisation.clone();
        self.readers
            .run("count its outbox", move |tx| {
                let sql = "SELECT channel, sum(state = 'waiting'), sum(state = 'delivered'), sum(state = 'dead'),
                        min(CASE state WHEN 'waiting' THEN created_unix_ms END),
                        (SELECT last_error FROM notify_outbox AS failed WHERE failed.organisation = ?1
                            AND failed.channel = notify_outbox.channel AND failed.state <> 'delivered'
                            AND failed.last_error IS NOT NULL ORDER BY failed.letter_no DESC LIMIT 1)
                    FROM notify_outbox WHERE organisation = ?1 GROUP BY channel ORDER BY channel";
                all(tx, sql, [organisation.as_str()], counts_of)
            })
            .await
    }
}

fn told(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    incident_id: &str,
) -> StoreResult<Option<Told>> {
    let form: Option<String> = tx
        .prepare_cached("SELECT form FROM notify_told WHERE organisation = ?1 AND incident_id = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(params![organisation.as_str(), incident_id], |row| {
                    row.get(0)
                })
                .optional()
        })
        .map_err(engine("read what was told"))?;
    form.map(|form| forms::read("what was told", &form))
        .transpose()
}

fn tell(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    now_unix_ms: i64,
    telling: &Telling,
) -> StoreResult<()> {
    let form = forms::write("what was told", &telling.told)?;
    tx.execute(
        "INSERT INTO notify_told (organisation, incident_id, changed_unix_ms, form) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET changed_unix_ms = excluded.changed_unix_ms, form = excluded.form",
        params![organisation.as_str(), telling.incident_id, now_unix_ms, form],
    )
    .map_err(engine("write what was told"))?;
    for message in &telling.messages {
        for channel in &message.channels {
            put(tx, organisation, now_unix_ms, channel, message)?;
        }
    }
    Ok(())
}

fn put(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    now_unix_ms: i64,
    channel: &str,
    message: &Message,
) -> StoreResult<()> {
    let notice = &message.notice;
    let form = forms::write("a notification", notice)?;
    let write = || -> rusqlite::Result<()> {
        if notice.phase == Phase::Update {
            // The newest word that it goes on is the one that counts.
            tx.execute(
                "DELETE FROM notify_outbox WHERE organisation = ?1 AND channel = ?2 AND incident_id = ?3 AND phase = 'update'",
                params![organisation.as_str(), channel, notice.incident_id],
            )?;
        }
        tx.execute(
            "INSERT INTO notify_outbox (organisation, channel, message_id, incident_id, phase, created_unix_ms, due_unix_ms,
                 attempts, state, notice)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 0, 'waiting', ?7) ON CONFLICT DO NOTHING",
            params![
                organisation.as_str(),
                channel,
                notice.message_id,
                notice.incident_id,
                notice.phase.as_str(),
                now_unix_ms,
                form
            ],
        )?;
        tx.execute(
            "UPDATE notify_outbox SET state = 'dead', finished_unix_ms = ?3, last_error = 'too many newer messages wait'
             WHERE organisation = ?1 AND channel = ?2 AND state = 'waiting' AND letter_no <= (
                 SELECT letter_no FROM notify_outbox WHERE organisation = ?1 AND channel = ?2 AND state = 'waiting'
                 ORDER BY letter_no DESC LIMIT 1 OFFSET ?4)",
            params![organisation.as_str(), channel, now_unix_ms, WAITING_MAX],
        )?;
        Ok(())
    };
    write().map_err(engine("write a notification"))
}

fn settle(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    number: i64,
    now_unix_ms: i64,
    attempt: Attempt,
) -> StoreResult<()> {
    let (state, finished, error, due) = match attempt {
        Attempt::Delivered => ("delivered", Some(now_unix_ms), None, None),
        Attempt::Failed { error, due_unix_ms } => ("waiting", None, Some(error), Some(due_unix_ms)),
        Attempt::GivenUp { error } => ("dead", Some(now_unix_ms), Some(error), None),
    };
    tx.execute(
        "UPDATE notify_outbox SET state = ?3, finished_unix_ms = ?4, last_error = coalesce(?5, last_error),
             due_unix_ms = coalesce(?6, due_unix_ms), attempts = attempts + 1
         WHERE organisation = ?1 AND letter_no = ?2 AND state = 'waiting'",
        params![
            organisation.as_str(),
            number,
            state,
            finished,
            error,
            due
        ],
    )
    .map(drop)
    .map_err(engine("write what became of a message"))
}

/// Deletes messages that were delivered or given up before a time, or wait for a channel that is gone since then, and what was told of
/// incidents that nobody heard of since.
pub(super) fn forget(tx: &Transaction<'_>, before_unix_ms: i64) -> StoreResult<usize> {
    let delete = |sql: &str| {
        tx.execute(sql, [before_unix_ms])
            .map_err(engine("delete old notifications"))
    };
    Ok(
        delete("DELETE FROM notify_outbox WHERE coalesce(finished_unix_ms, created_unix_ms) < ?1")?
            + delete("DELETE FROM notify_told WHERE changed_unix_ms < ?1")?,
    )
}

fn letter_of(row: &Row<'_>) -> StoreResult<Letter> {
    let read = || -> rusqlite::Result<(Letter, String, String)> {
        let letter = Letter {
            number: row.get(0)?,
            channel: row.get(1)?,
            state: LetterState::Waiting,
            created_unix_ms: row.get(3)?,
            due_unix_ms: row.get(4)?,
            attempts: row.get(5)?,
            last_error: row.get(6)?,
            finished_unix_ms: row.get(7)?,
            notice: crate::notify::core::notice::Notice::test(uuid::Uuid::nil(), 0, None),
        };
        Ok((letter, row.get(2)?, row.get(8)?))
    };
    let (letter, state, notice) = read().map_err(engine("read a notification"))?;
    let state = LetterState::parse(&state).ok_or_else(|| StoreError::Damaged {
        what: "the state of a notification",
        detail: state.clone(),
    })?;
    Ok(Letter {
        state,
        notice: forms::read("a notification", &notice)?,
        ..letter
    })
}

fn counts_of(row: &Row<'_>) -> StoreResult<ChannelCounts> {
    let read = || -> rusqlite::Result<ChannelCounts> {
        Ok(ChannelCounts {
            channel: row.get(0)?,
            waiting: row.get(1)?,
            delivered: row.get(2)?,
            dead: row.get(3)?,
            oldest_waiting_unix_ms: row.get(4)?,
            last_error: row.get(5)?,
        })
    };
    read().map_err(engine("count its outbox"))
}
