//! The generated files: collected first, then written, or compared with what is checked in.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::tree;

/// Generated text by its path from the repository's root.
#[derive(Default)]
pub struct Files {
    texts: BTreeMap<PathBuf, String>,
    /// Directories in which every file is generated; what is left there from before is removed.
    owned: Vec<PathBuf>,
}

impl Files {
    /// Adds a file as it is.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: String) {
        let path = path.into();
        assert!(self.texts.insert(path.clone(), text).is_none(), "{} is generated twice", path.display());
    }

    /// Adds Rust source, formatted as the rest of the project is.
    pub fn add_rust(&mut self, path: impl Into<PathBuf>, source: &str) -> anyhow::Result<()> {
        let path = path.into();
        let text = rustfmt(source).with_context(|| format!("formatting {}", path.display()))?;
        self.add(path, text);
        Ok(())
    }

    /// Says that `directory` holds generated files only.
    pub fn own(&mut self, directory: impl Into<PathBuf>) {
        self.owned.push(directory.into());
    }

    /// Writes what differs and removes what is no longer generated.
    pub fn write(&self) -> anyhow::Result<()> {
        let mut written = 0;
        for (path, text) in self.stale()? {
            let path = tree::path(path);
            match text {
                Some(text) => {
                    std::fs::create_dir_all(path.parent().context("a file has a directory")?)?;
                    std::fs::write(&path, text)?;
                }
                None => std::fs::remove_file(&path)?,
            }
            written += 1;
        }
        eprintln!("codegen: {} files, {written} changed", self.texts.len());
        Ok(())
    }

    /// Fails if anything checked in is not what is generated now.
    pub fn check(&self) -> anyhow::Result<()> {
        let stale = self.stale()?;
        for (path, text) in &stale {
            eprintln!(
                "stale: {}{}",
                path.display(),
                if text.is_some() { "" } else { " (no longer generated)" }
            );
        }
        ensure!(stale.is_empty(), "{} generated files are stale; run `cargo xtask codegen`", stale.len());
        let unmarked = self.unmarked()?;
        ensure!(unmarked.is_empty(), "`.gitattributes` does not say that these are generated: {unmarked:?}");
        eprintln!("codegen: {} files are fresh", self.texts.len());
        Ok(())
    }

    /// Those that are no generated files to git, so that reviews would show them in full.
    fn unmarked(&self) -> anyhow::Result<Vec<String>> {
        let output = Command::new("git")
            .args(["check-attr", "linguist-generated", "--"])
            .args(self.texts.keys())
            .current_dir(tree::path(""))
            .output()
            .context("running git")?;
        ensure!(
            output.status.success(),
            "git check-attr: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let told = String::from_utf8(output.stdout)?;
        let unmarked = told.lines().filter_map(|line| line.strip_suffix(": linguist-generated: unspecified"));
        Ok(unmarked.map(str::to_owned).collect())
    }

    fn stale(&self) -> anyhow::Result<Vec<(PathBuf, Option<&String>)>> {
        let mut stale = Vec::new();
        for (path, text) in &self.texts {
            if std::fs::read_to_string(tree::path(path)).ok().as_ref() != Some(text) {
                stale.push((path.clone(), Some(text)));
            }
        }
        for directory in &self.owned {
            let Ok(entries) = std::fs::read_dir(tree::path(directory)) else { continue };
            for entry in entries {
                let entry = entry?;
                let path = directory.join(entry.file_name());
                if entry.file_type()?.is_file() && !self.texts.contains_key(&path) {
                    stale.push((path, None));
                }
            }
        }
        Ok(stale)
    }
}

fn rustfmt(source: &str) -> anyhow::Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(tree::path("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("rustfmt comes with the toolchain; `rustup component add rustfmt` adds it")?;
    let mut stdin = rustfmt.stdin.take().context("stdin is piped")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(source.as_bytes()));
        rustfmt.wait_with_output()
    })?;
    if !output.status.success() {
        bail!("rustfmt does not take the generated source");
    }
    Ok(String::from_utf8(output.stdout)?)
}
