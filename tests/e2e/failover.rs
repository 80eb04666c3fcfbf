//! What is measured is true, a POP that fails is flagged, and whoever listens hears once that it failed and once that it is back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use firstmile_lab::check::{self, Report, api::Api};
use firstmile_lab::clock::poll_until;
use firstmile_lab::control::Request;
use firstmile_lab::outer::{Lab, Options};

use crate::receivers::{Alertmanager, Hook, Told};

const PAUSE: Duration = Duration::from_millis(500);
/// Routes come back, the old path is seen again for six rounds, and the end is held back for a while. Far more than that takes.
const AT_MOST: Duration = Duration::from_mins(8);

#[test]
fn every_site_measures_the_truth_and_a_failed_pop_is_flagged_and_told_once() {
    let _alone = crate::alone();
    let state = tempfile::tempdir().unwrap();
    crate::runtime().block_on(async {
        let hook = Hook::start().await;
        let alertmanager = Alertmanager::start(state.path()).await;
        let options = Options {
            collector_more: notifying(state.path(), hook.port, alertmanager.address),
            ..crate::options(state.path().join("lab"))
        };
        let mut lab = Lab::start(options, &|text| println!("{text}"))
            .await
            .unwrap();
        let quiet = Duration::from_secs(30);
        let report = check::measure(&lab, quiet, &|text| println!("{text}"))
            .await
            .unwrap();
        println!("{}", report.table());
        is_true(&report);
        is_told(&mut lab, &hook, &alertmanager).await;
        lab.stop().await;
    });
}

fn is_true(report: &Report) {
    assert!(report.passed(), "the table above says what is wrong");
    let rows = report.rows.len();
    assert_eq!(rows, 24, "six sites, two front doors, two families");
    let samples = report.rows.iter().flat_map(|row| &row.rtt);
    assert!(
        samples.clone().all(|rtt| rtt.n > 0),
        "nothing is compared unmeasured"
    );
}

/// The POP has failed. Says that it is told, survives a crash, and is told to be over when the POP comes back.
async fn is_told(lab: &mut Lab, hook: &Hook, alertmanager: &Alertmanager) {
    let started = async || Ok((!hook.heard("usual").is_empty()).then_some(()));
    poll_until("a start by the usual rules", AT_MOST, PAUSE, started)
        .await
        .unwrap();
    let firing = async || Ok(Some(alertmanager.incidents().await?).filter(|all| !all.is_empty()));
    let alerts: BTreeSet<String> = poll_until("an alert", AT_MOST, PAUSE, firing)
        .await
        .unwrap();

    // A collector that dies in the middle of it tells nothing twice, and forgets nothing.
    lab.kill_collector().await.unwrap();
    lab.restart_collector().await.unwrap();
    let request = Request::Event {
        name: "pop-up".to_owned(),
    };
    let said: String = lab.ask(request).await.unwrap();
    assert!(said.starts_with("pop-up"), "{said}");

    let api = Api::new(&lab.dashboard()).unwrap();
    let over = async || {
        let open = api.open_incidents().await?;
        let ended = |channel| hook.heard(channel).values().all(Told::is_over);
        Ok((open.is_empty() && ended("usual") && ended("each")).then_some(()))
    };
    poll_until("every end", AT_MOST, PAUSE, over).await.unwrap();
    let calm = async || Ok(alertmanager.incidents().await?.is_empty().then_some(()));
    poll_until("no alert", AT_MOST, PAUSE, calm).await.unwrap();

    let (usual, each) = (hook.heard("usual"), hook.heard("each"));
    println!("by the usual rules: {usual:#?}\neach: {each:#?}");
    for (incident, told) in usual.iter().chain(&each) {
        assert_eq!(told.phases, ["start", "end"], "{incident}");
    }
    assert_eq!(
        usual.len(),
        1,
        "one POP failed for the sites of one provider"
    );
    let (incident, told) = usual.first_key_value().unwrap();
    assert_eq!(told.class, "geo", "{incident}");
    assert_eq!(alerts, BTreeSet::from([incident.clone()]));
    // London alone goes by the other provider: a site of one agent is told to those who ask for it.
    let geo = each.values().filter(|told| told.class == "geo");
    assert_eq!(geo.count(), 2, "one for each provider");
}

/// One webhook as nobody configured it, one that asks for failovers of single agents too, and Alertmanager. Levels of single
/// paths rise truly on a machine that is busy: nobody asks for them here.
fn notifying(state: &Path, hook: u16, alertmanager: SocketAddr) -> String {
    let key = state.join("hook.key");
    std::fs::write(&key, "a key of this test").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let channel = |name: &str| {
        format!(
            "[notify.channels.{name}]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{hook}/{name}\"\nsecret_file = \"{}\"\n\n",
            key.display()
        )
    };
    format!(
        "[notify]\nend_after = \"10s\"\n\n{}{}[notify.channels.alerts]\nkind = \"alertmanager\"\nurl = \"http://{alertmanager}\"\n\n\
         [[notify.rules]]\nchannels = [\"usual\", \"alerts\"]\n\n[[notify.rules]]\nchannels = [\"each\"]\nsingle_agent = true\nclasses = [\"geo\"]\n",
        channel("usual"),
        channel("each"),
    )
}
