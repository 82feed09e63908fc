//! `bindings/c/src` for others: as a C header, `bindings/c/include/ottla.h`, and as C#'s declarations.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::files::Files;
use crate::tree;

/// What is made, and where it goes.
const MADE: [(&str, &str); 2] =
    [("header", "bindings/c/include/ottla.h"), ("csharp", "dotnet/src/Ottla/Native/NativeMethods.g.cs")];

/// Both, as the tool in `bindings/bindgen` makes them: that brings cbindgen and csbindgen, which nothing else needs.
pub fn generate() -> anyhow::Result<Files> {
    let mut files = Files::default();
    let directory = tree::path("target/codegen");
    std::fs::create_dir_all(&directory)?;
    for (what, path) in MADE {
        let scratch = directory.join(what);
        let status = Command::new("cargo")
            .args(["run", "--quiet", "--package", "ottla-bindgen", "--", what])
            .arg(&scratch)
            .current_dir(tree::path(""))
            // csbindgen names there what it leaves out.
            .stdout(Stdio::null())
            .status()
            .context("running cargo")?;
        ensure!(status.success(), "`{path}` could not be made");
        files.add(path, std::fs::read_to_string(&scratch)?);
    }
    Ok(files)
}
