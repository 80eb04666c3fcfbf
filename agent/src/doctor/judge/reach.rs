//! What stands between this machine and the targets: proxies, firewalls, portals, opened TLS.

use std::collections::BTreeMap;

use super::Finding;
use crate::doctor::facts::{Destination, Path, Portal, PortalAnswer, ProxyVariable, Tls};
use crate::probe::Outcome;

/// Organisations that issue the certificates of Microsoft's front doors.
const MICROSOFT_ISSUERS: &[&str] = &["microsoft", "digicert"];

/// Words in the names of issuers that open TLS to look inside.
const INSPECTORS: &[&str] = &[
    "avast",
    "barracuda",
    "bitdefender",
    "blue coat",
    "bluecoat",
    "check point",
    "cisco umbrella",
    "eset",
    "forcepoint",
    "fortinet",
    "fortigate",
    "gateway ca - cloudflare",
    "iboss",
    "kaspersky",
    "mcafee",
    "netskope",
    "palo alto",
    "skyhigh",
    "sonicwall",
    "sophos",
    "symantec web",
    "trend micro",
    "untangle",
    "watchguard",
    "zscaler",
];

/// Proxies of the environment.
pub(super) fn proxies(variables: &[ProxyVariable]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for variable in variables {
        let ProxyVariable {
            name,
            value,
            is_url,
        } = variable;
        let finding = if name.eq_ignore_ascii_case("no_proxy") {
            Finding::ok("proxy", format!("hosts that need no proxy: {value}"))
        } else if is_script(name, value) {
            Finding::problem(
                "proxy",
                format!("{value} is a script that chooses a proxy (PAC); it is not run, and reports do not go through what it names"),
            )
            .change("look up in the script which proxy it names for the collector, and write that into url of [proxy]; url = \"\" says that there is none")
        } else if let Some(scheme) = other_scheme(value).filter(|_| *is_url) {
            Finding::problem(
                "proxy",
                format!("{value} is spoken to with {scheme}: reports go through HTTP proxies only (CONNECT), by http://"),
            )
            .change("name an HTTP proxy of the site in url of [proxy], or let this machine reach the collector directly and say url = \"\" there")
        } else if *is_url {
            Finding::warning(
                "proxy",
                format!("{value} takes the reports; probes go directly, and their samples are marked as not the users' path"),
            )
            .change("if users do not take it, say for_users = false in [proxy]; if they do, read the marked figures as those of the network without the proxy")
        } else {
            Finding::problem("proxy", format!("{value:?} is no URL of a proxy")).change(format!(
                "export {name}=http://proxy.example:3128, or unset {name}"
            ))
        };
        findings.push(finding.about(name));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "proxy",
            "neither the configuration nor the environment names a proxy: probes and reports are direct",
        ));
    }
    findings
}

/// Whether a script is named (proxy auto-config): by its kind of setting, or its usual name.
fn is_script(name: &str, value: &str) -> bool {
    let path = value.split(['?', '#']).next().unwrap_or_default();
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    name == crate::config::SCRIPT_OF_WINDOWS
        || name.eq_ignore_ascii_case("auto_proxy")
        || path.rsplit('.').next() == Some("pac")
        || path.ends_with("/wpad.dat")
}

/// The scheme of a proxy that is not spoken to.
fn other_scheme(value: &str) -> Option<&str> {
    let (scheme, _) = value.split_once("://")?;
    (!scheme.eq_ignore_ascii_case("http")).then_some(scheme)
}

/// TCP and ICMP of each target that has an address.
pub(super) fn targets(targets: &[Destination]) -> Vec<Finding> {
    targets
        .iter()
        .filter(|target| target.address.is_some())
        .map(|target| reach(target).about(&target.name))
        .collect()
}

fn reach(target: &Destination) -> Finding {
    let port = target.port;
    let at = target
        .address
        .map_or_else(String::new, |address| address.to_string());
    let rule = format!(
        "allow TCP to {} port {port} in the site's firewall",
        target.host
    );
    match target.tcp {
        Some(Outcome::Answered(rtt)) => {
            let ms = f64::from(crate::probe::micros(rtt)) / 1000.0;
            let icmp = match target.icmp {
                Some(Outcome::Answered(_)) => "ICMP echo is answered too",
                Some(Outcome::NotPermitted) => "ICMP echo is not permitted here",
                Some(_) => "ICMP echo is not, which is common and no fault",
                None => "ICMP echo is not asked for",
            };
            Finding::ok("reach", format!("{at} answers TCP {port} in {ms:.2} ms; {icmp}"))
        }
        Some(Outcome::Refused(_)) => Finding::problem(
            "reach",
            format!("{at} refuses TCP {port}: the port is shut, or a firewall answers in its name"),
        )
        .change(rule),
        Some(Outcome::Timeout) => Finding::problem("reach", silence(target, &at)).change(rule),
        Some(Outcome::Unreachable | Outcome::Reset | Outcome::Filtered) => Finding::problem(
            "reach",
            format!("a router says that {at} cannot be reached on TCP {port}, or a firewall cuts the connection"),
        )
        .change(rule),
        Some(Outcome::NoRoute) => Finding::problem(
            "reach",
            format!("this machine has no route to {at}: it is not connected to a network"),
        )
        .change(format!("ip route get {at}")),
        Some(
            Outcome::NotPermitted
            | Outcome::LocalError
            | Outcome::DnsFailed
            | Outcome::TlsFailed
            | Outcome::HttpFailed
            | Outcome::QuicFailed,
        ) => Finding::problem(
            "reach",
            format!("this machine itself forbids TCP {port} to {at}: a local firewall or policy"),
        )
        .change("look for a rule that rejects output: sudo nft list ruleset"),
        None => Finding::warning("reach", format!("TCP {port} to {at} was not tried in time"))
            .change("firstmile-agent doctor"),
    }
}

/// Where TCP is not answered: how much of the silence is explained by what else was sent.
fn silence(target: &Destination, at: &str) -> String {
    let port = target.port;
    let (last, is_reached) = match &target.path {
        Path::Met {
            routers,
            is_reached,
        } => (routers.iter().max().copied(), *is_reached),
        Path::NotAsked | Path::NotPermitted | Path::Failed(_) => (None, false),
    };
    let answers_ping = target.icmp.and_then(Outcome::rtt).is_some();
    match last {
        _ if is_reached || answers_ping => {
            format!("TCP {port} to {at} is filtered: the host answers other packets")
        }
        Some(ttl) => format!(
            "{at} does not answer TCP {port}, nor anything else, though routers up to hop {ttl} do: filtered beyond it, or not there"
        ),
        None => {
            format!("{at} does not answer TCP {port}, nor anything else: filtered, or not there")
        }
    }
}

/// Whether path packets get anything back from beyond the first hop: one finding for all targets.
pub(super) fn paths(targets: &[Destination]) -> Vec<Finding> {
    let met: Vec<(&Vec<u8>, bool)> = targets
        .iter()
        .filter_map(|target| match &target.path {
            Path::Met {
                routers,
                is_reached,
            } => Some((routers, *is_reached)),
            Path::NotAsked | Path::NotPermitted | Path::Failed(_) => None,
        })
        .collect();
    let mut findings: Vec<Finding> = targets
        .iter()
        .filter_map(|target| match &target.path {
            // Without a route there is no path either, which the finding about TCP says.
            Path::Failed(why) if target.tcp != Some(Outcome::NoRoute) => Some(
                Finding::warning("trace", format!("no path: {why}"))
                    .about(&target.name)
                    .change(format!("firstmile-agent trace {}", target.name)),
            ),
            Path::Failed(_) | Path::NotAsked | Path::NotPermitted | Path::Met { .. } => None,
        })
        .collect();
    if met.is_empty() {
        return findings;
    }
    let all = met.len();
    let beyond = met
        .iter()
        .filter(|(routers, _)| routers.iter().any(|ttl| *ttl > 1))
        .count();
    let reached = met.iter().filter(|(_, reached)| *reached).count();
    let direct = met
        .iter()
        .all(|(routers, reached)| *reached && routers.is_empty());
    findings.push(if beyond > 0 {
        Finding::ok(
            "trace",
            format!("routers beyond the first hop answer on {beyond} of {all} paths, the destination on {reached}"),
        )
    } else if met.iter().any(|(routers, _)| !routers.is_empty()) {
        Finding::warning(
            "trace",
            format!("no router beyond the first hop answers on any of {all} paths (the destination on {reached}): the way is that short, or something drops ICMP time exceeded"),
        )
        .change("let ICMP types 3 and 11 (ICMPv6 1 and 3) come in at the site's firewall")
    } else if direct {
        Finding::warning(
            "trace",
            format!("all {all} destinations answer and no router does: they are neighbours, or something drops ICMP time exceeded"),
        )
        .change("let ICMP types 3 and 11 (ICMPv6 1 and 3) come in, on this machine and at the site's firewall")
    } else {
        Finding::warning(
            "trace",
            format!("nothing answers on any of {all} paths (the destination on {reached}): this machine's firewall, or the first hop, drops ICMP time exceeded"),
        )
        .change("sudo iptables -I INPUT -p icmp --icmp-type time-exceeded -j ACCEPT")
    });
    findings
}

/// Who has signed the front doors' certificates: one finding for each issuer that is not the usual one.
pub(super) fn tls(targets: &[Destination]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut usual = 0_usize;
    let mut unusual: BTreeMap<(&str, Option<&str>), Vec<&Destination>> = BTreeMap::new();
    for target in targets {
        match &target.tls {
            Some(Tls::Shown {
                is_out_of_time: true,
                ..
            }) => findings.push(
                Finding::problem(
                    "tls",
                    "its certificate is not valid at this machine's time: the clock is wrong, or the certificate has ended",
                )
                .about(&target.name)
                .change("sudo timedatectl set-ntp true"),
            ),
            Some(Tls::Shown {
                issuer, distrust, ..
            }) => {
                if distrust.is_none() && !is_suspicious(target, issuer) {
                    usual += 1;
                } else {
                    unusual
                        .entry((issuer, distrust.as_deref()))
                        .or_default()
                        .push(target);
                }
            }
            Some(Tls::Failed(why)) => findings.push(
                Finding::problem("tls", format!("no TLS handshake with {}: {why}", target.host))
                    .about(&target.name)
                    .change(format!(
                        "exempt {} from TLS inspection, or take \"https\" out of the target's protocols",
                        target.host
                    )),
            ),
            None => {}
        }
    }
    findings.extend(
        unusual
            .into_iter()
            .map(|((issuer, distrust), targets)| opened(issuer, distrust, &targets)),
    );
    if usual > 0 {
        findings.push(Finding::ok(
            "tls",
            format!("the certificates of {usual} targets are trusted, and no inspection is seen"),
        ));
    }
    findings
}

fn is_suspicious(target: &Destination, issuer: &str) -> bool {
    let issuer = issuer.to_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| issuer.contains(word));
    names(INSPECTORS) || (target.is_microsoft && !names(MICROSOFT_ISSUERS))
}

fn opened(issuer: &str, distrust: Option<&str>, targets: &[&Destination]) -> Finding {
    let hosts: Vec<&str> = targets.iter().map(|target| target.host.as_str()).collect();
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let hosts = hosts.join(", ");
    let finding = match distrust {
        Some(why) => Finding::problem(
            "tls",
            format!("{issuer:?} has signed the certificate, which is not trusted here ({why}): TLS is opened on the way, or the server's CA is a private one"),
        )
        .change(format!(
            "exempt {hosts} from TLS inspection; or trust that CA: extra_roots = [\"/etc/firstmile/inspection-ca.pem\"] in the configuration"
        )),
        None => Finding::warning(
            "tls",
            format!("{issuer:?} has signed the certificate: TLS is opened and inspected on the way, and TLS and HTTPS times are those of the inspecting box"),
        )
        .change(format!("exempt {hosts} from TLS inspection")),
    };
    finding.about(names.join(", "))
}

/// Whether a captive portal answers in place of the internet.
pub(super) fn portal(portal: Option<&Portal>) -> Vec<Finding> {
    let Some(Portal { url, answer }) = portal else {
        return vec![Finding::ok(
            "portal",
            "not looked for: doctor.portal_url is empty",
        )];
    };
    let finding = match answer {
        PortalAnswer::Expected => {
            Finding::ok("portal", "the test page says what it should: no captive portal")
        }
        PortalAnswer::Redirected { to } => Finding::problem(
            "portal",
            format!("the test page redirects to {to}: a captive portal holds this network"),
        )
        .change(format!("sign in at {to}")),
        PortalAnswer::Other { status } => Finding::problem(
            "portal",
            format!("something else than the test page answers (status {status}): a captive portal or a filtering proxy"),
        )
        .change(format!("curl -v {url}")),
        PortalAnswer::Failed(why) => Finding::warning(
            "portal",
            format!("the test page cannot be fetched ({why}): whether there is a captive portal is not known"),
        )
        .change(format!(
            "allow {url} in the site's firewall, or set another page: portal_url in [doctor]"
        )),
    };
    vec![finding.about(url)]
}
