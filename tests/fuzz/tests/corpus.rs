//! Every seed, and every input that once broke a target, goes through its target on each run of the tests.

use std::fs;
use std::path::Path;

use firstmile_fuzz::TARGETS;

#[test]
fn every_target_takes_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        let folder = corpus.join(target.name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| {
            panic!(
                "no corpus of `{}`: {}: {error}",
                target.name,
                folder.display()
            )
        });
        let mut taken = 0;
        for entry in entries {
            let file = entry.unwrap().path();
            let bytes = fs::read(&file).unwrap();
            println!("{}", file.display());
            (target.run)(&bytes);
            taken += 1;
        }
        assert!(
            taken >= 3,
            "{}: a corpus of {taken} is no start",
            target.name
        );
    }
    let folders = fs::read_dir(&corpus).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "each folder has its target");
}

#[test]
fn every_target_takes_nothing_and_noise() {
    for target in TARGETS {
        (target.run)(&[]);
        // A few hundred lengths of bytes without order, the same on each run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for length in 0..300 {
            let mut bytes = Vec::with_capacity(length);
            for _ in 0..length {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend(state.to_le_bytes().first());
            }
            (target.run)(&bytes);
        }
    }
}
