//! Prints the C header that `bindings/c/src` makes. A crate of its own, as cbindgen brings a parser of Rust with it.

use std::{io::Write, path::Path};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binding = here.parent().context("this crate lies in bindings/")?.join("c");
    let config = cbindgen::Config::from_file(binding.join("cbindgen.toml")).map_err(anyhow::Error::msg)?;
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_crate(&binding)
        .with_config(config)
        .generate()
        .context("reading bindings/c/src")?
        .write(&mut header);
    let header = String::from_utf8(header)?;
    let mut lines: Vec<&str> = header.lines().collect();
    // It leaves empty lines where there was nothing to write.
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    let text = lines.join("\n").trim_end().to_owned() + "\n";
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
