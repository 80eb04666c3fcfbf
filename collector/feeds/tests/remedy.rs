//! What is proposed against a verdict is configuration that BIRD and FRR, as Debian packages them, take.

use std::path::Path;
use std::process::Command;

use firstmile_routing::asn::Asn;
use firstmile_routing::remedy::{Remedy, Router};

fn remedy(communities: Vec<(u16, u16)>) -> Remedy {
    let announce = ["198.51.100.0/25", "198.51.100.128/25", "2001:db8::/33"];
    Remedy {
        announce: announce.map(|net| net.parse().expect("a prefix")).to_vec(),
        origin: Some(Asn(64_496)),
        communities,
        words: Vec::new(),
    }
}

fn takes(name: &str, command: &mut Command, file: &Path) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("cannot start {name}: {error}; install the Debian packages bird2 and frr")
    });
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let text = std::fs::read_to_string(file).expect("our own file");
    // `vtysh -C` ends with 0 and names the lines that it does not know.
    let is_taken = output.status.success() && !said.contains("Unknown command");
    assert!(is_taken, "{name} refuses:\n{text}\n{said}");
}

#[test]
fn bird_and_frr_take_what_is_proposed() {
    let folder = tempfile::tempdir().expect("a folder");
    for communities in [Vec::new(), vec![(8075, 8007), (65_535, 65_281)]] {
        let remedy = remedy(communities);
        let bird = folder.path().join("bird.conf");
        std::fs::write(&bird, remedy.render(Router::Bird)).expect("the folder takes it");
        takes(
            "bird",
            Command::new("bird").arg("-p").arg("-c").arg(&bird),
            &bird,
        );
        let frr = folder.path().join("frr.conf");
        std::fs::write(&frr, remedy.render(Router::Frr)).expect("the folder takes it");
        takes(
            "vtysh",
            Command::new("vtysh").arg("-C").arg("-f").arg(&frr),
            &frr,
        );
    }
}
