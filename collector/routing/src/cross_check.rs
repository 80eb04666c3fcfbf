//! What agents say to a verdict of routing: signs that are added up as log-odds, and the grade that follows.
//!
//! An agent in the prefix is asked; without one the verdict is not testable, which is another word than unsupported.

/// What one agent in the prefix shows since the verdict started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// Its path moved or broke.
    pub is_hit: bool,
    /// It reaches nothing any more.
    pub is_cut_off: bool,
    /// Whether a server showed another issuer, or a chain that does not verify; `None`: no handshake since.
    pub other_keys: Option<bool>,
    /// The AS that the verdict names stands in its path, and did not before.
    pub passes_offender: bool,
    /// By how much its RTT changed, microseconds, at the least (lower end of the interval).
    pub rtt_change_us: Option<i64>,
    /// By how many hops its path became longer or shorter.
    pub hops_change: Option<u32>,
}

/// Agents elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Those that report.
    pub agents: u32,
    /// Of them, those that reach nothing any more.
    pub cut_off: u32,
}

/// How well agents bear a verdict out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Above 5.
    Confirmed,
    /// Above 2.
    Supported,
    /// From 0 to 2.
    Undecided,
    /// Below 0.
    Unsupported,
    /// No agent is in the prefix.
    NotTestable,
}

impl Grade {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Supported => "supported",
            Self::Undecided => "undecided",
            Self::Unsupported => "unsupported",
            Self::NotTestable => "not_testable",
        }
    }
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossCheck {
    /// The grade.
    pub grade: Grade,
    /// Sum of the log-odds.
    pub score: f64,
    /// The signs, each with what it adds or takes away.
    pub signs: Vec<String>,
}

/// Correlation between being in the prefix and being cut off that is no accident.
const CORRELATED: f64 = 0.6;
/// A rise of the RTT that another way explains better than a queue.
const FAR_US: i64 = 20_000;
/// Hops that the path changes by on such another way.
const FAR_HOPS: u32 = 3;

/// Adds up what agents in the prefix say.
pub fn grade(inside: &[Testimony], elsewhere: Elsewhere, is_rpki_valid: bool) -> CrossCheck {
    if inside.is_empty() {
        return CrossCheck {
            grade: Grade::NotTestable,
            score: 0.0,
            signs: vec!["no agent is at a site of the prefix".to_owned()],
        };
    }
    let any = |of: fn(&Testimony) -> bool| inside.iter().any(of);
    let is_far = |one: &Testimony| {
        one.rtt_change_us.is_some_and(|us| us >= FAR_US)
            && one.hops_change.is_some_and(|hops| hops >= FAR_HOPS)
    };
    let is_slower = |one: &Testimony| one.rtt_change_us.is_some_and(|us| us > 0);
    let cut_off = count(inside, |one| one.is_cut_off);
    let correlation = phi(
        cut_off,
        count(inside, |one| !one.is_cut_off),
        elsewhere.cut_off,
        elsewhere.agents.saturating_sub(elsewhere.cut_off),
    );
    let unmoved = inside
        .iter()
        .all(|one| !one.is_hit && one.other_keys == Some(false));
    let signs = [
        (
            any(|one| one.other_keys == Some(true)),
            6.0,
            "servers show certificates of another issuer, or chains that do not verify",
        ),
        (
            cut_off > 0 && correlation > CORRELATED,
            4.0,
            "agents of the prefix are cut off while others are not",
        ),
        (
            any(|one| one.passes_offender),
            3.0,
            "the AS of the verdict is new in the paths of agents",
        ),
        (
            any(is_far),
            1.5,
            "the RTT rose by 20 ms or more on a path of another length",
        ),
        (any(is_slower) && !any(is_far), 0.3, "the RTT rose"),
        (
            unmoved,
            -4.0,
            "certificates and paths are as before on every agent of the prefix",
        ),
        (is_rpki_valid, -3.0, "RPKI allows the announcement"),
    ];
    let held: Vec<_> = signs.into_iter().filter(|(holds, ..)| *holds).collect();
    let score = held.iter().map(|(_, adds, _)| adds).sum();
    CrossCheck {
        grade: of_score(score),
        score,
        signs: held
            .into_iter()
            .map(|(_, adds, text)| format!("{text} ({adds:+})"))
            .collect(),
    }
}

fn of_score(score: f64) -> Grade {
    if score > 5.0 {
        Grade::Confirmed
    } else if score > 2.0 {
        Grade::Supported
    } else if score < 0.0 {
        Grade::Unsupported
    } else {
        Grade::Undecided
    }
}

fn count(of: &[Testimony], holds: fn(&Testimony) -> bool) -> u32 {
    u32::try_from(of.iter().filter(|one| holds(one)).count()).unwrap_or(u32::MAX)
}

/// The phi coefficient of a table of four counts; 1 where nobody is elsewhere and all inside are cut off would prove nothing, so it is 0.
fn phi(inside_cut: u32, inside_well: u32, outside_cut: u32, outside_well: u32) -> f64 {
    let [a, b, c, d] = [inside_cut, inside_well, outside_cut, outside_well].map(f64::from);
    let margins = (a + b) * (c + d) * (a + c) * (b + d);
    if margins > 0.0 {
        (a * d - b * c) / margins.sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Testimony {
        Testimony {
            other_keys: Some(false),
            ..Testimony::default()
        }
    }

    const OTHERS: Elsewhere = Elsewhere {
        agents: 4,
        cut_off: 0,
    };

    fn says(name: &str, inside: &[Testimony], elsewhere: Elsewhere, want: (Grade, f64)) {
        let told = grade(inside, elsewhere, false);
        assert_eq!(told.grade, want.0, "{name}: {told:?}");
        assert!((told.score - want.1).abs() < 1e-9, "{name}: {told:?}");
    }

    #[test]
    fn each_sign_counts_as_it_was_given() {
        let keys = Testimony {
            other_keys: Some(true),
            ..Testimony::default()
        };
        let far = Testimony {
            is_hit: true,
            rtt_change_us: Some(25_000),
            hops_change: Some(3),
            ..quiet()
        };
        let slower = Testimony {
            hops_change: None,
            ..far
        };
        for (name, inside, want) in [
            ("nobody", vec![], (Grade::NotTestable, 0.0)),
            ("other keys", vec![keys], (Grade::Confirmed, 6.0)),
            ("far away", vec![far], (Grade::Undecided, 1.5)),
            ("slower", vec![slower], (Grade::Undecided, 0.3)),
            (
                "as before",
                vec![quiet(), quiet()],
                (Grade::Unsupported, -4.0),
            ),
            (
                "no handshake",
                vec![Testimony::default()],
                (Grade::Undecided, 0.0),
            ),
        ] {
            says(name, &inside, OTHERS, want);
        }
    }

    #[test]
    fn agents_that_are_cut_off_say_something_if_others_are_not() {
        let cut = Testimony {
            is_hit: true,
            is_cut_off: true,
            ..Testimony::default()
        };
        let all_cut = Elsewhere {
            agents: 4,
            cut_off: 4,
        };
        says("here", &[cut, cut], OTHERS, (Grade::Supported, 4.0));
        says("everywhere", &[cut], all_cut, (Grade::Undecided, 0.0));
        let nobody = Elsewhere::default();
        says("all there are", &[cut], nobody, (Grade::Undecided, 0.0));
    }

    #[test]
    fn the_as_of_the_verdict_in_the_path_supports_it_unless_rpki_allows_it() {
        let through = Testimony {
            is_hit: true,
            passes_offender: true,
            ..quiet()
        };
        let inside = [through, quiet()];
        says("through it", &inside, OTHERS, (Grade::Supported, 3.0));
        let allowed = grade(&inside, OTHERS, true);
        assert_eq!(allowed.grade, Grade::Undecided, "{allowed:?}");
    }
}
