//! Where things are in this repository.

use std::path::{Path, PathBuf};

/// A path from the repository's root.
pub fn path(relative: impl AsRef<Path>) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root");
    root.join(relative)
}
