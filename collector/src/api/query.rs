//! Parameters of a query, read into valid values; an error says what was tried and what is allowed.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use firstmile_wire::ids::AgentId;
use firstmile_wire::v1::{Phase, Protocol};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::ApiState;
use super::failure::Failure;
use super::types::{GeographyLevel, Window};
use crate::rollup::{MINUTE_MS, Weighting, window_start};
use crate::store::Scope;

const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Windows by name.
const WINDOWS: [(&str, i64); 7] = [
    ("15m", 15 * MINUTE_MS),
    ("1h", HOUR_MS),
    ("6h", 6 * HOUR_MS),
    ("12h", 12 * HOUR_MS),
    ("1d", DAY_MS),
    ("7d", 7 * DAY_MS),
    ("30d", 30 * DAY_MS),
];

/// The longest span that can be asked for: nothing is kept longer.
const SPAN_MAX_MS: i64 = 400 * DAY_MS;

/// Steps that `auto` picks from, widening until a chart has at most [`AUTO_POINTS`] points.
const STEPS_MS: [i64; 8] = [
    MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    6 * HOUR_MS,
    DAY_MS,
];
const AUTO_POINTS: i64 = 400;
/// Points that a step may ask for: more than a wide screen has pixels.
const POINTS_MAX: i64 = 5_000;

/// Query parameters of type `T`; unknown ones are refused by name.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Failure> {
        let read = Query::<T>::try_from_uri(&parts.uri);
        let Query(value) =
            read.map_err(|rejection| Failure::bad_parameters(rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// When.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// `15m`, `1h`, `6h`, `12h`, `1d`, `7d`, `30d`, up to now; `1d` when absent.
    pub(super) window: Option<String>,
    /// Start in unix ms, instead of `window`.
    pub(super) from: Option<String>,
    /// End in unix ms, instead of `window`.
    pub(super) to: Option<String>,
    /// `open` or `closed`; both when absent.
    pub(super) state: Option<String>,
    /// Only of this agent.
    pub(super) agent: Option<String>,
}

/// Which verdicts of routing.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VerdictsQuery {
    /// `15m`, `1h`, `6h`, `12h`, `1d`, `7d`, `30d`, up to now; `1d` when absent.
    pub(super) window: Option<String>,
    /// `open` or `closed`; both when absent.
    pub(super) state: Option<String>,
}

/// Which statistics of routes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatisticsQuery {
    /// A month of UTC such as `2026-11`; this one when absent.
    pub(super) month: Option<String>,
    /// `json` or `csv`; `json` when absent.
    pub(super) format: Option<String>,
}

/// The window, the state and the agent that events or incidents are asked for by.
///
/// # Errors
/// 400 for a value that is none of those that are offered.
pub(super) fn of_events(
    asked: EventsQuery,
    now_unix_ms: i64,
) -> Result<(Window, Option<bool>, Option<AgentId>), Failure> {
    let EventsQuery {
        window: name,
        from,
        to,
        state,
        agent,
    } = asked;
    let window = window(
        name.as_deref(),
        from.as_deref(),
        to.as_deref(),
        "1d",
        now_unix_ms,
    )?;
    let open = match state.as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("closed") => Some(false),
        Some(other) => return Err(Failure::bad_parameter("state", other, "open or closed")),
    };
    let agent = agent.map(|agent| agent_id("agent", &agent)).transpose()?;
    Ok((window, open, agent))
}

/// Which geographies.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GeographiesQuery {
    /// `country` (when absent), `subdivision`, `metro` or `site`.
    pub(super) level: Option<String>,
    /// `15m`, `1h`, `6h`, `12h`, `1d`, `7d`, `30d`, up to now; `1h` when absent.
    pub(super) window: Option<String>,
    /// Start in unix ms, instead of `window`.
    pub(super) from: Option<String>,
    /// End in unix ms, instead of `window`.
    pub(super) to: Option<String>,
    /// `tcp` (when absent), `icmp`, `https` or `dns`.
    pub(super) protocol: Option<String>,
    /// `rtt`, `dns`, `connect`, `tls` or `ttfb`; the protocol's own when absent.
    pub(super) phase: Option<String>,
    /// Only this target.
    pub(super) target: Option<String>,
    /// Only geographies of this country.
    pub(super) country: Option<String>,
    /// How quantiles are weighted: `agent` (when absent) or `sample`.
    pub(super) weighting: Option<String>,
}

/// Which samples.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LatencyQuery {
    /// `world` (when absent), `country:NL`, `subdivision:NL-NH`, `metro:NL/Amsterdam`, `site:ID` or `agent:ID`.
    pub(super) scope: Option<String>,
    /// `15m`, `1h`, `6h`, `12h`, `1d`, `7d`, `30d`, up to now; `1h` when absent.
    pub(super) window: Option<String>,
    /// Start in unix ms, instead of `window`.
    pub(super) from: Option<String>,
    /// End in unix ms, instead of `window`.
    pub(super) to: Option<String>,
    /// `auto` (when absent) or a multiple of a minute, such as `60s`, `5m`, `1h`.
    pub(super) step: Option<String>,
    /// `tcp` (when absent), `icmp`, `https` or `dns`.
    pub(super) protocol: Option<String>,
    /// `rtt`, `dns`, `connect`, `tls` or `ttfb`; the protocol's own when absent.
    pub(super) phase: Option<String>,
    /// Only this target.
    pub(super) target: Option<String>,
    /// How quantiles are weighted: `agent` (when absent) or `sample`.
    pub(super) weighting: Option<String>,
}

/// Which path.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PathQuery {
    /// Name of the target.
    pub(super) target: Option<String>,
}

/// A named window up to the end of this minute, or an explicit span.
pub(super) fn window(
    name: Option<&str>,
    from: Option<&str>,
    to: Option<&str>,
    default: &str,
    now_unix_ms: i64,
) -> Result<Window, Failure> {
    match (name, from, to) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(Failure::bad_parameters(
            "give either window, or from and to, not both",
        )),
        (name, None, None) => {
            let name = name.unwrap_or(default);
            let known = WINDOWS.iter().find(|(known, _)| *known == name);
            let (_, span_ms) = known.ok_or_else(|| {
                Failure::bad_parameter("window", name, &choices(WINDOWS.map(|(name, _)| name)))
            })?;
            let to_unix_ms = window_start(now_unix_ms, MINUTE_MS).saturating_add(MINUTE_MS);
            Ok(Window {
                from_unix_ms: to_unix_ms.saturating_sub(*span_ms),
                to_unix_ms,
            })
        }
        (None, from, to) => {
            let from_unix_ms = unix_ms("from", from)?;
            let to_unix_ms = to.map_or(Ok(now_unix_ms), |to| unix_ms("to", Some(to)))?;
            explicit(from_unix_ms, to_unix_ms)
        }
    }
}

fn unix_ms(name: &str, text: Option<&str>) -> Result<i64, Failure> {
    let want = "a time in milliseconds since 1970, such as 1767225600000";
    let text = text.unwrap_or_default();
    let value: i64 = text
        .parse()
        .map_err(|_| Failure::bad_parameter(name, text, want))?;
    if (0..=i64::MAX / 4).contains(&value) {
        Ok(value)
    } else {
        Err(Failure::bad_parameter(name, text, want))
    }
}

fn explicit(from_unix_ms: i64, to_unix_ms: i64) -> Result<Window, Failure> {
    let span = to_unix_ms - from_unix_ms;
    if span <= 0 {
        return Err(Failure::bad_parameters(format!(
            "from={from_unix_ms} must be before to={to_unix_ms}"
        )));
    }
    if span > SPAN_MAX_MS {
        return Err(Failure::bad_parameters(
            "from and to must be at most 400 days apart: nothing is kept longer",
        ));
    }
    Ok(Window {
        from_unix_ms,
        to_unix_ms,
    })
}

/// Widens a window to whole steps, so that every point covers a whole step.
pub(super) fn aligned(window: Window, step_ms: i64) -> Window {
    Window {
        from_unix_ms: window_start(window.from_unix_ms, step_ms),
        to_unix_ms: window_start(window.to_unix_ms.saturating_add(step_ms - 1), step_ms),
    }
}

/// The width of a chart's points.
pub(super) fn step(text: Option<&str>, window: Window) -> Result<i64, Failure> {
    let span = window.to_unix_ms - window.from_unix_ms;
    let text = text.unwrap_or("auto");
    if text == "auto" {
        let fits = |step: &&i64| span / **step <= AUTO_POINTS;
        return Ok(STEPS_MS.iter().find(fits).copied().unwrap_or(DAY_MS));
    }
    let want = "auto or a multiple of a minute, such as 60s, 5m or 1h, up to 1d";
    let refuse = || Failure::bad_parameter("step", text, want);
    let step = humantime::parse_duration(text).map_err(|_| refuse())?;
    let step_ms = i64::try_from(step.as_millis()).map_err(|_| refuse())?;
    if !(MINUTE_MS..=DAY_MS).contains(&step_ms) || step_ms % MINUTE_MS != 0 {
        return Err(refuse());
    }
    if span / step_ms > POINTS_MAX {
        let fits = STEPS_MS.iter().find(|step| span / **step <= POINTS_MAX);
        let nearest = fits.map_or_else(
            || "a shorter window".to_owned(),
            |step| format!("step={}s", step / 1_000),
        );
        return Err(Failure::bad_parameters(format!(
            "step={text} makes more than {POINTS_MAX} points; the nearest that does not is {nearest}"
        )));
    }
    Ok(step_ms)
}

/// A protocol and the phase of it, with their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    pub(super) protocol: Protocol,
    pub(super) phase: Phase,
    pub(super) protocol_word: &'static str,
    pub(super) phase_word: &'static str,
}

/// What can be asked for; of each protocol its own phase first.
pub(super) const MEASURES: [(Protocol, &str, Phase, &str); 11] = [
    (Protocol::Tcp, "tcp", Phase::Rtt, "rtt"),
    (Protocol::Icmp, "icmp", Phase::Rtt, "rtt"),
    (Protocol::Https, "https", Phase::Ttfb, "ttfb"),
    (Protocol::Https, "https", Phase::Connect, "connect"),
    (Protocol::Https, "https", Phase::Tls, "tls"),
    (Protocol::Https, "https", Phase::TtfbWarm, "ttfb_warm"),
    (Protocol::Tls, "tls", Phase::Tls, "tls"),
    (Protocol::Tls, "tls", Phase::Connect, "connect"),
    (Protocol::Quic, "quic", Phase::Handshake, "handshake"),
    (Protocol::Quic, "quic", Phase::Rtt, "rtt"),
    (Protocol::Dns, "dns", Phase::Dns, "dns"),
];

/// Which protocol and phase.
pub(super) fn measure(protocol: Option<&str>, phase: Option<&str>) -> Result<Measure, Failure> {
    let protocol = protocol.unwrap_or("tcp");
    let of_protocol: Vec<_> = MEASURES
        .iter()
        .filter(|(_, word, _, _)| *word == protocol)
        .collect();
    if of_protocol.is_empty() {
        return Err(Failure::bad_parameter(
            "protocol",
            protocol,
            "tcp, icmp, https, tls, quic or dns",
        ));
    }
    let found = of_protocol
        .iter()
        .find(|(_, _, _, word)| phase.is_none_or(|phase| phase == *word));
    let Some((protocol, protocol_word, phase, phase_word)) = found.map(|found| **found) else {
        let want = choices(of_protocol.iter().map(|(_, _, _, word)| *word));
        return Err(Failure::bad_parameter(
            "phase",
            phase.unwrap_or_default(),
            &format!("{want} for protocol {protocol}"),
        ));
    };
    Ok(Measure {
        protocol,
        phase,
        protocol_word,
        phase_word,
    })
}

/// Which level.
pub(super) fn level(text: Option<&str>) -> Result<GeographyLevel, Failure> {
    match text.unwrap_or("country") {
        "country" => Ok(GeographyLevel::Country),
        "subdivision" => Ok(GeographyLevel::Subdivision),
        "metro" => Ok(GeographyLevel::Metro),
        "site" => Ok(GeographyLevel::Site),
        other => Err(Failure::bad_parameter(
            "level",
            other,
            "country, subdivision, metro or site",
        )),
    }
}

/// How quantiles are weighted, with its word.
pub(super) fn weighting(text: Option<&str>) -> Result<(Weighting, &'static str), Failure> {
    match text.unwrap_or("agent") {
        "agent" => Ok((Weighting::Agent, "agent")),
        "sample" => Ok((Weighting::Sample, "sample")),
        other => Err(Failure::bad_parameter(
            "weighting",
            other,
            "agent or sample",
        )),
    }
}

/// Whose samples.
pub(super) fn scope(text: Option<&str>) -> Result<Scope, Failure> {
    let text = text.unwrap_or("world");
    let want = "world, country:NL, subdivision:NL-NH, metro:NL/Amsterdam, site:ID or agent:ID";
    let refuse = || Failure::bad_parameter("scope", text, want);
    if text == "world" {
        return Ok(Scope::World);
    }
    let (kind, key) = text
        .split_once(':')
        .filter(|(_, key)| !key.is_empty())
        .ok_or_else(refuse)?;
    if kind == "agent" {
        return agent_id("scope", key).map(Scope::Agent);
    }
    let level = level(Some(kind)).map_err(|_| refuse())?;
    Ok(Scope::Geography(level, key.to_owned()))
}

/// An agent's identity.
pub(super) fn agent_id(name: &str, text: &str) -> Result<AgentId, Failure> {
    text.parse()
        .map_err(|_| Failure::bad_parameter(name, text, "the UUID of an agent, see /api/v1/agents"))
}

pub(super) fn choices<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((only, _)) => (*only).to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_630_000;

    #[test]
    fn windows_end_with_this_minute() {
        let hour = window(None, None, None, "1h", NOW).expect("it is good");
        assert_eq!(
            (hour.from_unix_ms, hour.to_unix_ms),
            (1_767_222_060_000, 1_767_225_660_000)
        );
        let span = window(
            None,
            Some("1767222000000"),
            Some("1767222060000"),
            "1h",
            NOW,
        )
        .expect("it is good");
        assert_eq!(
            (span.from_unix_ms, span.to_unix_ms),
            (1_767_222_000_000, 1_767_222_060_000)
        );
    }

    #[test]
    fn bad_windows_are_refused() {
        for (name, from, to) in [
            (Some("2h"), None, None),
            (Some("1h"), Some("0"), None),
            (None, Some("x"), None),
            (None, Some("-1"), Some("5")),
            (None, Some("5"), Some("5")),
            (None, Some("0"), Some("1767222060000")),
            (None, None, Some("5")),
        ] {
            assert!(
                window(name, from, to, "1h", NOW).is_err(),
                "{name:?} {from:?} {to:?}"
            );
        }
    }

    #[test]
    fn auto_steps_keep_a_chart_readable() {
        for (name, want) in [
            ("15m", 1),
            ("1h", 1),
            ("6h", 1),
            ("12h", 5),
            ("1d", 5),
            ("7d", 30),
            ("30d", 120),
        ] {
            let window = window(Some(name), None, None, "1h", NOW).expect("it is good");
            assert_eq!(
                step(None, window).expect("auto"),
                want * MINUTE_MS,
                "{name}"
            );
        }
        let hour = window(None, None, None, "1h", NOW).expect("it is good");
        assert_eq!(step(Some("5m"), hour).expect("it is good"), 5 * MINUTE_MS);
        for bad in ["", "90s", "0s", "2d", "fast", "30s"] {
            assert!(step(Some(bad), hour).is_err(), "{bad}");
        }
    }

    #[test]
    fn measures_and_scopes_are_checked_together() {
        assert_eq!(
            measure(Some("https"), None)
                .map(|measure| measure.phase_word)
                .expect("it is good"),
            "ttfb"
        );
        assert_eq!(
            measure(None, None)
                .map(|measure| measure.phase_word)
                .expect("it is good"),
            "rtt"
        );
        assert!(measure(Some("tcp"), Some("ttfb")).is_err());
        assert!(measure(Some("udp"), None).is_err());
        assert_eq!(
            scope(Some("metro:NL/Amsterdam")).expect("it is good"),
            Scope::Geography(GeographyLevel::Metro, "NL/Amsterdam".to_owned())
        );
        for bad in ["planet", "country:", "agent:7", "", "world:NL"] {
            assert!(scope(Some(bad)).is_err(), "{bad}");
        }
    }
}
