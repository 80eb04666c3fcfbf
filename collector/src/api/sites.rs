//! Sites, and what people change of them.

use axum::Json;
use axum::extract::{Path, State};
use tracing::info;

use super::ApiState;
use super::body::Body;
use super::failure::Failure;
use super::principal::Access;
use super::types::{ApiError, Site, SitePatch};
use crate::geo::{Declared, Geography, GeographySource};
use crate::registry::invite::site_name;
use crate::registry::{self, SiteId};

/// All sites, by name.
#[utoipa::path(get, path = "/api/v1/sites", tag = "sites", operation_id = "sites",
    responses((status = 200, body = [Site]), (status = 401, body = ApiError)))]
pub(super) async fn sites(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Json<Vec<Site>>, Failure> {
    let mut sites = state.store.sites(&access.organisation).await?;
    sites.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(Json(sites.iter().map(site_of).collect()))
}

/// Changes a site's name or geography (RFC 7396: an absent field stays, an explicit null clears).
#[utoipa::path(patch, path = "/api/v1/sites/{id}", tag = "sites", operation_id = "changeSite",
    params(("id" = String, Path, description = "Identity of the site")), request_body = SitePatch,
    responses((status = 200, body = Site), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 403, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn change_site(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
    Body(patch): Body<SitePatch>,
) -> Result<Json<Site>, Failure> {
    let id = id.parse().map(SiteId);
    let id = id
        .map_err(|_| Failure::not_found("not_found", "a site's id is a UUID, see /api/v1/sites"))?;
    let site = state.store.site(&access.organisation, id).await?;
    let before = site.clone();
    let site = patched(site, patch)?;
    if site != before {
        state.store.put_site(&site).await?;
        let what = format!("site {id}: {} → {}", in_words(&before), in_words(&site));
        state
            .store
            .audit(
                &access.organisation,
                (state.now_unix_ms)(),
                &access.name,
                &what,
            )
            .await?;
        info!(site = %id, who = access.name, "site changed");
    }
    Ok(Json(site_of(&site)))
}

fn patched(site: registry::Site, patch: SitePatch) -> Result<registry::Site, Failure> {
    let name = match &patch.name {
        Some(name) => site_name(name)?.to_owned(),
        None => site.name,
    };
    let says_nothing = patch.country.is_none()
        && patch.subdivision.is_none()
        && patch.metro.is_none()
        && patch.latitude.is_none()
        && patch.longitude.is_none();
    if says_nothing {
        return Ok(registry::Site { name, ..site });
    }
    let Geography {
        country,
        subdivision,
        metro,
        latitude,
        longitude,
        source,
    } = site.geography;
    // A country that only the table knows is no declaration: it does not stay when others are declared.
    let country = country.filter(|_| source == GeographySource::Declared);
    let declared = Declared {
        country: patch.country.unwrap_or(country),
        subdivision: patch.subdivision.unwrap_or(subdivision),
        metro: patch.metro.unwrap_or(metro),
        latitude: patch.latitude.unwrap_or(latitude),
        longitude: patch.longitude.unwrap_or(longitude),
    };
    Ok(registry::Site {
        name,
        geography: declared.parse()?,
        ..site
    })
}

/// A site as the API shows it.
pub(super) fn site_of(site: &registry::Site) -> Site {
    let Geography {
        country,
        subdivision,
        metro,
        latitude,
        longitude,
        source,
    } = site.geography.clone();
    let geography_source = match source {
        GeographySource::Declared => "declared",
        GeographySource::CountryTable => "country_table",
        GeographySource::Unknown => "unknown",
    };
    Site {
        site_id: site.id.to_string(),
        name: site.name.clone(),
        country,
        subdivision,
        metro,
        latitude,
        longitude,
        geography_source: geography_source.to_owned(),
    }
}

/// A site for the audit log.
fn in_words(site: &registry::Site) -> String {
    let Geography {
        country,
        subdivision,
        metro,
        latitude,
        longitude,
        ..
    } = &site.geography;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let degrees =
        |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    format!(
        "{:?} {} {} {:?} {} {}",
        site.name,
        text(country),
        text(subdivision),
        text(metro),
        degrees(latitude),
        degrees(longitude)
    )
}
