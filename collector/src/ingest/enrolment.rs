//! Enrolment and renewal: from a spent join string or a valid certificate to a fresh certificate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use firstmile_wire::enroll::{CloneRequest, EnrollRequest, EnrollResponse, RenewRequest};
use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::join::JoinSecret;
use tracing::info;

use super::refusal::{Code, Refusal, with_sources};
use super::routes::Ingest;
use crate::auth::authority::{AuthorityError, ClientCertificate};
use crate::geo::Geography;
use crate::registry::placing::{Newcomer, UNASSIGNED, place};
use crate::registry::{Agent, JoinGrant, Site, SiteId};
use crate::store::{Store, StoreError};

/// Longest host name that is kept (RFC 1035 §2.3.4).
const MAX_HOSTNAME_CHARS: usize = 255;
/// Longest version text that is kept.
const MAX_VERSION_CHARS: usize = 64;
/// Most agents of a site to which a clone is added: whoever has an agent's key cannot fill the store with agents.
const MAX_AGENTS_BY_CLONING: usize = 1000;
/// Clones of one agent on a day: a few machines of a bad image, not a factory of agents.
const CLONES_A_DAY: u32 = 10;
const DAY_MS: i64 = 86_400_000;
/// Life of the join string that a clone comes in by, milliseconds.
const CLONE_GRANT_MS: i64 = 60_000;

/// Spends a join string.
///
/// # Errors
/// The [`Refusal`] that the agent is to hear.
pub(super) async fn enroll(
    ingest: &Ingest,
    body: &[u8],
    peer: IpAddr,
    now_unix_ms: i64,
) -> Result<EnrollResponse, Refusal> {
    let request: EnrollRequest = parse(body)?;
    let secret: JoinSecret = request.secret.parse().map_err(|_| unknown())?;
    let digest = secret.digest();
    let found = ingest
        .store
        .join_grant(&digest)
        .await
        .map_err(|failure| ingest.unavailable(&failure))?;
    let grant = found.ok_or_else(unknown)?;
    check_grant(&grant, now_unix_ms)?;
    let site = match grant.site {
        Some(site) => site,
        None => site_by_rules(ingest.store.as_ref(), &grant.organisation, &request, peer)
            .await
            .map_err(|failure| ingest.unavailable(&failure))?,
    };
    let words = (&*request.hostname, &*request.agent_version);
    let agent = newcomer_agent(&grant, site, words, now_unix_ms);
    // The certificate is made before the join string is spent: a bad signing request must not burn it.
    let certificate = certify(ingest, &request.csr_pem, &agent, now_unix_ms)?;
    let spent = ingest.store.enroll(&digest, now_unix_ms, &agent).await;
    if !spent.map_err(|failure| ingest.unavailable(&failure))? {
        return Err(used());
    }
    let site = ingest.store.site(&agent.organisation, agent.site).await;
    let site = site.map(|site| site.name).ok();
    info!(agent = %agent.id, hostname = agent.hostname, site, "agent enrolled");
    Ok(response(ingest, &agent, certificate, site))
}

/// Grants a fresh certificate to an agent that showed its old one.
///
/// # Errors
/// The [`Refusal`] that the agent is to hear.
pub(super) async fn renew(
    ingest: &Ingest,
    agent: &Agent,
    body: &[u8],
    now_unix_ms: i64,
) -> Result<EnrollResponse, Refusal> {
    let request: RenewRequest = parse(body)?;
    if let Some(clone) = &request.clone {
        return branch_off(ingest, agent, &request, clone, now_unix_ms).await;
    }
    let certificate = certify(ingest, &request.csr_pem, agent, now_unix_ms)?;
    info!(agent = %agent.id, hostname = agent.hostname, "certificate renewed");
    note(
        ingest,
        agent,
        now_unix_ms,
        &format!("renewed the certificate of {}", agent.id),
    )
    .await?;
    Ok(response(ingest, agent, certificate, None))
}

/// Gives a clone of an agent's machine an identity of its own, at the original's site. Whoever has an agent's key can ask for
/// this: it opens no other site, and a few a day only.
async fn branch_off(
    ingest: &Ingest,
    original: &Agent,
    request: &RenewRequest,
    clone: &CloneRequest,
    now_unix_ms: i64,
) -> Result<EnrollResponse, Refusal> {
    let store = ingest.store.as_ref();
    let failed = |failure: StoreError| ingest.unavailable(&failure);
    let (organisation, site) = (&original.organisation, original.site);
    let agents = store.agents(organisation).await.map_err(failed)?;
    if agents.iter().filter(|agent| agent.site == site).count() >= MAX_AGENTS_BY_CLONING
        || !may_branch_off(original.id, now_unix_ms)
    {
        return Err(Refusal::new(
            Code::TooLarge,
            format!(
                "an agent lets in {CLONES_A_DAY} clones a day, and a site {MAX_AGENTS_BY_CLONING} agents so; enrol this one with a join string"
            ),
        ));
    }
    // A join string that nobody was told, good for this once: an agent comes in by one door only.
    let digest = JoinSecret::new(rand::random()).digest();
    let grant = JoinGrant {
        secret_digest: digest,
        organisation: organisation.clone(),
        site: Some(site),
        created_unix_ms: now_unix_ms,
        expires_unix_ms: now_unix_ms.saturating_add(CLONE_GRANT_MS),
        uses_max: 1,
        uses: 0,
        spent: None,
        revoked: false,
    };
    let agent = newcomer_agent(
        &grant,
        site,
        (&clone.hostname, &clone.agent_version),
        now_unix_ms,
    );
    let certificate = certify(ingest, &request.csr_pem, &agent, now_unix_ms)?;
    store.put_join_grant(&grant).await.map_err(failed)?;
    // First: an agent that was let in is never without it.
    store
        .note_clone(organisation, agent.id, original.id)
        .await
        .map_err(failed)?;
    if !store
        .enroll(&digest, now_unix_ms, &agent)
        .await
        .map_err(failed)?
    {
        return Err(Refusal::busy());
    }
    info!(original = %original.id, agent = %agent.id, hostname = agent.hostname, "clone given an identity of its own");
    let line = format!("gave {}, a clone of {}, an identity", agent.id, original.id);
    note(ingest, original, now_unix_ms, &line).await?;
    let site = store.site(organisation, site).await;
    Ok(response(
        ingest,
        &agent,
        certificate,
        site.map(|site| site.name).ok(),
    ))
}

/// Counts a clone of `original`; false when it had its share of the day. Only agents that the store knows are counted, and they
/// are forgotten with the day.
fn may_branch_off(original: AgentId, now_unix_ms: i64) -> bool {
    static CLONES: Mutex<(i64, BTreeMap<AgentId, u32>)> = Mutex::new((0, BTreeMap::new()));
    let mut clones = CLONES.lock().unwrap_or_else(PoisonError::into_inner);
    let day = now_unix_ms / DAY_MS;
    if clones.0 != day {
        *clones = (day, BTreeMap::new());
    }
    let count = clones.1.entry(original).or_default();
    *count = count.saturating_add(1);
    *count <= CLONES_A_DAY
}

fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            Code::MalformedRequest,
            format!("the request is not the agreed JSON: {error}"),
        )
    })
}

/// The site that rules give a newcomer, else the one for those that no rule places.
async fn site_by_rules(
    store: &dyn Store,
    organisation: &OrganisationId,
    request: &EnrollRequest,
    peer: IpAddr,
) -> Result<SiteId, StoreError> {
    let newcomer = Newcomer {
        tag: request.tag.clone(),
        hostname: request.hostname.clone(),
        addresses: request.address.into_iter().chain([peer]).collect(),
    };
    let rules = store.site_rules(organisation).await?;
    if let Some(site) = place(&rules, &newcomer) {
        return Ok(site);
    }
    if let Some(site) = store.site_by_name(organisation, UNASSIGNED).await? {
        return Ok(site.id);
    }
    let site = Site {
        id: SiteId(uuid::Uuid::new_v4()),
        organisation: organisation.clone(),
        name: UNASSIGNED.to_owned(),
        geography: Geography::default(),
    };
    match store.put_site(&site).await {
        Ok(()) => Ok(site.id),
        // Another newcomer made it just now.
        Err(StoreError::Conflict { .. }) => {
            let made = store.site_by_name(organisation, UNASSIGNED).await?;
            Ok(made.map_or(site.id, |made| made.id))
        }
        Err(failure) => Err(failure),
    }
}

fn check_grant(grant: &JoinGrant, now_unix_ms: i64) -> Result<(), Refusal> {
    if grant.revoked {
        return Err(Refusal::new(
            Code::JoinStringRevoked,
            "this join string was taken back; ask for a new one",
        ));
    }
    if grant.uses >= grant.uses_max {
        return Err(used());
    }
    if now_unix_ms >= grant.expires_unix_ms {
        return Err(Refusal::new(
            Code::JoinStringExpired,
            "this join string has expired; ask for a new one",
        ));
    }
    Ok(())
}

fn newcomer_agent(
    grant: &JoinGrant,
    site: SiteId,
    (hostname, version): (&str, &str),
    now_unix_ms: i64,
) -> Agent {
    let printable = |text: &str, max| {
        text.chars()
            .filter(|letter| !letter.is_control())
            .take(max)
            .collect()
    };
    Agent {
        id: AgentId::random(),
        organisation: grant.organisation.clone(),
        site,
        hostname: printable(hostname, MAX_HOSTNAME_CHARS),
        version: printable(version, MAX_VERSION_CHARS),
        os: None,
        icmp_capability: None,
        enrolled_unix_ms: now_unix_ms,
        last_seen_unix_ms: None,
        spool_dropped_reports: 0,
        revoked: false,
        usual_gap_ms: 0,
    }
}

fn certify(
    ingest: &Ingest,
    csr_pem: &str,
    agent: &Agent,
    now_unix_ms: i64,
) -> Result<ClientCertificate, Refusal> {
    let certificate =
        ingest
            .authority
            .certify_agent(csr_pem, &agent.organisation, agent.id, now_unix_ms);
    certificate.map_err(|error| match &error {
        AuthorityError::Csr { .. } => Refusal::new(Code::BadCsr, with_sources(&error)),
        AuthorityError::Make { .. }
        | AuthorityError::File { .. }
        | AuthorityError::Damaged { .. } => Refusal::busy(),
    })
}

async fn note(ingest: &Ingest, agent: &Agent, now_unix_ms: i64, line: &str) -> Result<(), Refusal> {
    let who = format!("agent:{}", agent.id);
    let written: Result<(), StoreError> = ingest
        .store
        .audit(&agent.organisation, now_unix_ms, &who, line)
        .await;
    written.map_err(|failure| ingest.unavailable(&failure))
}

fn response(
    ingest: &Ingest,
    agent: &Agent,
    certificate: ClientCertificate,
    site: Option<String>,
) -> EnrollResponse {
    EnrollResponse {
        agent_id: agent.id,
        organisation: agent.organisation.clone(),
        certificate_pem: certificate.pem,
        ca_pem: ingest.authority.certificate_pem().to_owned(),
        site,
        not_after_unix_ms: certificate.not_after_unix_ms,
    }
}

fn unknown() -> Refusal {
    Refusal::new(
        Code::JoinStringUnknown,
        "this collector made no such join string; was it made by another one?",
    )
}

fn used() -> Refusal {
    Refusal::new(
        Code::JoinStringUsed,
        "this join string has let in as many agents as it was made for; ask for a new one",
    )
}
