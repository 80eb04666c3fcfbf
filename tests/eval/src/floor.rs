//! How right the classifier is, as a test: small populations of tuning seeds whose right and wrong claims are counted. What was
//! right once must stay right. Counts do not depend on the machine; how fast it is does not matter.

use firstmile_shift::judge::Judge;
use firstmile_shift::level::Class;

use crate::bench::of_style;
use crate::other::Style;
use crate::run::{How, Run};
use crate::score::Score;
use crate::script::Size;
use crate::sim::History;

const SIZE: Size = Size {
    agents: 12,
    days: 2.0,
    events: 1.0,
    nuisances: 1.0,
};

/// Most flanks of a class that were missed though they could be seen, and most claims of it that were wrong.
type Limit = (Class, f64, f64);

fn holds(score: &Score, limits: &[Limit], least_right: f64) {
    for (class, missed, wrong) in limits {
        let of = score.classes.get(class).copied().unwrap_or_default();
        assert!(
            of.observable - of.found <= *missed && of.claimed - of.right <= *wrong,
            "{class:?}: {of:?}, {missed} may be missed, {wrong} wrong; {:#?}",
            score.examples
        );
    }
    let right: f64 = score.classes.values().map(|of| of.found_of_all).sum();
    assert!(
        right >= least_right,
        "{right} flanks right of {least_right}; {:#?}",
        score.examples
    );
}

#[test]
fn what_was_right_stays_right() {
    let mut run = Run::default();
    for seed in 1..=3 {
        run.merge(Run::of(seed, How::usual(), SIZE));
    }
    let score = &run.score;
    let limits = [
        (Class::Geo, 0.0, 0.0),
        (Class::Provider, 0.0, 0.0),
        (Class::Local, 2.0, 0.0),
        (Class::RedundancyLost, 0.0, 2.0),
        (Class::Uplink, 0.0, 0.0),
        (Class::Unreachable, 0.0, 0.0),
        (Class::PartialGeo, 0.0, 0.0),
        (Class::FrontDoorMoved, 0.0, 0.0),
    ];
    holds(score, &limits, 302.0);
    let starts: u32 = score.false_starts.values().sum();
    assert!(starts <= 1, "{starts} false starts: {:#?}", score.examples);
    assert_eq!(score.false_ends, 0, "{:#?}", score.examples);
    assert_eq!(run.groups_false, 0, "{:#?}", score.examples);
    assert!(
        score.over_bound < 0.5,
        "later than its bound: {}",
        score.over_bound
    );
    assert!(
        score.onsets - score.covered <= 1.0,
        "{} of {}",
        score.covered,
        score.onsets
    );
    assert!(score.ece() <= 0.05, "{}", score.ece());
    assert!(run.state_bytes <= 4_000, "{}", run.state_bytes);
}

#[test]
fn another_internet_is_judged_as_well_as_it_was() {
    let mut score = Score::default();
    for seed in [2, 7] {
        of_style(&Style::of(seed, 2, 0.7), &mut score);
    }
    let limits = [
        (Class::Geo, 0.0, 2.0),
        (Class::Local, 0.0, 0.0),
        (Class::RedundancyLost, 0.0, 0.0),
        (Class::Uplink, 0.0, 0.0),
        (Class::Unreachable, 0.0, 0.0),
    ];
    holds(&score, &limits, 20.0);
    assert!(score.false_starts.is_empty(), "{:#?}", score.examples);
}

#[test]
fn nothing_happens_where_nothing_happens() {
    let size = Size {
        agents: 20,
        events: 0.0,
        ..SIZE
    };
    let run = Run::of(501, How::usual(), size);
    assert!(
        run.score.false_starts.is_empty(),
        "{:#?}",
        run.score.examples
    );
}

#[test]
fn lines_and_what_they_are_read_to_be_are_judged_alike() {
    let size = Size {
        agents: 3,
        days: 0.5,
        ..SIZE
    };
    let judged = |written: bool| {
        let mut history = History::new(4, How::usual().stress, size, 8);
        let mut judge = Judge::new(&history.world()).expect("a world");
        let mut line = String::new();
        while let Some(sent) = history.next() {
            sent.tell(&mut judge, &mut line, written);
        }
        serde_json::to_string(&judge.finish()).expect("lines")
    };
    let (lines, messages) = (judged(true), judged(false));
    assert!(
        lines.contains("\"start\""),
        "an event was to be judged: {lines}"
    );
    assert_eq!(lines, messages);
}
