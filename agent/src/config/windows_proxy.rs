//! The proxy settings of Windows, in the words of the environment: those of the user, else of the machine.
//!
//! A proxy that is written down is used; a script that chooses one (PAC) is not run.

use firstmile_sys::windows::proxy::{self, Settings};
use tracing::warn;

use super::proxy::{NOT_OF_WINDOWS, OF_WINDOWS};

/// The variables, and behind them what Windows says, so that variables win.
pub(super) fn beside(mut variables: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let (user, machine) = (proxy::of_user(), proxy::of_machine());
    if user.script.is_some() && user.proxy.is_none() {
        warn!(
            "Windows names a proxy script, which is not run: name the proxy in [proxy] of the configuration"
        );
    }
    let settings = if user.proxy.is_some() { user } else { machine };
    variables.extend(words(&settings));
    variables
}

/// The address of the script that the user's settings name, where they name no proxy.
pub(super) fn script() -> Option<String> {
    let user = proxy::of_user();
    user.script.filter(|_| user.proxy.is_none())
}

fn words(settings: &Settings) -> Vec<(&'static str, String)> {
    let Some(url) = settings.proxy.as_deref().and_then(for_https) else {
        return Vec::new();
    };
    let except = settings.bypass.as_deref().map(exceptions);
    let except = except.filter(|except| !except.is_empty());
    [
        Some((OF_WINDOWS, url)),
        except.map(|hosts| (NOT_OF_WINDOWS, hosts)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The proxy for HTTPS out of `proxy:8080` or `http=proxy:80;https=proxy:81`, as a URL.
fn for_https(list: &str) -> Option<String> {
    let entries = || list.split([';', ' ']).filter(|entry| !entry.is_empty());
    let named = entries().find_map(|entry| entry.strip_prefix("https="));
    let server = named.or_else(|| entries().find(|entry| !entry.contains('=')))?;
    Some(if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    })
}

/// `*.example;10.1.2.3;<local>` as `NO_PROXY` has it; names without a dot cannot be said there.
fn exceptions(list: &str) -> String {
    list.split([';', ' '])
        .filter(|entry| !entry.is_empty() && *entry != "<local>")
        .map(|entry| entry.strip_prefix("*.").unwrap_or(entry))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_windows_becomes_a_proxy_and_its_exceptions() {
        for (proxy, bypass, url, except) in [
            (
                "proxy.example:8080",
                None,
                Some("http://proxy.example:8080"),
                None,
            ),
            (
                "http=a.example:80;https=b.example:81",
                Some("*.corp.example;<local>"),
                Some("http://b.example:81"),
                Some("corp.example"),
            ),
            ("http=a.example:80", None, None, None),
            ("", Some("<local>"), None, None),
            (
                "http://c.example:82",
                Some("<local>"),
                Some("http://c.example:82"),
                None,
            ),
        ] {
            let settings = Settings {
                proxy: Some(proxy.to_owned()),
                bypass: bypass.map(str::to_owned),
                ..Settings::default()
            };
            let found = words(&settings);
            let word = |name| {
                found
                    .iter()
                    .find(|(other, _)| *other == name)
                    .map(|(_, value)| value.as_str())
            };
            assert_eq!(
                (word(OF_WINDOWS), word(NOT_OF_WINDOWS)),
                (url, except),
                "{proxy}"
            );
        }
    }
}
