//! The `OpenAPI` document, generated from the handlers and types; a copy is checked in as `docs/openapi.json`.

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "firstmile collector",
        description = "Times are `*_unix_ms` (UTC), durations and RTTs `*_us`, shares `*_ratio` from 0 to 1. Quantiles are of \
            answered probes; every figure carries its `n`, its loss and the agents behind it. Errors are `ApiError`."
    ),
    paths(
        super::status::status,
        super::geographies::geographies,
        super::latency::latency,
        super::ask::answer,
        super::metrics::metrics,
        super::sites::sites,
        super::sites::change_site,
        super::agents::agents,
        super::agents::agent,
        super::machine::machine,
        super::path::path,
        super::events::events,
        super::events::event,
        super::desk::event_types,
        super::desk::marks,
        super::desk::acknowledge,
        super::desk::unacknowledge,
        super::desk::note,
        super::desk::windows,
        super::desk::make_window,
        super::desk::delete_window,
        super::desk::set_zone,
        super::desk::notifications,
        super::evidence::evidence,
        super::prefixes::prefixes,
        super::routing::verdicts,
        super::routing::feeds,
        super::routing::statistics,
        super::incidents::event_paths,
        super::incidents::incidents,
        super::incidents::incident,
        super::invitations::invite,
        super::connections::connections,
        super::pops::pops,
        super::live::live,
        super::session::login,
        super::session::logout,
    )
)]
struct Document;

/// The document as it is checked in: indented, with a line feed at the end.
///
/// # Panics
/// Never: the document is plain data, which always has a JSON form.
pub fn document_json() -> String {
    let json = Document::openapi()
        .to_pretty_json()
        .expect("the document is plain data");
    json + "\n"
}

/// Serves the document.
pub(super) async fn document() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        document_json(),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checked_in_document_is_fresh() {
        let checked_in = include_str!("../../../docs/openapi.json");
        assert!(
            checked_in == super::document_json(),
            "docs/openapi.json is stale; run `cargo run -p firstmile-collector -- openapi > docs/openapi.json`"
        );
    }
}
