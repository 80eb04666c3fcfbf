//! `firstmile-lab score`: moves of paths made in the lab, again and again, against what the product flags.
//!
//! The truth of a move is the time at which the kernels were told and the times between which their forwarding tables
//! changed for each path: a packet takes the new path from then on, and none before.

mod figures;
mod truth;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::check::api::{Api, Event};
use crate::check::learned;
use crate::clock;
use crate::control::{Request, Truth};
use crate::outer::{Lab, Options};
use figures::{Figures, Move};
use truth::Stand;

/// What is made to happen, in this order. A black hole is noticed by BGP's hold timer and moves twice: it is not scored.
pub const EVENTS: [&str; 5] = ["router", "pop", "peering", "provider", "edge"];
/// How often the forwarding tables are looked at: what the times of moves are good to.
const LOOK: Duration = Duration::from_millis(400);
/// Routes settle within this.
const SETTLING: Duration = Duration::from_secs(45);
/// A move stays for so long after the routes settled: longer than a brief event.
const STAY: Duration = Duration::from_secs(150);
/// What was flagged is closed so long after the routes are back.
const RECOVERY: Duration = Duration::from_secs(150);

/// What to score.
#[derive(Clone, Debug)]
pub struct ScoreOptions {
    /// How to bring the lab up.
    pub lab: Options,
    /// How often each move is made.
    pub repetitions: u32,
    /// Which moves are made, of [`EVENTS`].
    pub events: Vec<String>,
}

/// A path: site and the target's name at the collector.
type Pair = (String, String);

/// What one look at the tables shows, and when it was over.
struct Looked {
    at_unix_ms: i64,
    stands: BTreeMap<Pair, Stand>,
}

/// Brings a lab up, makes the moves, and ends it.
///
/// # Errors
/// When the lab does not come up or breaks, or the API does not answer. What is flagged wrongly is no error.
pub async fn run(options: ScoreOptions, progress: &dyn Fn(&str)) -> anyhow::Result<Value> {
    let lab = Lab::start(options.lab.clone(), progress).await?;
    let scored = score(&lab, &options, progress).await;
    lab.stop().await;
    scored
}

async fn score(
    lab: &Lab,
    options: &ScoreOptions,
    progress: &dyn Fn(&str),
) -> anyhow::Result<Value> {
    let api = Api::new(&lab.dashboard())?;
    progress("waiting until the agents have learned their paths");
    let agents = learned(&api, lab).await?.len();
    let start = clock::now();
    let mut figures = Figures::default();
    let mut all: Vec<Move> = Vec::new();
    for repetition in 1..=options.repetitions {
        for event in &options.events {
            let mut moves = one(lab, &api, event, &mut figures).await?;
            let flagged = moves.iter().filter(|made| made.delay_s.is_some()).count();
            progress(&format!(
                "{repetition}/{} {event}: {} paths moved, {flagged} flagged",
                options.repetitions,
                moves.len()
            ));
            all.append(&mut moves);
            learned(&api, lab).await.context("after a move")?;
        }
    }
    let elapsed = clock::now().saturating_duration_since(start).as_secs_f64();
    let agent_days = f64::from(u32::try_from(agents).unwrap_or(u32::MAX)) * elapsed / 86_400.0;
    let mut named = figures.named(agent_days);
    if let Some(named) = named.as_object_mut() {
        named.insert("repetitions".to_owned(), json!(options.repetitions));
        named.insert("look_ms".to_owned(), json!(LOOK.as_millis()));
        named.insert("moves".to_owned(), json!(all));
    }
    Ok(named)
}

/// One move and its undoing.
async fn one(
    lab: &Lab,
    api: &Api,
    event: &str,
    figures: &mut Figures,
) -> anyhow::Result<Vec<Move>> {
    let before = look(lab).await?;
    let began = clock::unix_ms();
    let down = told(lab, &format!("{event}-down")).await?;
    let away = follow(lab, &before, false).await?;
    let mut moves = moves_of(event, down, &before, &away);
    ensure!(!moves.is_empty(), "no path moved by {event}-down");
    tokio::time::sleep(STAY).await;
    let up = told(lab, &format!("{event}-up")).await?;
    let home = follow(lab, &before, true).await?;
    for made in &mut moves {
        let pair = (made.site.clone(), made.target.clone());
        let same = |looked: &&Looked| looked.stands.get(&pair) == before.stands.get(&pair);
        made.back_unix_ms = home.iter().find(same).map(|looked| looked.at_unix_ms);
    }
    tokio::time::sleep(RECOVERY).await;
    let mut events = api.moves_of_the_hour().await?;
    events.retain(|event| event.detected_unix_ms >= began);
    // While routes look for another way, a path may be anywhere for some seconds.
    let hunting = [span(down, &away), span(up, &home)];
    let excused = |event: &Event| {
        let within =
            |span: &[i64; 2]| (span[0]..=span[1] + 62_000).contains(&event.first_novel_unix_ms);
        let undone = event.class == "unreachable" || event.first_novel_unix_ms >= up[0];
        undone && hunting.iter().any(within)
    };
    figures.add(&mut moves, &events, &excused);
    Ok(moves)
}

fn span(action: [i64; 2], looks: &[Looked]) -> [i64; 2] {
    [
        action[0],
        looks.last().map_or(action[1], |looked| looked.at_unix_ms),
    ]
}

/// Makes something happen; the times before and after.
async fn told(lab: &Lab, name: &str) -> anyhow::Result<[i64; 2]> {
    let before = clock::unix_ms();
    let name = name.to_owned();
    let said: String = lab.ask(Request::Event { name: name.clone() }).await?;
    ensure!(said.starts_with(&name), "{name} did not happen: {said}");
    Ok([before, clock::unix_ms()])
}

async fn look(lab: &Lab) -> anyhow::Result<Looked> {
    let truths: Vec<Truth> = lab.ask(Request::Truth).await?;
    let place = |router: &str| lab.place_of(router);
    let stands = truths.iter().map(|truth| {
        let pair = (truth.site.clone(), truth.collector_target());
        (pair, Stand::of(truth, &place))
    });
    Ok(Looked {
        stands: stands.collect(),
        at_unix_ms: clock::unix_ms(),
    })
}

/// Looks until the routes have been the same for a while, or are back; all looks.
async fn follow(lab: &Lab, before: &Looked, home: bool) -> anyhow::Result<Vec<Looked>> {
    let start = clock::now();
    let mut looks: Vec<Looked> = Vec::new();
    while clock::now().saturating_duration_since(start) < SETTLING {
        let now = look(lab).await?;
        let back = home && now.stands == before.stands;
        looks.push(now);
        if back {
            return Ok(looks);
        }
        tokio::time::sleep(LOOK).await;
    }
    ensure!(!home, "the paths are not back within {SETTLING:?}");
    Ok(looks)
}

/// What moved in the end, and between which looks it came to be where it stayed.
fn moves_of(event: &str, action: [i64; 2], before: &Looked, looks: &[Looked]) -> Vec<Move> {
    let Some(last) = looks.last() else {
        return Vec::new();
    };
    let mut moves = Vec::new();
    for (pair, usual) in &before.stands {
        let Some(new) = last.stands.get(pair) else {
            continue;
        };
        let Some(class) = usual.moved_to(new) else {
            continue;
        };
        let there = |looked: &Looked| looked.stands.get(pair) == Some(new);
        let stayed = looks.iter().rposition(|looked| !there(looked));
        let first = looks.get(stayed.map_or(0, |index| index + 1));
        let elsewhere = stayed.and_then(|index| looks.get(index));
        moves.push(Move {
            event: event.to_owned(),
            action_unix_ms: action,
            site: pair.0.clone(),
            target: pair.1.clone(),
            class,
            path_unix_ms: [
                elsewhere.map_or(action[0], |looked| looked.at_unix_ms),
                first.map_or(last.at_unix_ms, |looked| looked.at_unix_ms),
            ],
            back_unix_ms: None,
            delay_s: None,
            flagged: None,
            closed: false,
        });
    }
    moves
}

/// Writes the figures.
///
/// # Errors
/// When the file cannot be written.
pub fn write(figures: &Value, file: &Path) -> anyhow::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let text = serde_json::to_string_pretty(figures).context("figures are JSON")?;
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}
