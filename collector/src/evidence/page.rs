//! The evidence as one HTML file that loads nothing and runs nothing.

use std::fmt::Write;

use super::{Evidence, Figures, Peer, Span};
use crate::api::types::PathIdentity;
use crate::notify::core::notice::{event_type, utc};
use crate::notify::core::render::mail::escaped;

/// Why writing to a text cannot fail.
const FITS: &str = "a text takes what is written to it";

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#212529}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #dee2e6}th{background:#f8f9fa}\
code,pre{font:13px ui-monospace,monospace}pre{white-space:pre-wrap;overflow-wrap:anywhere;max-height:40rem;overflow:auto;background:#f8f9fa;padding:1rem}\
.number{text-align:right;font-variant-numeric:tabular-nums}.quiet{color:#6c757d}@media print{pre{max-height:none}}";

/// Writes the file.
///
/// # Panics
/// Never: evidence is plain data, which always has a JSON form.
pub fn page(evidence: &Evidence) -> String {
    let incident = &evidence.incident;
    let title = format!("Incident {}", incident.incident_id);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head><body>",
        escaped(&title)
    );
    summary(&mut html, evidence);
    events(&mut html, evidence);
    routes(&mut html, evidence);
    affected(&mut html, &evidence.affected);
    unaffected(&mut html, &evidence.unaffected);
    not_seen(&mut html, &evidence.not_seen);
    timeline(&mut html, evidence);
    let json = serde_json::to_string_pretty(evidence).expect("evidence is plain data");
    writeln!(
        html,
        "<h2>All of it, for programs</h2><p class=\"quiet\">Everything above, and the rounds as they were measured: for each flow TTL, address \
         (null: no answer) and RTT in microseconds. Times are milliseconds since 1970, UTC.</p>\
         <script type=\"application/json\" id=\"evidence\">{}</script><pre>{}</pre></body></html>",
        in_script(&json),
        escaped(&json)
    )
    .expect(FITS);
    html
}

fn summary(html: &mut String, evidence: &Evidence) {
    let incident = &evidence.incident;
    let (name, level) = event_type(incident.class.as_str());
    write!(html, "<h1>{}</h1><table>", escaped(&incident.text)).expect(FITS);
    let unknown = || "unknown".to_owned();
    let onset = format!(
        "between {} and {}",
        utc(incident.onset_from_unix_ms),
        utc(incident.onset_to_unix_ms)
    );
    let end = incident
        .ended_unix_ms
        .map_or_else(|| "still going on at the time of export".to_owned(), utc);
    let cost = incident.rtt_cost.map_or_else(unknown, |cost| {
        format!(
            "{} before, {} after: {} (95 % interval {} to {}; {} and {} RTTs)",
            ms(cost.before_us),
            ms(cost.after_us),
            change(cost.change_us),
            change(cost.change_low_us),
            change(cost.change_high_us),
            cost.n_before,
            cost.n_after
        )
    });
    let confidence = incident
        .confidence
        .map_or_else(unknown, |ratio| format!("{ratio:.3}"));
    let rows = [
        ("Event", format!("{name} ({})", level.as_str())),
        ("From", incident.from.clone().unwrap_or_else(unknown)),
        ("To", incident.to.clone().unwrap_or_else(unknown)),
        (
            "Provider",
            incident
                .provider_asn
                .map_or_else(unknown, |asn| format!("AS{asn}")),
        ),
        ("Onset", onset),
        ("End", end),
        ("Agents affected", incident.agents_total.to_string()),
        ("Sites", incident.sites.join(", ")),
        ("Targets", incident.targets.join(", ")),
        ("Cost in RTT", cost),
        ("Confidence", confidence),
        ("Reasons", incident.reasons.join("; ")),
        (
            "Exported",
            format!(
                "{} by firstmile {}",
                utc(evidence.exported_unix_ms),
                evidence.collector_version
            ),
        ),
    ];
    for (name, value) in rows {
        write!(html, "<tr><th>{name}</th><td>{}</td></tr>", escaped(&value)).expect(FITS);
    }
    html.push_str("</table>");
}

fn events(html: &mut String, evidence: &Evidence) {
    html.push_str("<h2>Paths before and after</h2><table><tr><th>Site</th><th>Target</th><th>Onset, UTC</th><th>Before</th><th>After</th></tr>");
    for event in &evidence.events {
        write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{} to {}</td><td>{}</td><td>{}</td></tr>",
            escaped(&event.site_name),
            escaped(&event.target),
            utc(event.last_good_unix_ms),
            utc(event.first_novel_unix_ms),
            path(&event.before),
            path(&event.after)
        )
        .expect(FITS);
    }
    html.push_str("</table>");
}

/// What routing says, where it says something.
fn routes(html: &mut String, evidence: &Evidence) {
    let incident = &evidence.incident;
    if incident.verdicts.is_empty() {
        return;
    }
    html.push_str("<h2>What routing says</h2><table><tr><th>Class</th><th>Prefix</th><th>From, UTC</th><th>To</th><th>Why</th><th>Paths</th><th>Against it</th></tr>");
    for one in &incident.verdicts {
        let paths: Vec<String> = one
            .evidence
            .iter()
            .map(|path| format!("{} ({} peers)", path.as_path, path.peers))
            .collect();
        let end = one.ended_unix_ms.map_or_else(|| "open".to_owned(), utc);
        write!(
            html,
            "<tr><td>{} ({})</td><td><code>{}</code></td><td>{}</td><td>{end}</td><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
            escaped(&one.class),
            escaped(&one.severity),
            escaped(&one.prefix),
            utc(one.started_unix_ms),
            escaped(&one.reason),
            escaped(&paths.join("; ")),
            escaped(&one.counter_evidence.join("; "))
        )
        .expect(FITS);
    }
    html.push_str("</table>");
    if let Some(check) = &incident.cross_check {
        write!(
            html,
            "<p>Agents at the prefix's sites: {} asked, {} hit; grade {} (score {:+.1}): {}</p>",
            check.agents,
            check.agents_hit,
            escaped(&check.grade),
            check.score,
            escaped(&check.signs.join("; "))
        )
        .expect(FITS);
    }
}

fn path(path: &PathIdentity) -> String {
    let ases: Vec<String> = path.as_path.iter().map(|asn| format!("AS{asn}")).collect();
    let part = |name: &str, values: &[String]| {
        let values = if values.is_empty() {
            "not seen".to_owned()
        } else {
            escaped(&values.join(", "))
        };
        format!("{name} <code>{values}</code>")
    };
    [
        part("AS path", &[ases.join(" ")]),
        part("ingress metro", &path.ingress_metros),
        part("ingress router", &path.ingress_routers),
        part("edge", &path.edge_metros),
    ]
    .join("<br>")
}

const FIGURES_HEAD: &str =
    "<th>TCP RTT before: p50, p90</th><th>loss</th><th>since: p50, p90</th><th>loss</th>";

fn affected(html: &mut String, all: &[Figures]) {
    write!(
        html,
        "<h2>Affected agents</h2><table><tr><th>Site</th><th>Agent</th><th>Target</th>{FIGURES_HEAD}</tr>"
    )
    .expect(FITS);
    for one in all {
        write!(
            html,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td>{}</tr>",
            escaped(&one.site_name),
            escaped(&one.agent_id),
            escaped(&one.target),
            figures(one)
        )
        .expect(FITS);
    }
    html.push_str("</table>");
}

fn unaffected(html: &mut String, all: &[Peer]) {
    write!(
        html,
        "<h2>Not affected, for comparison</h2><table><tr><th>Site</th><th>Same</th><th>State</th><th>Target</th>\
         <th>Path, and since when</th>{FIGURES_HEAD}</tr>"
    )
    .expect(FITS);
    for peer in all {
        write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}<br>since {}, last seen {}</td>{}</tr>",
            escaped(&peer.site_name),
            escaped(&peer.same),
            escaped(&peer.state),
            escaped(&peer.target),
            path(&peer.path),
            utc(peer.since_unix_ms),
            utc(peer.seen_unix_ms),
            figures(&peer.figures)
        )
        .expect(FITS);
    }
    html.push_str("</table>");
    if all.is_empty() {
        html.push_str("<p>None.</p>");
    }
}

fn figures(of: &Figures) -> String {
    let quantiles = |span: &Span| match (span.p50_us, span.p90_us) {
        (Some(p50), Some(p90)) => format!("{}, {}", ms(p50), ms(p90)),
        _ => "none answered".to_owned(),
    };
    [&of.before, &of.since]
        .map(|span| {
            format!(
                "<td class=\"number\">{}</td><td class=\"number\">{} of {}</td>",
                quantiles(span),
                span.lost,
                span.n
            )
        })
        .concat()
}

fn not_seen(html: &mut String, lines: &[String]) {
    html.push_str("<h2>What was not seen</h2><ul>");
    for line in lines {
        write!(html, "<li>{}</li>", escaped(line)).expect(FITS);
    }
    html.push_str("</ul>");
}

fn timeline(html: &mut String, evidence: &Evidence) {
    html.push_str("<h2>Timeline, UTC</h2><table>");
    for entry in &evidence.incident.timeline {
        write!(
            html,
            "<tr><th>{}</th><td>{}</td><td>{}</td></tr>",
            utc(entry.at_unix_ms),
            escaped(&entry.kind),
            escaped(&entry.text)
        )
        .expect(FITS);
    }
    html.push_str("</table>");
}

/// JSON inside a script element: what would end the element is written by its number, which is the same JSON.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c")
}

fn ms(us: u32) -> String {
    let tenths = (u64::from(us) + 50) / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

fn change(us: i64) -> String {
    let sign = if us < 0 { '-' } else { '+' };
    let tenths = (us.unsigned_abs() + 50) / 100;
    format!("{sign}{}.{} ms", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Event, EventClass, Incident};
    use crate::evidence::{RawFlow, RawRound};

    fn evidence() -> Evidence {
        let event = Event {
            class: EventClass::Geo,
            site_name: "Branch </script><script>alert(1)</script>".to_owned(),
            target: "exchange".to_owned(),
            before: PathIdentity {
                as_path: vec![64500, 8075],
                ingress_metros: vec!["AMS".to_owned()],
                ..PathIdentity::default()
            },
            ..Event::default()
        };
        Evidence {
            version: 1,
            exported_unix_ms: 1_767_225_600_000,
            collector_version: "0.1.0".to_owned(),
            incident: Incident {
                incident_id: "7f0c".to_owned(),
                text: "ingress moved".to_owned(),
                ..Incident::default()
            },
            events: vec![event],
            affected: Vec::new(),
            unaffected: Vec::new(),
            not_seen: vec!["the way back".to_owned()],
            rounds: vec![RawRound {
                agent_id: "1".to_owned(),
                at_unix_ms: 1_767_225_600_000,
                target: "exchange".to_owned(),
                destination: "192.0.2.1".to_owned(),
                kind: "Tcp".to_owned(),
                burst: true,
                flows: vec![RawFlow {
                    flow_id: 1,
                    destination_ttl: None,
                    hops: vec![(1, None, 0), (2, Some("198.51.100.1".to_owned()), 1_200)],
                }],
            }],
        }
    }

    #[test]
    fn the_file_loads_nothing_and_names_cannot_run() {
        let html = page(&evidence());
        assert!(!html.contains("<script>alert"));
        assert_eq!(html.matches("</script>").count(), 1, "the one of the JSON");
        for loads in ["src=", "href=", "@import", "url("] {
            assert!(!html.contains(loads), "{loads}");
        }
    }

    #[test]
    fn programs_read_the_same_evidence_out_of_it() {
        let html = page(&evidence());
        let (_, rest) = html.split_once("id=\"evidence\">").unwrap();
        let (json, _) = rest.split_once("</script>").unwrap();
        let read: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(read, serde_json::to_value(evidence()).unwrap());
        assert_eq!(read["rounds"][0]["flows"][0]["hops"][1][1], "198.51.100.1");
    }
}
