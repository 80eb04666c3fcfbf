//! A collector that is killed and comes back: no sample lost, none counted twice.

use std::collections::BTreeMap;
use std::time::Duration;

use firstmile_lab::check::api::Api;
use firstmile_lab::check::learned;
use firstmile_lab::clock::poll_until;
use firstmile_lab::control::Request;
use firstmile_lab::outer::Lab;
use serde::Deserialize;

const PAUSE: Duration = Duration::from_millis(500);
/// A probe that was sent before the time of the count and arrived after it is counted on one side only: at most one to each
/// front door over each family. A report lost or doubled is eight at least.
const UNDER_WAY: u64 = 4;

/// What an agent says of itself in `status.json`.
#[derive(Deserialize)]
struct Status {
    spool_reports: u64,
}

#[test]
fn a_killed_collector_loses_nothing_and_doubles_nothing() {
    let _alone = crate::alone();
    let state = tempfile::tempdir().unwrap();
    let options = crate::options(state.path().join("lab"));
    crate::runtime().block_on(async {
        let mut lab = Lab::start(options, &|text| println!("{text}"))
            .await
            .unwrap();
        let api = Api::new(&lab.dashboard()).unwrap();
        let agents = learned(&api, &lab).await.unwrap();
        lab.kill_collector().await.unwrap();
        let waiting = async || {
            Ok(lab
                .sites()
                .iter()
                .all(|site| spooled(&lab, site) >= 3)
                .then_some(()))
        };
        poll_until(
            "reports in every spool",
            Duration::from_mins(3),
            PAUSE,
            waiting,
        )
        .await
        .unwrap();
        lab.restart_collector().await.unwrap();
        let (seen, at_unix_ms) = knocks_at_a_minute(&lab).await;
        for agent in &agents {
            let site = &agent.site.name;
            let seen = seen[site];
            let told = async || {
                let tcp = api.count(&agent.agent_id, "tcp", "rtt", at_unix_ms).await?;
                let told = tcp
                    + api
                        .count(&agent.agent_id, "https", "connect", at_unix_ms)
                        .await?;
                assert!(
                    told <= seen + UNDER_WAY,
                    "{site}: the front doors saw {seen} connections, {told} are told of"
                );
                Ok((told + UNDER_WAY >= seen).then_some(told))
            };
            let what = format!("{site}: all {seen} connections that the front doors saw");
            let told = poll_until(&what, Duration::from_mins(2), PAUSE, told)
                .await
                .unwrap();
            println!("{site}: the front doors saw {seen}, the collector tells of {told}");
        }
        lab.stop().await;
    });
}

/// Counts at the turn of a minute, where no window of the collector is cut.
async fn knocks_at_a_minute(lab: &Lab) -> (BTreeMap<String, u64>, i64) {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let turn_ms = (now_ms / 60_000 + 1) * 60_000;
    let left = u64::try_from(turn_ms - now_ms).expect("a turn that is ahead");
    tokio::time::sleep(Duration::from_millis(left)).await; // the turn of the minute itself is awaited
    (
        lab.ask(Request::Knocks {
            before_unix_ms: turn_ms,
        })
        .await
        .expect("the lab answers"),
        turn_ms,
    )
}

fn spooled(lab: &Lab, site: &str) -> u64 {
    let file = lab
        .state()
        .join("sites")
        .join(site)
        .join("state/status.json");
    let text = std::fs::read(file).unwrap_or_default();
    serde_json::from_slice::<Status>(&text).map_or(0, |status| status.spool_reports)
}
