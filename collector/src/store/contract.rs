//! What every store has to do, whatever the engine: one suite, run against each.
//!
//! `suite!(fresh)` makes one test of each promise; `fresh` gives an empty store with the default retention, and whatever must outlive it.

pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod figures;
pub(crate) mod history;
pub(crate) mod incidents;
pub(crate) mod notifying;
pub(crate) mod paths;
pub(crate) mod questions;
pub(crate) mod registered;
pub(crate) mod reports;
pub(crate) mod routing;
pub(crate) mod samples;
pub(crate) mod things;

use std::collections::BTreeMap;
use std::sync::Arc;

use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::v1::{Outcome, Phase, Protocol};
use uuid::Uuid;

use super::{Applied, CellQuery, CellRow, Group, InboxReport, Scope, Store};
use crate::geo::{Geography, GeographySource};
use crate::ingest::batch::Sample;
use crate::registry::{Agent, JoinGrant, Site, SiteId};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A Monday at noon: the start of all that happens here.
const T0: i64 = 1_767_614_400_000 - 1_767_614_400_000 % DAY + 12 * HOUR;

fn default_organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

fn other_organisation() -> OrganisationId {
    OrganisationId::try_from("other".to_owned()).unwrap()
}

fn agent_id(number: u128) -> AgentId {
    AgentId(Uuid::from_u128(number))
}

fn key(agent: AgentId, sequence: u64) -> ReportKey {
    ReportKey {
        organisation: default_organisation(),
        agent,
        epoch: Epoch(Uuid::from_u128(7)),
        sequence,
    }
}

fn report(key: ReportKey) -> InboxReport {
    InboxReport {
        received_unix_ms: T0,
        frame: key.sequence.to_be_bytes().to_vec(),
        key,
    }
}

/// A site of the default organisation, declared as far as it is given.
pub(crate) fn site(number: u128, country: Option<&str>, metro: Option<&str>) -> Site {
    Site {
        id: SiteId(Uuid::from_u128(number)),
        organisation: default_organisation(),
        name: format!("site {number}"),
        geography: Geography {
            country: country.map(str::to_owned),
            metro: metro.map(str::to_owned),
            source: GeographySource::Declared,
            ..Geography::default()
        },
    }
}

fn agent(number: u128, site: SiteId) -> Agent {
    Agent {
        id: agent_id(number),
        organisation: default_organisation(),
        site,
        hostname: format!("host-{number}"),
        version: "0.1.0".to_owned(),
        os: None,
        icmp_capability: None,
        enrolled_unix_ms: T0,
        last_seen_unix_ms: None,
        spool_dropped_reports: 0,
        revoked: false,
        usual_gap_ms: 0,
    }
}

fn grant(secret: u8, site: SiteId) -> JoinGrant {
    JoinGrant {
        secret_digest: [secret; 32],
        organisation: default_organisation(),
        site: Some(site),
        created_unix_ms: T0,
        expires_unix_ms: T0 + DAY,
        uses_max: 1,
        uses: 0,
        spent: None,
        revoked: false,
    }
}

/// Makes an agent at a site, as enrolment does.
/// An agent with that number, enrolled at a site that is made or replaced.
pub(crate) async fn settle(store: &impl Store, site: &Site, number: u8) -> AgentId {
    store.put_site(site).await.unwrap();
    store.put_join_grant(&grant(number, site.id)).await.unwrap();
    let agent = agent(u128::from(number), site.id);
    assert!(store.enroll(&[number; 32], T0, &agent).await.unwrap());
    agent.id
}

/// A sample of TCP to `target`; `None` is a loss.
fn sample(at_unix_ms: i64, target: &str, rtt_us: Option<u32>) -> Sample {
    Sample {
        at_unix_ms,
        target: Arc::from(target),
        destination: None,
        protocol: Protocol::Tcp,
        phase: Phase::Rtt,
        outcome: if rtt_us.is_some() {
            Outcome::Answered
        } else {
            Outcome::Timeout
        },
        rtt_us: rtt_us.unwrap_or(0),
        reply_ttl: 0,
        marks: crate::ingest::batch::Marks::default(),
        scheduling_delay_us: 0,
    }
}

/// Sends reports: gives each agent its next sequence.
#[derive(Default)]
struct Sender {
    sequences: BTreeMap<AgentId, u64>,
}

impl Sender {
    async fn send(&mut self, store: &impl Store, agent: AgentId, samples: &[Sample]) {
        self.apply(
            store,
            agent,
            Applied {
                samples: samples.to_vec(),
                ..Applied::default()
            },
        )
        .await;
    }

    async fn apply(&mut self, store: &impl Store, agent: AgentId, applied: Applied) {
        let sequence = self.sequences.entry(agent).or_default();
        *sequence += 1;
        let key = key(agent, *sequence);
        store.append(vec![report(key.clone())]).await.unwrap();
        store.apply(&key, applied).await.unwrap();
    }
}

/// TCP RTT of all in the hour from [`T0`], one window, one group.
fn hour() -> CellQuery {
    CellQuery {
        from_unix_ms: T0,
        to_unix_ms: T0 + HOUR,
        step_ms: None,
        protocol: Protocol::Tcp,
        phase: Phase::Rtt,
        target: None,
        scope: Scope::World,
        group: Group::All,
    }
}

async fn cells(store: &impl Store, query: &CellQuery) -> Vec<CellRow> {
    store.cells(&default_organisation(), query).await.unwrap()
}

/// One test for each promise; `$fresh` is an async function that gives `(store, guard)`.
macro_rules! suite {
    ($fresh:path) => {
        $crate::store::contract::suite! { @ $fresh;
            reports: an_appended_report_is_pending_until_applied, a_report_is_stored_once,
                the_watermark_is_the_highest_sequence_of_its_epoch, a_report_set_aside_is_never_pending_again,
                applying_twice_counts_once, reports_applied_at_once_count_as_one_after_the_other,
                what_is_known_before_reports_is_told_of_each_agent, a_report_counts_for_its_own_agent_alone,
                what_retention_took_is_still_a_duplicate;
            figures: cells_add_up_over_reports, groups_and_scopes_agree, a_busy_agent_weighs_as_much_as_a_quiet_one,
                what_was_never_answered_here_is_no_loss, rollups_give_the_same_answers_as_cells,
                late_samples_are_counted_once_even_when_cells_are_gone, an_agent_has_a_history_beyond_its_cells, maintaining_twice_changes_nothing, a_question_without_end_is_answered,
                a_site_that_moves_takes_its_recent_figures_along, retention_keeps_what_it_should;
            history: any_history_gives_the_same_answers_after_maintenance, any_history_outlives_its_cells;
            samples: samples_come_back_as_they_were_sent;
            questions: questions_are_answered_by_any_grouping, losses_can_count_as_longer_than_all_answers,
                the_first_groups_are_those_of_all_the_time, rollups_and_samples_give_the_same_figures,
                an_answer_that_would_be_too_long_is_refused_with_what_is_not;
            paths: the_newest_of_its_kind_is_kept, what_is_known_comes_by_scope, spans_follow_the_path, the_past_of_several_agents_is_told_at_once, names_of_hops_are_kept,
                targets_no_longer_measured_go;
            facts: the_newest_fact_of_each_key_is_kept, the_last_few_changes_are_kept;
            things: sites_have_one_name_each, a_join_string_for_many_lets_in_as_many, rules_lead_to_one_site_each, an_agent_moves_with_its_figures, clones_of_clones_are_clones_of_the_first, a_country_is_noted_unless_somebody_declared_one, a_join_string_is_spent_once, an_expired_or_revoked_join_string_is_no_use,
                a_report_updates_its_agent_but_not_its_rights, nothing_crosses_organisations;
            registered: what_is_registered_stays_until_it_is_deleted, a_token_is_found_by_its_digest_until_it_is_taken_back;
            routing: counts_of_routes_add_up_month_by_month, an_open_verdict_without_an_incident_gets_one_when_it_is_told_gravely, a_verdict_is_open_until_its_end_or_a_restart, verdicts_of_one_cause_are_one_incident,
                a_path_that_moves_with_its_prefix_is_one_incident_with_it;
            events: events_are_found_by_time_state_and_agent, an_event_is_its_last_state_and_stays_while_open,
                an_event_that_nobody_observes_ends, a_revoked_agent_stays_revoked;
            incidents: an_incident_is_open_while_one_of_its_events_is, incidents_are_found_by_time_state_and_agent,
                changes_of_incidents_come_once_each_in_order;
            notifying: a_message_written_twice_is_one_and_goes_out_in_order, what_is_given_up_is_seen_and_counted,
                an_outbox_is_bounded_and_reminders_replace_each_other, the_first_acknowledgement_stays_until_it_is_taken_back,
                notes_keep_their_order_and_their_bound, change_windows_and_zones_are_kept;
        }
    };
    (@ $fresh:path; $($room:ident: $($promise:ident),+;)+) => {
        $(mod $room {
            $(#[tokio::test]
            async fn $promise() {
                let (store, _guard) = $fresh().await;
                $crate::store::contract::$room::$promise(&store).await;
            })+
        })+
    };
}
pub(super) use suite;
