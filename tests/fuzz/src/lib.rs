//! Fuzz targets: one for each of our own parsers of bytes that come from outside.
//!
//! A target takes any bytes and must not panic; most also hold what they read against a property. The seeds, and whatever
//! once broke a target, lie in `corpus/NAME/`: an ordinary test replays them on every run. `cargo xtask fuzz NAME` lets
//! libFuzzer search for more.

mod collector;
mod columns;
mod echo;
mod edge;
mod path;
mod routing;
mod wire;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its corpus too.
    pub name: &'static str,
    /// What reads such bytes, and from where they come.
    pub text: &'static str,
    /// Reads the bytes; panics when a property does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "bgp-update",
        text: "a BGP UPDATE inside of a RIS Live message, for Only-to-Customer",
        run: routing::update,
    },
    Target {
        name: "bmp",
        text: "a BMP session, from a router",
        run: routing::bmp,
    },
    Target {
        name: "chunk",
        text: "a chunk of samples, from a damaged disk",
        run: columns::chunk,
    },
    Target {
        name: "echo",
        text: "ICMP and ICMPv6 echo replies and quoted requests, from the network",
        run: echo::packets,
    },
    Target {
        name: "edge",
        text: "response headers of front doors, as the agent reads them",
        run: edge::headers,
    },
    Target {
        name: "frame",
        text: "a report's frame as it is posted: zstd, then protobuf",
        run: wire::frame,
    },
    Target {
        name: "geo-headers",
        text: "response headers and CNAME chains, as the collector decodes them",
        run: collector::headers,
    },
    Target {
        name: "ip-to-as",
        text: "a table of IP prefixes and their systems",
        run: collector::ip_to_as,
    },
    Target {
        name: "join",
        text: "a join string, pasted",
        run: wire::join,
    },
    Target {
        name: "mrt",
        text: "an MRT file, from anybody's archive",
        run: routing::mrt,
    },
    Target {
        name: "probe",
        text: "our own trace probes of every kind, as routers quote them",
        run: path::probes,
    },
    Target {
        name: "ptr",
        text: "reverse names of routers, from anybody's DNS",
        run: collector::ptr,
    },
    Target {
        name: "quote",
        text: "ICMP errors: quoted packets, extension structures, label stacks",
        run: path::quotes,
    },
    Target {
        name: "report",
        text: "the protobuf inside a frame, up to the batch that is stored",
        run: collector::report,
    },
    Target {
        name: "reply",
        text: "TCP segments and echo replies of a trace's destination",
        run: path::answers,
    },
    Target {
        name: "ris",
        text: "messages of RIS Live, and what the detector makes of them",
        run: routing::ris_message,
    },
    Target {
        name: "rounds",
        text: "path rounds and their dictionary, from a damaged disk",
        run: columns::rounds,
    },
    Target {
        name: "routing-rules",
        text: "rules of routing",
        run: routing::rules,
    },
    Target {
        name: "rtr",
        text: "an RTR session, from a validator",
        run: routing::rtr,
    },
    Target {
        name: "vrp-file",
        text: "a file of RPKI payloads",
        run: routing::vrp_file,
    },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
