//! Figures by anything: the answer to a question as JSON or CSV.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use firstmile_wire::v1::{Phase, Protocol};
use ipnet::IpNet;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query::{self, Asked, MEASURES};
use super::types::{ApiError, QueryReport, QuestionQuery, Window};
use crate::answer::{csv_of, report_of};
use crate::geo::Meaning;
use crate::rollup::{MINUTE_MS, Weighting};
use crate::store::questions::{DIMENSIONS, Dimension, Losses, Prefixes, Question, Rank};

/// Quantiles of one answer.
const QUANTILES_MAX: usize = 16;
/// Groups that can be asked for as the first ones.
const TOP_MAX: usize = 1_000;

/// Quantiles, mean, loss and counts by any grouping, at any step.
#[utoipa::path(get, path = "/api/v1/query", tag = "latency", operation_id = "query", params(QuestionQuery),
    responses((status = 200, body = QueryReport, description = "With `format=csv` a table instead"),
        (status = 400, body = ApiError), (status = 401, body = ApiError)))]
pub(super) async fn answer(
    State(state): State<ApiState>,
    access: Access,
    Asked(asked): Asked<QuestionQuery>,
) -> Result<Response, Failure> {
    let meaning = Arc::new(OfTables(state.meaning.now()));
    let is_csv = match asked.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(other) => return Err(Failure::bad_parameter("format", other, "json or csv")),
    };
    let mut question = question(&asked, (state.now_unix_ms)())?;
    question.prefixes = Some(meaning);
    let _given_up = StopOnDrop(Arc::clone(&question.stop));
    let answer = state.store.ask(&access.organisation, &question).await?;
    if !is_csv {
        return Ok(Json(report_of(&question, &answer)).into_response());
    }
    let text = csv_of(&question, &answer);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"firstmile.csv\"",
        ),
    ];
    Ok((headers, text).into_response())
}

/// Whoever asked may go away: then the store stops to read.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Prefixes of the tables of the moment.
struct OfTables(Arc<Meaning>);

impl Prefixes for OfTables {
    fn prefix(&self, address: IpAddr) -> Option<IpNet> {
        self.0.prefix(address)
    }
}

/// Reads a question of a command.
///
/// # Errors
/// A sentence that says what cannot be used, and what can.
pub fn question_of(asked: &QuestionQuery, now_unix_ms: i64) -> Result<Question, String> {
    question(asked, now_unix_ms).map_err(|failure| {
        let (_, _, message) = failure.parts();
        message.to_owned()
    })
}

/// Reads a question; what cannot be used is told with what can.
fn question(asked: &QuestionQuery, now_unix_ms: i64) -> Result<Question, Failure> {
    let by = dimensions(asked.by.as_deref())?;
    let window = query::window(
        asked.window.as_deref(),
        asked.from.as_deref(),
        asked.to.as_deref(),
        "1h",
        now_unix_ms,
    )?;
    let step_ms = match asked.step.as_deref() {
        None | Some("none") => None,
        text => Some(query::step(text, window)?),
    };
    let Window {
        from_unix_ms,
        to_unix_ms,
    } = query::aligned(window, step_ms.unwrap_or(MINUTE_MS));
    let (weighting, _) = query::weighting(asked.weighting.as_deref())?;
    let raw = match asked.source.as_deref() {
        None | Some("auto") => false,
        Some("raw") => true,
        Some(other) => return Err(Failure::bad_parameter("source", other, "auto or raw")),
    };
    Ok(Question {
        from_unix_ms,
        to_unix_ms,
        step_ms,
        measures: measures(asked, &by)?,
        target: asked.target.clone(),
        scope: query::scope(asked.scope.as_deref())?,
        by,
        weighting,
        losses: losses(asked.losses.as_deref(), weighting)?,
        quantiles: quantiles(asked.quantiles.as_deref())?,
        top: top(asked)?,
        raw,
        ..Question::default()
    })
}

fn dimensions(text: Option<&str>) -> Result<Vec<Dimension>, Failure> {
    let words = text.unwrap_or_default().split(',');
    let words = words.map(str::trim).filter(|word| !word.is_empty());
    let mut by = Vec::new();
    for word in words {
        let found = Dimension::of_word(word).filter(|found| !by.contains(found));
        by.push(found.ok_or_else(|| {
            let known = query::choices(DIMENSIONS.map(|(word, _)| word));
            Failure::bad_parameter("by", word, &format!("{known}, each once"))
        })?);
    }
    Ok(by)
}

fn measures(asked: &QuestionQuery, by: &[Dimension]) -> Result<Vec<(Protocol, Phase)>, Failure> {
    let phase = asked.phase.as_deref();
    let protocols: Vec<&str> = match asked.protocol.as_deref() {
        Some(text) => text.split(',').map(str::trim).collect(),
        None if by.contains(&Dimension::Protocol) => {
            vec!["tcp", "icmp", "https", "tls", "quic", "dns"]
        }
        None => vec!["tcp"],
    };
    if protocols.len() > 1 && !by.contains(&Dimension::Protocol) {
        return Err(Failure::bad_parameters(
            "several protocols in one figure say nothing: add protocol to by, or name one",
        ));
    }
    let mut found = Vec::new();
    for protocol in protocols {
        let first = query::measure(Some(protocol), phase)?;
        let all = phase.is_none() && by.contains(&Dimension::Phase);
        if all {
            let of_protocol = MEASURES.iter().filter(|one| one.1 == protocol);
            found.extend(of_protocol.map(|one| (one.0, one.2)));
        } else {
            found.push((first.protocol, first.phase));
        }
    }
    Ok(found)
}

fn quantiles(text: Option<&str>) -> Result<Vec<f64>, Failure> {
    let Some(text) = text else {
        return Ok(vec![0.5, 0.95, 0.99]);
    };
    let want = "up to 16 shares from above 0 to 1 with commas, such as 0.5,0.95";
    let refuse = || Failure::bad_parameter("quantiles", text, want);
    let mut found = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let share: f64 = word.parse().map_err(|_| refuse())?;
        if !(share > 0.0 && share <= 1.0) || found.len() >= QUANTILES_MAX {
            return Err(refuse());
        }
        found.push(share);
    }
    Ok(found)
}

fn losses(text: Option<&str>, weighting: Weighting) -> Result<Losses, Failure> {
    match (text.unwrap_or("apart"), weighting) {
        ("apart", _) => Ok(Losses::Apart),
        ("infinite", Weighting::Sample) => Ok(Losses::Infinite),
        ("infinite", Weighting::Agent) => Err(Failure::bad_parameters(
            "losses=infinite needs weighting=sample: what an agent lost is not in its weights",
        )),
        (other, _) => Err(Failure::bad_parameter("losses", other, "apart or infinite")),
    }
}

fn top(asked: &QuestionQuery) -> Result<Option<(usize, Rank)>, Failure> {
    let word = asked.rank.as_deref().unwrap_or("p95");
    let rank = match word {
        "mean" => Some(Rank::Mean),
        "loss" => Some(Rank::Loss),
        "n" => Some(Rank::Count),
        other => percent(other).map(Rank::Quantile),
    };
    let rank = rank.ok_or_else(|| {
        Failure::bad_parameter("rank", word, "p95 or another pNN, mean, loss or n")
    })?;
    let Some(text) = asked.top.as_deref() else {
        return Ok(None);
    };
    let n = text.parse().ok().filter(|n| (1..=TOP_MAX).contains(n));
    match n {
        Some(n) => Ok(Some((n, rank))),
        None => Err(Failure::bad_parameter(
            "top",
            text,
            "a number of groups from 1 to 1000",
        )),
    }
}

/// `p95` or `p99.9` as a share.
fn percent(word: &str) -> Option<f64> {
    let percent: f64 = word.strip_prefix('p')?.parse().ok()?;
    (percent > 0.0 && percent <= 100.0).then_some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_630_000;

    fn asked(by: &str) -> QuestionQuery {
        QuestionQuery {
            by: Some(by.to_owned()),
            ..QuestionQuery::default()
        }
    }

    #[test]
    fn a_question_without_words_is_the_last_hour_of_tcp() {
        let question = question(&QuestionQuery::default(), NOW).unwrap();
        assert_eq!(question.measures, [(Protocol::Tcp, Phase::Rtt)]);
        assert_eq!(question.to_unix_ms - question.from_unix_ms, 3_600_000);
        assert_eq!((question.step_ms, question.by.len()), (None, 0));
        assert_eq!(question.quantiles, [0.5, 0.95, 0.99]);
    }

    #[test]
    fn protocols_and_phases_follow_what_rows_are_told_apart_by() {
        let of = |query: &QuestionQuery| question(query, NOW).unwrap().measures.len();
        assert_eq!(of(&asked("metro, protocol")), 6);
        assert_eq!(of(&asked("phase,protocol")), MEASURES.len());
        let https = QuestionQuery {
            protocol: Some("https".to_owned()),
            ..asked("phase")
        };
        assert_eq!(of(&https), 4);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_can() {
        let with = |change: fn(&mut QuestionQuery)| {
            let mut query = QuestionQuery::default();
            change(&mut query);
            query
        };
        for (query, told) in [
            (asked("planet"), "country, subdivision"),
            (asked("metro,metro"), "each once"),
            (
                with(|query| query.protocol = Some("tcp,icmp".to_owned())),
                "add protocol to by",
            ),
            (
                with(|query| query.quantiles = Some("0.5,2".to_owned())),
                "shares",
            ),
            (
                with(|query| query.losses = Some("infinite".to_owned())),
                "weighting=sample",
            ),
            (with(|query| query.top = Some("0".to_owned())), "1 to 1000"),
            (with(|query| query.rank = Some("p0".to_owned())), "p95"),
            (
                with(|query| {
                    query.from = Some("1735689600000".to_owned());
                    query.to = Some("1767225600000".to_owned());
                    query.step = Some("60s".to_owned());
                }),
                "the nearest that does not is step=7200s",
            ),
        ] {
            let refused = question(&query, NOW).unwrap_err();
            let (_, _, message) = refused.parts();
            assert!(message.contains(told), "{message}");
        }
    }
}
