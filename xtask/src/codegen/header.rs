//! `bindings/c/src` as a C header: `bindings/c/include/ottla.h`.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::files::Files;
use crate::tree;

/// The header, as the tool in `bindings/bindgen` prints it: that brings cbindgen, which nothing else needs.
pub fn generate() -> anyhow::Result<Files> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--package", "ottla-bindgen"])
        .current_dir(tree::path(""))
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "the header of bindings/c could not be made");
    let mut files = Files::default();
    files.add("bindings/c/include/ottla.h", String::from_utf8(output.stdout)?);
    Ok(files)
}
