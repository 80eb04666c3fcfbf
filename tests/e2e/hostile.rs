//! A target that forges, floods, cuts off, answers late and from another address: no bad sample, no memory, all counted.

use std::time::Duration;

use firstmile_lab::control::{Outcome, Request, Truth};
use firstmile_lab::hostile::HELD;
use firstmile_lab::outer::Lab;
use firstmile_wire::v1;

use crate::branches::{SITE, ecmp};
use crate::reports::{samples, spooled};

/// How long the target is hostile, before memory is looked at and after.
const WARM_UP: Duration = Duration::from_secs(10);
const SIEGE: Duration = Duration::from_secs(40);
/// What the agent may grow by, kB: a report waiting, not 200 replies to each request.
const MOST_GROWTH_KB: u64 = 4_000;
/// Of a reply that is believed, against that of the network and of the host that holds it back.
const EARLY_US: u32 = 1_000;

#[test]
fn a_hostile_target_neither_spoils_a_sample_nor_grows_the_agent() {
    let _alone = crate::alone();
    let state = tempfile::tempdir().unwrap();
    let options = ecmp(state.path().join("lab"));
    let program = options.lab.to_str().unwrap().to_owned();
    crate::runtime().block_on(async {
        let mut lab = Lab::start(options, &|text| println!("{text}"))
            .await
            .unwrap();
        lab.kill_collector().await.unwrap();
        let truths: Vec<Truth> = lab.ask(Request::Truth).await.unwrap();
        let network_us = u32::try_from(truths[0].rtt_us.unwrap()).unwrap();
        // At first any agent grows: it learns names, roots, paths.
        besiege(&lab, &program, WARM_UP).await;
        let before_kb = rss_kb(&lab).await;
        let heard = besiege(&lab, &program, SIEGE).await;
        let after_kb = rss_kb(&lab).await;
        println!("{heard}: resident memory {before_kb} kB before, {after_kb} kB after");
        let reports = spooled(&lab, SITE);
        let pings: Vec<_> = samples(&reports)
            .into_iter()
            .filter(|sample| sample.protocol == v1::Protocol::Icmp)
            .collect();
        let held_us = u32::try_from(HELD.as_micros()).unwrap();
        let bad = |sample: &&crate::reports::Sample| {
            sample.outcome == v1::Outcome::Answered
                && sample.rtt_us < network_us + held_us - EARLY_US
        };
        // The first echoes may have left before the siege began.
        let spoilt: Vec<_> = pings.iter().skip(4).filter(bad).collect();
        assert!(pings.len() >= 8, "only {} echoes", pings.len());
        assert_eq!(spoilt.len(), 0, "{spoilt:?}");
        assert!(
            pings
                .iter()
                .any(|sample| sample.outcome == v1::Outcome::Timeout),
            "late is lost"
        );
        assert!(
            pings
                .iter()
                .any(|sample| sample.outcome == v1::Outcome::Answered),
            "{pings:?}"
        );
        let counters = reports
            .iter()
            .rev()
            .find_map(|report| report.counters)
            .unwrap();
        println!("{counters:?}");
        // What is shorter than an echo's header does not pass the kernel's filter, so nobody can count that.
        for (name, count) in [
            ("forged", counters.forged_replies),
            ("duplicate", counters.duplicate_replies),
            ("truncated", counters.truncated_replies),
            ("late", counters.late_replies),
        ] {
            assert!(count > 0, "{name} replies are counted: {counters:?}");
        }
        assert!(
            after_kb < before_kb + MOST_GROWTH_KB,
            "{before_kb} to {after_kb} kB"
        );
        lab.stop().await;
    });
}

async fn besiege(lab: &Lab, program: &str, duration: Duration) -> String {
    let duration = format!("{}s", duration.as_secs());
    let addresses = [
        "203.0.113.10",
        "2001:db8:cb00:7100::a",
        "203.0.113.53",
        "2001:db8:cb00:7100::35",
    ];
    let mut command = vec![program, "hostile", "--duration", &duration];
    command.extend(addresses);
    on(lab, "fd-ams", &command).await
}

/// What a program on a machine of the lab says; it has to end well.
async fn on(lab: &Lab, machine: &str, command: &[&str]) -> String {
    let request = Request::Run {
        machine: machine.to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        limit_ms: 90_000,
    };
    let outcome: Outcome = lab.ask(request).await.unwrap();
    assert_eq!(outcome.code, Some(0), "{command:?}: {}", outcome.stderr);
    outcome.stdout.trim().to_owned()
}

/// Resident memory of the agent.
async fn rss_kb(lab: &Lab) -> u64 {
    let ps = ["ps", "-C", "firstmile-agent", "-o", "rss="];
    on(lab, &format!("{SITE}-pc"), &ps).await.parse().unwrap()
}
