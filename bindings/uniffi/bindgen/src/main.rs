//! Writes the Kotlin and Swift sources of `bindings/uniffi`, out of its library, in which UniFFI has put what it needs to know. A crate
//! of its own, as the generator takes minutes to build.
//!
//! ```text
//! ottla-uniffi-bindgen LIBRARY DIRECTORY
//! ```

use anyhow::{Context, bail};
use camino::Utf8PathBuf;
use uniffi_bindgen::{
    BindgenPaths, BindgenPathsLayer,
    bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths},
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, directory] = &arguments[..] else { bail!("which library, and where to write") };
    let mut paths = BindgenPaths::default();
    paths.add_layer(Ours);
    let options = GenerateOptions {
        languages: vec![TargetLanguage::Kotlin, TargetLanguage::Swift],
        source: library.into(),
        out_dir: directory.into(),
        ..GenerateOptions::default()
    };
    generate_with_bindgen_paths(options, paths).with_context(|| format!("reading `{library}`"))
}

/// Where the one crate is whose `uniffi.toml` counts.
struct Ours;

impl BindgenPathsLayer for Ours {
    fn get_crate_root(&self, crate_name: &str) -> Option<Utf8PathBuf> {
        let here = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        (crate_name == "ottla_uniffi").then(|| here.join(".."))
    }
}
