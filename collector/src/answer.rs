//! Answers to questions about samples in the forms that people and programs read: JSON and CSV.

use crate::api::types::{QueryFigure, QueryReport, QueryRestsOn, QueryRow, Window};
use crate::rollup::Weighting;
use crate::store::questions::{Answer, AnswerRow, Quantile, Question};

/// As JSON.
pub fn report_of(question: &Question, answer: &Answer) -> QueryReport {
    let row = |row: &AnswerRow| QueryRow {
        at_unix_ms: row.at_unix_ms,
        group: row.key.iter().map(ToString::to_string).collect(),
        n: row.n,
        agents: row.agents,
        lost: row.lost,
        loss_ratio: row.loss_ratio(),
        min_us: row.min_us,
        mean_us: row.mean_us.map(f64::round),
        quantiles_us: row.quantiles.iter().map(|one| figure_of(*one)).collect(),
    };
    let rests_on = answer.rests_on;
    QueryReport {
        window: Window {
            from_unix_ms: question.from_unix_ms,
            to_unix_ms: question.to_unix_ms,
        },
        step_s: question.step_ms.map(|step| step / 1_000),
        by: question
            .by
            .iter()
            .map(|one| one.word().to_owned())
            .collect(),
        weighting: weighting_word(question.weighting).to_owned(),
        quantiles: question.quantiles.clone(),
        rows: answer.rows.iter().map(row).collect(),
        rests_on: QueryRestsOn {
            samples: rests_on.samples,
            rollups: rests_on.rollups,
            histories: rests_on.histories,
            cells: rests_on.cells,
            damaged: rests_on.damaged,
        },
        gaps: answer
            .gaps
            .iter()
            .map(|(from_unix_ms, to_unix_ms)| Window {
                from_unix_ms: *from_unix_ms,
                to_unix_ms: *to_unix_ms,
            })
            .collect(),
    }
}

/// As a table: a line for each row, a name for each column in the first.
pub fn csv_of(question: &Question, answer: &Answer) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut head: Vec<String> = vec!["at".to_owned()];
    head.extend(question.by.iter().map(|one| one.word().to_owned()));
    head.extend(["n", "agents", "lost", "loss_ratio", "min_us", "mean_us"].map(str::to_owned));
    head.extend(question.quantiles.iter().map(|share| column_of(*share)));
    // A table in memory takes what is written, and every line has the columns of the first.
    csv.write_record(&head).ok();
    for row in &answer.rows {
        let mut line: Vec<String> = vec![time_of(row.at_unix_ms)];
        line.extend(row.key.iter().map(ToString::to_string));
        line.extend([
            row.n.to_string(),
            row.agents.to_string(),
            row.lost.to_string(),
        ]);
        let number = |number: Option<String>| number.unwrap_or_default();
        line.push(number(row.loss_ratio().map(|ratio| format!("{ratio:.6}"))));
        line.push(number(row.min_us.map(|us| us.to_string())));
        line.push(number(row.mean_us.map(|us| format!("{us:.0}"))));
        line.extend(row.quantiles.iter().map(|one| match one {
            Quantile::Unknown => String::new(),
            Quantile::Us(us) => us.to_string(),
            Quantile::Lost => "lost".to_owned(),
        }));
        csv.write_record(&line).ok();
    }
    let bytes = csv.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `p95_us` of 0.95.
fn column_of(share: f64) -> String {
    // Shares are given with few digits; what doubles add behind them is no news.
    let percent = (share * 1e8).round() / 1e6;
    format!("p{percent}_us")
}

fn time_of(at_unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_unix_ms)
        .map_or_else(|_| at_unix_ms.to_string(), |at| at.to_string())
}

fn figure_of(one: Quantile) -> Option<QueryFigure> {
    match one {
        Quantile::Unknown => None,
        Quantile::Us(us) => Some(QueryFigure::Us(us)),
        Quantile::Lost => Some(QueryFigure::Lost("lost".to_owned())),
    }
}

const fn weighting_word(weighting: Weighting) -> &'static str {
    match weighting {
        Weighting::Agent => "agent",
        Weighting::Sample => "sample",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::questions::Dimension;

    #[test]
    fn an_answer_is_a_table_of_its_rows() {
        let question = Question {
            by: vec![Dimension::Target],
            quantiles: vec![0.5, 0.999],
            ..Question::default()
        };
        let row = AnswerRow {
            at_unix_ms: 1_767_614_400_000,
            key: [Arc::from("a, or b")].into(),
            n: 4,
            agents: 1,
            lost: 1,
            probes: 5,
            min_us: Some(7),
            mean_us: Some(8.4),
            quantiles: vec![Quantile::Us(8), Quantile::Lost],
        };
        let empty = AnswerRow {
            n: 0,
            lost: 0,
            min_us: None,
            mean_us: None,
            quantiles: vec![Quantile::Unknown; 2],
            ..row.clone()
        };
        let answer = Answer {
            rows: vec![row, empty],
            ..Answer::default()
        };
        let text = csv_of(&question, &answer);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "at,target,n,agents,lost,loss_ratio,min_us,mean_us,p50_us,p99.9_us",
                "2026-01-05T12:00:00Z,\"a, or b\",4,1,1,0.250000,7,8,8,lost",
                "2026-01-05T12:00:00Z,\"a, or b\",0,1,0,,,,,",
            ]
        );
        let json = serde_json::to_value(report_of(&question, &answer)).unwrap();
        assert_eq!(
            json["rows"][0]["quantiles_us"],
            serde_json::json!([8, "lost"])
        );
        assert_eq!(
            json["rows"][1]["quantiles_us"],
            serde_json::json!([null, null])
        );
    }
}
