//! What is measured is true, and a POP that fails is flagged.

use std::time::Duration;

use firstmile_lab::check::{self, CheckOptions};

#[test]
fn every_site_measures_the_truth_and_a_failed_pop_is_flagged_everywhere() {
    let _alone = crate::alone();
    let state = tempfile::tempdir().unwrap();
    let options = CheckOptions {
        lab: crate::options(state.path().join("lab")),
        quiet: Duration::from_secs(30),
    };
    let report = crate::runtime()
        .block_on(check::run(options, &|text| println!("{text}")))
        .unwrap();
    println!("{}", report.table());
    assert!(report.passed(), "the table above says what is wrong");
    let rows = report.rows.len();
    assert_eq!(rows, 24, "six sites, two front doors, two families");
    let samples = report.rows.iter().flat_map(|row| &row.rtt);
    assert!(
        samples.clone().all(|rtt| rtt.n > 0),
        "nothing is compared unmeasured"
    );
}
