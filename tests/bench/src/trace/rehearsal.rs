//! How soon a change is confirmed under the hop budget: the agent's own rehearsal of its plan, hours on a virtual clock.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::own;
use crate::run::{self, Priority};
use firstmile_figures::Figures;

/// Hours that are rehearsed: some thirty changes.
const HOURS: &str = "6";

/// Longest until the third round that shows a change, for half of all changes and for nineteen of twenty, seconds.
const HALF_S: f64 = 27.0;
const NEARLY_ALL_S: f64 = 40.0;

/// Judges one target alone and the first of eight that share their near routers; states all of the eight.
pub(super) fn judge(figures: &mut Figures, agent: &Path) -> anyhow::Result<()> {
    let alone = rehearse(agent, "1")?;
    let of_one = |quantile| delay(&alone, "burst_delay_s", quantile);
    figures.at_most("burst_delay_alone_s_p50", of_one("p50")?, HALF_S);
    figures.at_most("burst_delay_alone_s_p95", of_one("p95")?, NEARLY_ALL_S);
    let eight = rehearse(agent, "8")?;
    let first = |quantile| delay(&eight, "burst_delay_first_s", quantile);
    figures.at_most("burst_delay_first_s_p50", first("p50")?, HALF_S);
    figures.at_most("burst_delay_first_s_p95", first("p95")?, NEARLY_ALL_S);
    for quantile in ["p50", "p95", "max"] {
        let name = format!("burst_delay_s_{quantile}");
        figures.note(&name, delay(&eight, "burst_delay_s", quantile)?);
    }
    let learning = eight.get("learning_s").and_then(Value::as_f64);
    figures.note("learning_s", learning.context("no learning_s")?);
    Ok(())
}

fn rehearse(agent: &Path, targets: &str) -> anyhow::Result<Value> {
    let agent = agent.display().to_string();
    let line = run::line(&[
        &agent,
        "rehearse",
        "--json",
        "--hours",
        HOURS,
        "--targets",
        targets,
    ]);
    own::object(&run::tool(&line, Priority::Normal)?.text)
}

fn delay(report: &Value, what: &str, quantile: &str) -> anyhow::Result<f64> {
    let value = report.get(what).and_then(|spread| spread.get(quantile));
    (value.and_then(Value::as_f64))
        .with_context(|| format!("the rehearsal says no {quantile} of {what}"))
}
