//! Latency per geography.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use firstmile_wire::ids::OrganisationId;

use super::ApiState;
use super::events::EVENTS_MAX;
use super::failure::Failure;
use super::principal::Access;
use super::query::{self, Asked, GeographiesQuery, Measure};
use super::types::{ApiError, Figures, GeographyLevel, GeographyReport, GeographyRow, Window};
use crate::detect::PathBrief;
use crate::geo::country_name;
use crate::registry::{Site, SiteId};
use crate::rollup::{MINUTE_MS, Weighting, figures};
use crate::store::{CellQuery, EventQuery, Group, Scope, UNKNOWN_GEOGRAPHY, geography_key};

/// One row for each geography that has agents, worst p50 first.
#[utoipa::path(get, path = "/api/v1/geographies", tag = "latency", operation_id = "geographies",
    params(GeographiesQuery),
    responses((status = 200, body = GeographyReport), (status = 400, body = ApiError), (status = 401, body = ApiError)))]
pub(super) async fn geographies(
    State(state): State<ApiState>,
    access: Access,
    Asked(asked): Asked<GeographiesQuery>,
) -> Result<Json<GeographyReport>, Failure> {
    let now = (state.now_unix_ms)();
    let level = query::level(asked.level.as_deref())?;
    let measure = query::measure(asked.protocol.as_deref(), asked.phase.as_deref())?;
    let (weighting, _) = query::weighting(asked.weighting.as_deref())?;
    let window = query::window(
        asked.window.as_deref(),
        asked.from.as_deref(),
        asked.to.as_deref(),
        "1h",
        now,
    )?;
    let window = query::aligned(window, MINUTE_MS);
    let country = asked.country.as_deref();
    let asked = Figured {
        measure,
        level,
        target: asked.target.clone(),
        weighting,
    };
    let mut places = places(&state, &access.organisation, level, country, now).await?;
    let of_window = asked.figures(&state, &access.organisation, window).await?;
    let span = window.to_unix_ms - window.from_unix_ms;
    let before = Window {
        from_unix_ms: window.from_unix_ms - span,
        to_unix_ms: window.from_unix_ms,
    };
    let of_before = asked.figures(&state, &access.organisation, before).await?;
    for place in &mut places {
        place.figures = of_window.get(&place.key).copied().unwrap_or_default();
        place.before = of_before.get(&place.key).copied().unwrap_or_default();
    }
    places.sort_by(|left, right| {
        right
            .figures
            .p50_us
            .cmp(&left.figures.p50_us)
            .then_with(|| left.name.cmp(&right.name))
    });
    Ok(Json(GeographyReport {
        window,
        level,
        protocol: measure.protocol_word.to_owned(),
        phase: measure.phase_word.to_owned(),
        rows: places,
    }))
}

/// What figures are of.
struct Figured {
    measure: Measure,
    level: GeographyLevel,
    target: Option<String>,
    weighting: Weighting,
}

impl Figured {
    async fn figures(
        &self,
        state: &ApiState,
        organisation: &OrganisationId,
        window: Window,
    ) -> Result<BTreeMap<String, Figures>, Failure> {
        let query = CellQuery {
            from_unix_ms: window.from_unix_ms,
            to_unix_ms: window.to_unix_ms,
            step_ms: None,
            protocol: self.measure.protocol,
            phase: self.measure.phase,
            target: self.target.clone(),
            scope: Scope::World,
            group: Group::Geography(self.level),
        };
        let rows = state.store.cells(organisation, &query).await?;
        let keyed = rows
            .into_iter()
            .map(|row| (row.group, figures(&row.cell, row.agents, self.weighting)));
        Ok(keyed.collect())
    }
}

/// The geographies that have agents, without figures.
async fn places(
    state: &ApiState,
    organisation: &OrganisationId,
    level: GeographyLevel,
    country: Option<&str>,
    now_unix_ms: i64,
) -> Result<Vec<GeographyRow>, Failure> {
    let sites = state.store.sites(organisation).await?;
    let sites: BTreeMap<SiteId, Site> = sites.into_iter().map(|site| (site.id, site)).collect();
    let agents = state.store.agents(organisation).await?;
    let paths = state.store.path_briefs(organisation, &Scope::World).await?;
    let open_events = open_events(state, organisation, now_unix_ms).await?;
    let mut gatherings: BTreeMap<String, Gathering> = BTreeMap::new();
    for agent in agents.iter().filter(|agent| !agent.revoked) {
        let Some(site) = sites
            .get(&agent.site)
            .filter(|site| in_country(site, country))
        else {
            continue;
        };
        let gathering = gatherings
            .entry(geography_key(site, level))
            .or_insert_with(|| Gathering::at(site, level));
        let silent = agent.state(now_unix_ms) == "silent";
        gathering.count(
            site,
            silent,
            open_events
                .get(&agent.id.to_string())
                .copied()
                .unwrap_or_default(),
        );
        gathering.enter(paths.get(&agent.id).into_iter().flatten());
    }
    Ok(gatherings
        .into_iter()
        .map(|(key, gathering)| gathering.into_row(key))
        .collect())
}

fn in_country(site: &Site, country: Option<&str>) -> bool {
    country.is_none_or(|country| {
        site.geography
            .country
            .as_deref()
            .unwrap_or(UNKNOWN_GEOGRAPHY)
            .eq_ignore_ascii_case(country)
    })
}

/// Open events by agent.
async fn open_events(
    state: &ApiState,
    organisation: &OrganisationId,
    now_unix_ms: i64,
) -> Result<BTreeMap<String, u32>, Failure> {
    let to_unix_ms = now_unix_ms.saturating_add(MINUTE_MS);
    let query = EventQuery {
        from_unix_ms: 0,
        to_unix_ms,
        open: Some(true),
        agent: None,
        limit: EVENTS_MAX,
    };
    let mut counts = BTreeMap::new();
    for event in state.store.events(organisation, &query).await? {
        *counts.entry(event.agent_id).or_default() += 1;
    }
    Ok(counts)
}

/// The agents of one geography.
struct Gathering {
    name: String,
    country: Option<String>,
    places: BTreeMap<SiteId, (f64, f64)>,
    agents: u32,
    silent: u32,
    open_events: u32,
    ingress_metros: BTreeMap<String, u32>,
}

impl Gathering {
    fn at(site: &Site, level: GeographyLevel) -> Self {
        let geography = &site.geography;
        let unknown = || "Unknown".to_owned();
        let name = match level {
            GeographyLevel::Country => geography
                .country
                .as_deref()
                .map_or_else(unknown, country_of),
            GeographyLevel::Subdivision => geography.subdivision.clone().unwrap_or_else(unknown),
            GeographyLevel::Metro if geography.country.is_none() => unknown(),
            GeographyLevel::Metro => geography.metro.clone().unwrap_or_else(unknown),
            GeographyLevel::Site => site.name.clone(),
        };
        // Unknown subdivisions and metros of all countries share one row.
        let shared = geography_key(site, level) == UNKNOWN_GEOGRAPHY;
        Self {
            name,
            country: geography.country.clone().filter(|_| !shared),
            places: BTreeMap::new(),
            agents: 0,
            silent: 0,
            open_events: 0,
            ingress_metros: BTreeMap::new(),
        }
    }

    fn count(&mut self, site: &Site, silent: bool, open_events: u32) {
        self.agents += 1;
        self.silent += u32::from(silent);
        self.open_events += open_events;
        if let Some(place) = site.geography.latitude.zip(site.geography.longitude) {
            self.places.insert(site.id, place);
        }
    }

    fn enter<'a>(&mut self, paths: impl Iterator<Item = &'a (String, PathBrief)>) {
        let latest = paths.filter_map(|(_, brief)| brief.latest.as_ref());
        for metro in latest.flat_map(|latest| &latest.ingress_metros) {
            *self.ingress_metros.entry(metro.clone()).or_default() += 1;
        }
    }

    fn into_row(self, key: String) -> GeographyRow {
        let (latitude, longitude) = centre(self.places.values().copied()).unzip();
        let mut metros: Vec<(String, u32)> = self.ingress_metros.into_iter().collect();
        metros.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        GeographyRow {
            key,
            name: self.name,
            country: self.country,
            latitude,
            longitude,
            figures: Figures::default(),
            before: Figures::default(),
            agents: self.agents,
            agents_silent: self.silent,
            open_events: self.open_events,
            ingress_metros: metros.into_iter().map(|(metro, _)| metro).collect(),
        }
    }
}

/// The middle of declared places on the sphere: a plain mean would put Fiji's sites into Africa.
fn centre(places: impl Iterator<Item = (f64, f64)>) -> Option<(f64, f64)> {
    let places: Vec<(f64, f64)> = places.collect();
    if let [only] = places.as_slice() {
        return Some(*only); // as declared, to the last digit
    }
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for (latitude, longitude) in &places {
        let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
        x += latitude.cos() * longitude.cos();
        y += latitude.cos() * longitude.sin();
        z += latitude.sin();
    }
    let flat = x.hypot(y);
    // Places all around the globe have no middle.
    (flat.hypot(z) > 1e-6).then(|| (z.atan2(flat).to_degrees(), y.atan2(x).to_degrees()))
}

fn country_of(code: &str) -> String {
    country_name(code).unwrap_or(code).to_owned()
}

/// The name of a geography by its key, for people.
pub(super) fn name_of_key(level: GeographyLevel, key: &str) -> String {
    match level {
        _ if key == UNKNOWN_GEOGRAPHY => "Unknown".to_owned(),
        GeographyLevel::Country => country_of(key),
        GeographyLevel::Metro => key
            .split_once('/')
            .map_or(key, |(_, metro)| metro)
            .to_owned(),
        GeographyLevel::Subdivision | GeographyLevel::Site => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_is_on_the_sphere() {
        assert_eq!(centre([(52.37, 4.9)].into_iter()), Some((52.37, 4.9)));
        let (latitude, longitude) =
            centre([(0.0, 170.0), (0.0, -170.0)].into_iter()).expect("there is a middle");
        assert!(
            latitude.abs() < 1e-9 && (longitude.abs() - 180.0).abs() < 1e-9,
            "{latitude} {longitude}"
        );
        assert_eq!(centre([(0.0, 0.0), (0.0, 180.0)].into_iter()), None);
        assert_eq!(centre(std::iter::empty()), None);
    }
}
