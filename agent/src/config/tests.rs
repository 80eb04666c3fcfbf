//! Edges of the configuration: every refusal is one line with file, key, value and fix.

use std::path::Path;
use std::time::Duration;

use super::*;

fn read(text: &str) -> Result<AgentConfig, ConfigError> {
    parse(Path::new("agent.toml"), text)
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = read("").expect("valid");
    assert_eq!(config.targets.len(), 5);
    assert_eq!(config.plan.pulse_interval, Duration::from_secs(5));
    assert_eq!(config.plan.trace_flows, 8);
    assert_eq!(config.spool.max_bytes, 64 << 20);
    assert_eq!(config.state_dir, PathBuf::from(DEFAULT_STATE_DIR));
}

#[test]
fn own_targets_replace_those_of_a_set_by_name() {
    let config = read("target_sets = [\"m365\", \"azure-westeurope\"]\n[[target]]\nname = \"exchange\"\nhost = \"192.0.2.7\"\nport = 8443\n")
        .expect("valid");
    assert_eq!(config.targets.len(), 6);
    assert_eq!(
        config.targets[0].host,
        Host::Address("192.0.2.7".parse().expect("an address"))
    );
    assert_eq!(config.targets[0].port, 8443);
}

#[test]
fn resolvers_take_a_port_or_53() {
    let config = read("resolvers = [\"192.0.2.53\", \"[2001:db8::53]:5353\"]").expect("valid");
    let want: Vec<SocketAddr> = ["192.0.2.53:53", "[2001:db8::53]:5353"]
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect();
    assert_eq!(config.resolvers, want);
}

/// Name of the case, the file, and what its refusal has to say.
const BAD_INPUT: &[(&str, &str, &[&str])] = &[
    (
        "unknown key",
        "target_set = []",
        &["agent.toml: target_set = []:", "did you mean target_sets?"],
    ),
    (
        "unknown key in a table",
        "[plan]\nfrequency = \"5s\"",
        &[
            "agent.toml: plan.frequency = \"5s\":",
            "the nearest is",
            "pulse_interval",
        ],
    ),
    (
        "half a key",
        "[plan]\nflow = 3",
        &["plan.flow = 3:", "did you mean trace_flows?"],
    ),
    (
        "bare number",
        "[plan]\npulse_interval = 5",
        &["plan.pulse_interval = 5:", "with its unit"],
    ),
    (
        "bad unit",
        "[plan]\npulse_interval = \"5 apples\"",
        &["plan.pulse_interval = \"5 apples\"", "such as \"1s\""],
    ),
    (
        "impossible interval",
        "[plan]\npulse_interval = \"1ms\"",
        &["\"1ms\"", "from \"1s\" to \"1h\""],
    ),
    (
        "too many flows",
        "[plan]\ntrace_flows = 9",
        &["plan.trace_flows = 9", "from 1 to 8"],
    ),
    (
        "bad size",
        "[spool]\nmax_bytes = \"64\"",
        &["spool.max_bytes = \"64\"", "such as \"64MiB\""],
    ),
    (
        "huge size",
        "[spool]\nmax_bytes = \"99999999999999999GiB\"",
        &["spool.max_bytes", "such as \"64MiB\""],
    ),
    (
        "a portal page that no portal can answer for",
        "[doctor]\nportal_url = \"https://portal.example/\"",
        &["doctor.portal_url", "http:// URL"],
    ),
    (
        "reports too old for any collector",
        "[spool]\nmax_age = \"31days\"",
        &["spool.max_age = \"31days\"", "to \"30days\""],
    ),
    (
        "unknown set",
        "target_sets = [\"m366\"]",
        &["target_sets = [\"m366\"]", "\"m365\""],
    ),
    (
        "no target",
        "target_sets = []",
        &["target_sets", "something to measure"],
    ),
    (
        "URL as host",
        "[[target]]\nname = \"a\"\nhost = \"https://a.example/\"",
        &["target[0].host", "without scheme"],
    ),
    (
        "host is four numbers too many",
        "[[target]]\nname = \"a\"\nhost = \"1.2.3.4.5\"",
        &["target[0].host"],
    ),
    (
        "no host",
        "[[target]]\nname = \"a\"",
        &["target[0].host is missing", "write host"],
    ),
    (
        "name twice",
        "[[target]]\nname = \"a\"\nhost = \"a.example\"\n[[target]]\nname = \"a\"\nhost = \"b.example\"",
        &["agent.toml: target[1].name = \"a\":", "name of its own"],
    ),
    (
        "port 0",
        "[[target]]\nname = \"a\"\nhost = \"a.example\"\nport = 0",
        &["target[0].port = 0", "from 1 to 65535"],
    ),
    (
        "unknown protocol",
        "[[target]]\nname = \"a\"\nhost = \"a.example\"\nprotocols = [\"udp\"]",
        &["protocols = [\"udp\"]", "\"icmp\""],
    ),
    (
        "no protocol",
        "[[target]]\nname = \"a\"\nhost = \"a.example\"\nprotocols = []",
        &["at least one"],
    ),
    (
        "path without slash",
        "[[target]]\nname = \"a\"\nhost = \"a.example\"\npath = \"x\"",
        &["target[0].path = \"x\"", "starts with '/'"],
    ),
    (
        "resolver is a name",
        "resolvers = [\"dns.example\"]",
        &["resolvers = [\"dns.example\"]", "192.0.2.53:53"],
    ),
    ("not TOML", "a = \nb = 1", &["agent.toml:1: not TOML"]),
    ("plan is no table", "plan = 3", &["plan = 3", "[plan]"]),
    (
        "target is no array",
        "[target]\nname = \"a\"",
        &["target", "[[target]]"],
    ),
];

#[test]
fn bad_input_is_one_line_with_file_key_value_and_fix() {
    for (name, text, wants) in BAD_INPUT {
        let error = read(text).expect_err(name).to_string();
        assert_eq!(error.lines().count(), 1, "{name}: {error}");
        for want in *wants {
            assert!(error.contains(want), "{name}: {error:?} lacks {want:?}");
        }
    }
}

#[test]
fn more_targets_than_the_cap_are_refused() {
    let targets: Vec<String> = (0..21)
        .map(|i| {
            format!(
                "[[target]]
name = \"t{i}\"
host = \"t{i}.example\"
"
            )
        })
        .collect();
    let text = targets.concat();
    let error = read(&format!("target_sets = []\n{text}"))
        .expect_err("21 targets")
        .to_string();
    assert!(error.contains("at most 20"), "{error}");
}

#[test]
fn a_missing_named_file_is_an_error() {
    let error = load(Some(Path::new("/nonexistent/agent.toml")))
        .expect_err("missing")
        .to_string();
    assert!(error.contains("no such file"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_on_one_line(text in "[ -~\n]{0,200}") {
        if let Err(error) = read(&text) {
            proptest::prop_assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}

#[cfg(windows)]
#[test]
fn on_windows_a_vantage_point_is_a_source_and_no_more() {
    let table = "[[vantage]]\nname = \"b\"\n";
    for key in ["interface = \"Ethernet\"", "dscp = 46"] {
        let text = format!("{table}source = \"192.0.2.7\"\n{key}\n");
        let error = read(&text).expect_err(key).to_string();
        assert!(error.contains("leave it out"), "{error}");
    }
    let text = format!("{table}source = \"192.0.2.7\"\ndscp = 0\n");
    let config = read(&text).expect("what the source alone needs");
    assert_eq!(config.vantages.len(), 2);
}

#[cfg(not(windows))]
#[test]
fn vantage_points_are_named_by_targets_and_by_all() {
    let text = "vantages = [\"default\", \"b\"]\n[[vantage]]\nname = \"b\"\ninterface = \"eth1\"\n[[vantage]]\nname = \"c\"\nsource = \"192.0.2.7\"\ndscp = 46\n[[target]]\nname = \"own\"\nhost = \"own.example\"\nvantages = [\"c\"]\n";
    let config = read(text).expect("valid");
    let names: Vec<&str> = config.vantages.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["", "b", "c"]);
    assert_eq!(config.targets[0].vantages, [2]);
    assert!(
        config.targets[1..]
            .iter()
            .all(|target| target.vantages == [0, 1])
    );
    assert_eq!(config.vantages[2].exit.dscp, 46);
    assert!(
        read("")
            .expect("valid")
            .targets
            .iter()
            .all(|target| target.vantages == [0])
    );
    for (name, text, want) in [
        (
            "unknown",
            "vantages = [\"b\"]",
            "there is no [[vantage]] of the name \"b\"",
        ),
        ("empty", "vantages = []", "name at least one"),
        (
            "nothing said",
            "[[vantage]]\nname = \"b\"",
            "name an interface, a source or a dscp",
        ),
        (
            "twice",
            "[[vantage]]\nname = \"b\"\ndscp = 1\n[[vantage]]\nname = \"b\"\ndscp = 2",
            "a name of its own",
        ),
        (
            "no interface",
            "[[vantage]]\nname = \"b\"\ninterface = \"a/b\"",
            "name of an interface",
        ),
        (
            "no address",
            "[[vantage]]\nname = \"b\"\nsource = \"eth1\"",
            "an address of this machine",
        ),
        (
            "no code point",
            "[[vantage]]\nname = \"b\"\ndscp = 64",
            "from 0 to 63",
        ),
    ] {
        let refused = read(text).expect_err(name).to_string();
        assert!(refused.contains(want), "{name}: {refused}");
    }
}
