//! `bindings/c/src` for others: as a C header, `bindings/c/include/ottla.h`, as C#'s declarations, and by that header as PHP's and Ruby's.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::{files::Files, foreign};
use crate::tree;

/// What is made, and where it goes.
const MADE: [(&str, &str); 2] =
    [("header", "bindings/c/include/ottla.h"), ("csharp", "dotnet/src/Ottla/Native/NativeMethods.g.cs")];

/// All of it, as the tool in `bindings/bindgen` makes them: that brings cbindgen and csbindgen, which nothing else needs.
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
        let text = std::fs::read_to_string(&scratch)?;
        if what == "header" {
            foreign::generate(&mut files, &text).context(path)?;
        }
        files.add(path, text);
    }
    Ok(files)
}
