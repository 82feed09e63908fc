//! The small corpora that are checked in, for the stable tests to replay.

use std::{fs, path::Path};

/// What a fuzzer runs on an input; it panics at a fault.
pub type Target = fn(&[u8]);

/// Runs each target on every file of its corpus.
///
/// # Panics
/// At a fault, and if a corpus has hardly any inputs. `crate_dir` is two levels below the root.
pub fn replay(crate_dir: &str, targets: &[(&str, Target)]) {
    for (name, target) in targets {
        let dir = Path::new(crate_dir).join("../../fuzz/corpus").join(name);
        let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let mut count = 0;
        for file in files {
            let path = file.expect("a directory entry").path();
            target(&fs::read(&path).expect("a readable file"));
            count += 1;
        }
        assert!(count >= 3, "{name} has {count} inputs");
    }
}
