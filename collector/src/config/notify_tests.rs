//! Every key of `[notify]`, and what each mistake is told.

use super::super::Config;
use super::*;
use crate::notify::core::model::Level;

fn parse(text: &str) -> Result<Notify, ConfigError> {
    Config::parse(text, Path::new("/etc/firstmile/collector.toml")).map(|config| config.notify)
}

const ALL: &str = r#"
[notify]
dashboard_url = "https://collector.example/"
hold_down = "2m"
end_after = "30s"
digest_every = "2h"
keep = "12h"
registered_providers = [64500]
[notify.channels.hook]
kind = "webhook"
url = "https://hook.example/in"
secret_file = "hook.key"
proxy = "http://proxy.example:3128"
[notify.channels.chat]
kind = "slack"
url_file = "/etc/firstmile/slack.url"
[notify.channels.cards]
kind = "teams"
url_file = "teams.url"
[notify.channels.mail]
kind = "mail"
host = "mail.example"
user = "firstmile"
password_file = "mail.password"
from = "firstmile <firstmile@example.com>"
to = ["noc@example.com", "on-call@example.com"]
[notify.channels.log]
kind = "syslog"
host = "192.0.2.14"
transport = "tls"
facility = 4
ca = "log-ca.pem"
[notify.channels.alerts]
kind = "alertmanager"
url = "http://alerts.example:9093"
token_file = "alerts.token"
[[notify.rules]]
channels = ["mail", "hook"]
classes = ["geo", "PathUnreachableEvent"]
min_level = "error"
geographies = ["NL", "US-CA"]
providers = [64500]
prefixes = ["192.0.2.0/24"]
single_agent = true
updates = true
[[notify.rules]]
channels = ["log"]
"#;

#[test]
fn every_key_is_read() {
    let notify = parse(ALL).expect("parses");
    assert_eq!(notify.channels.len(), 6);
    assert_eq!(notify.settings.hold_down_ms, 120_000);
    assert_eq!(notify.settings.rules.len(), 2);
    assert_eq!(
        notify.settings.forgetful,
        BTreeSet::from(["alerts".to_owned()])
    );
    assert_eq!(notify.keep, Duration::from_hours(12));
    let mail = &notify.channels["mail"].kind;
    let ChannelKind::Mail(mail) = mail else {
        panic!("{mail:?}")
    };
    assert_eq!((mail.port, mail.security), (587, MailSecurity::StartTls));
    let password = SecretFrom::File("/etc/firstmile/mail.password".into());
    assert_eq!(mail.login, Some(("firstmile".to_owned(), password)));
    let log = &notify.channels["log"];
    assert!(matches!(&log.kind, ChannelKind::Syslog(log) if log.port == 6514 && log.facility == 4));
    assert_eq!(log.ca, Some("/etc/firstmile/log-ca.pem".into()));
    let rule = &notify.settings.rules[0];
    assert!(rule.single_agent && rule.updates && rule.min_level == Level::Error);
}

#[test]
fn nothing_said_is_nothing_told_and_channels_alone_get_the_usual() {
    let none = parse("").expect("parses");
    assert!(none.channels.is_empty() && none.settings.rules.is_empty());
    let one =
        parse("[notify.channels.log]\nkind = 'syslog'\nhost = 'log.example'").expect("parses");
    assert_eq!(one.settings.rules, [Rule::usual(vec!["log".to_owned()])]);
    assert_eq!(one.settings.hold_down_ms, 90_000);
}

#[test]
fn a_secret_is_in_no_debug_text() {
    let notify = parse(ALL).expect("parses");
    assert!(!format!("{notify:?}").contains("hook.example"));
}

#[cfg(unix)]
#[test]
fn a_secret_in_a_file_that_everybody_reads_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("collector.toml");
    let text = "[notify.channels.chat]\nkind = 'slack'\nurl = 'https://hooks.example/secret-path'";
    std::fs::write(&file, text).unwrap();
    for (mode, is_good) in [(0o600, true), (0o640, true), (0o644, false)] {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        let read = Config::load(Some(&file));
        assert_eq!(read.is_ok(), is_good, "{mode:o}");
        if let Err(error) = read {
            let error = error.to_string();
            assert!(
                error.contains("url_file") && !error.contains("secret-path"),
                "{error}"
            );
        }
    }
}

const SYSLOG: &str = "[notify.channels.x]\nkind = 'syslog'\nhost = 'log.example'\n";

/// Section, keys in it, the key that is named, the fix.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    (
        "[notify]",
        "holddown = '1s'",
        "holddown",
        "did you mean notify.hold_down?",
    ),
    ("[notify]", "hold_down = '9d'", "hold_down", "\"90s\""),
    ("[notify]", "rules = 3", "rules", "[[notify.rules]]"),
    (
        "[notify.channels]",
        "x = 3",
        "channels.x",
        "[notify.channels.NAME]",
    ),
    (
        "[notify.channels]",
        "'X Y' = {}",
        "channels",
        "small letters",
    ),
    ("[x]", "url = 'x'", "kind", "\"webhook\""),
    ("[x]", "kind = 'pager'", "kind", "\"webhook\""),
    (
        "[x]",
        "kind = 'webhook'\nurl = 'https://h.example'",
        "secret_file",
        "alone in that file",
    ),
    (
        "[x]",
        "kind = 'alertmanager'\nurl = 'alerts:9093'",
        "url",
        "https://",
    ),
    ("[x]", "kind = 'mail'\nhost = 'a b'", "host", "mail.example"),
    (
        "[x]",
        "kind = 'mail'\nhost = 'm.example'\nfrom = 'nobody'",
        "from",
        "noc@example.com",
    ),
    (
        "[x]",
        "kind = 'mail'\nhost = 'm.example'\nfrom = 'a@example.com'",
        "to",
        "noc@example.com",
    ),
    (
        "[x]",
        "kind = 'mail'\nhost = 'm.example'\nsecurity = 'none'\nuser = 'u'\npassword_file = 'p'",
        "security",
        "starttls",
    ),
    (
        "[x]",
        "kind = 'syslog'\nhost = 'l.example'\nfacility = 24",
        "facility",
        "0 to 23",
    ),
    (
        "[x]",
        "kind = 'syslog'\nhost = 'l.example'\nproxy = 'http://p.example'",
        "proxy",
        "known keys",
    ),
    (
        "[[notify.rules]]",
        "channels = ['y']",
        "rules[1].channels",
        "channels are: x",
    ),
    (
        "[[notify.rules]]",
        "classes = ['geo']",
        "rules[1].channels",
        "on-call",
    ),
    (
        "[[notify.rules]]",
        "channels = ['x']\nclasses = ['weather']",
        "classes",
        "/api/v1/event-types",
    ),
    (
        "[[notify.rules]]",
        "channels = ['x']\nmin_level = 'fatal'",
        "min_level",
        "critical",
    ),
    (
        "[[notify.rules]]",
        "channels = ['x']\nprefixes = ['192.0.2.0']",
        "prefixes",
        "192.0.2.0/24",
    ),
    (
        "[[notify.rules]]",
        "channels = ['x']\nsingle_agent = 'yes'",
        "single_agent",
        "true or false",
    ),
];

#[test]
fn every_mistake_names_key_value_and_fix() {
    for (section, keys, key, fix) in MISTAKES {
        let text = match *section {
            "[x]" => format!("[notify.channels.x]\n{keys}"),
            "[[notify.rules]]" => format!("{SYSLOG}[[notify.rules]]\n{keys}"),
            other => format!("{other}\n{keys}"),
        };
        let error = parse(&text).expect_err(&text).to_string();
        for part in ["/etc/firstmile/collector.toml: notify.", *key, *fix] {
            assert!(error.contains(part), "{text}: {error:?} lacks {part:?}");
        }
    }
}
