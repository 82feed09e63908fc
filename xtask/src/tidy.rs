//! `cargo xtask tidy`: the house rules that no compiler checks.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use clap::Parser;

use crate::{codegen, tree};

/// Checks the house rules: import arrows, fresh generated files, documents and sizes.
#[derive(Parser)]
pub struct Args {
    /// Leave out the check that generated files are fresh.
    #[arg(long)]
    no_codegen: bool,
}

/// What the modules of a crate may import from their own crate: the drawing of ARCHITECTURE.md, as a table. A
/// module that is not named may not be there.
struct Arrows {
    source: &'static str,
    /// Modules that everybody may import and that import nothing of the crate but each other.
    leaves: &'static [&'static str],
    modules: &'static [(&'static str, &'static [&'static str])],
}

const ARROWS: &[Arrows] = &[
    Arrows {
        source: "core/protocol/src",
        leaves: &["types", "wire", "error_code"],
        modules: &[
            ("api", &["messages"]),
            ("compression", &[]),
            ("frame", &["api", "messages"]),
            ("messages", &["api"]),
            ("record", &["compression", "messages"]),
        ],
    },
    Arrows {
        source: "core/src",
        leaves: &["config", "error", "metrics", "time"],
        modules: &[
            ("cluster", &[]),
            ("producer", &["cluster"]),
            ("consumer", &["cluster"]),
            ("admin", &["cluster"]),
            ("doctor", &["cluster"]),
            ("runtime", &["cluster"]),
        ],
    },
    Arrows {
        source: "broker/src",
        leaves: &["config", "metrics", "random", "start_error", "time"],
        modules: &[
            ("log", &[]),
            ("metadata", &[]),
            ("quota", &["metadata"]),
            ("replica", &["log"]),
            ("controller", &["log", "metadata", "quota", "replica"]),
            ("coordinator", &["metadata", "replica"]),
            ("listeners", &[]),
            ("authentication", &["listeners", "metadata"]),
            ("authorization", &["authentication", "metadata"]),
            (
                "handlers",
                &[
                    "authentication",
                    "authorization",
                    "log",
                    "metadata",
                    "quota",
                    "replica",
                    "controller",
                    "coordinator",
                    "server::dispatch",
                ],
            ),
            ("server", &["authentication", "log", "metadata", "quota", "handlers"]),
            ("observe", &["metadata", "replica", "server::dispatch"]),
            (
                "broker",
                &[
                    "authentication",
                    "authorization",
                    "log",
                    "metadata",
                    "quota",
                    "replica",
                    "controller",
                    "coordinator",
                    "listeners",
                    "handlers",
                    "observe",
                    "server",
                ],
            ),
        ],
    },
];

/// Which crates a crate may use, of our own and of the kinds that its layer must not know.
const CRATES: &[(&str, &[&str], &[&str])] = &[
    ("core/protocol", &[], &["tokio", "mio", "rustix", "libc"]),
    ("core/transport", &[], &[]),
    ("core/config", &[], &["tokio"]),
    ("core", &["ottla-config", "ottla-protocol", "ottla-transport"], &[]),
    ("broker", &["ottla-config", "ottla-protocol", "ottla-transport"], &[]),
    ("bindings/common", &["ottla"], &["tokio"]),
    ("bindings/c", &["ottla-bindings"], &["tokio", "libc"]),
    ("bindings/node", &["ottla-bindings"], &["tokio", "libc"]),
    ("bindings/uniffi", &["ottla-bindings"], &["tokio", "libc"]),
];

/// Longest source file, in lines; generated ones are not counted.
const LINES_MAX: usize = 1200;
/// Largest file that is checked in.
const BLOB_BYTES_MAX: u64 = 256 * 1024;
/// Documents that a reader expects.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "NOTICE",
    "deny.toml",
];

pub fn run(args: &Args) -> anyhow::Result<()> {
    let files = tracked_files()?;
    let mut faults = Vec::new();
    import_arrows(&files, &mut faults)?;
    crate_arrows(&mut faults)?;
    sizes(&files, &mut faults)?;
    words(&files, &mut faults)?;
    lints(&mut faults)?;
    for document in DOCUMENTS {
        if !tree::path(document).exists() {
            faults.push(format!("{document} is missing"));
        }
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    anyhow::ensure!(faults.is_empty(), "tidy: {} faults", faults.len());
    if !args.no_codegen {
        codegen::check()?;
    }
    eprintln!("tidy: {} files are in order", files.len());
    Ok(())
}

/// The files that git tracks or would track, from the repository's root.
fn tracked_files() -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(tree::path(""))
        .output()
        .context("running git")?;
    let names = String::from_utf8(output.stdout)?;
    Ok(names.lines().map(PathBuf::from).filter(|path| tree::path(path).is_file()).collect())
}

fn import_arrows(files: &[PathBuf], faults: &mut Vec<String>) -> anyhow::Result<()> {
    for arrows in ARROWS {
        for file in files.iter().filter(|f| f.starts_with(arrows.source) && is_rust(f)) {
            let Some(module) = module_of(file, arrows.source) else { continue };
            let text = std::fs::read_to_string(tree::path(file))?;
            let allowed = if arrows.leaves.contains(&module.as_str()) {
                &[][..]
            } else {
                match arrows.modules.iter().find(|(name, _)| *name == module) {
                    Some((_, allowed)) => allowed,
                    None => {
                        faults.push(format!("{}: no arrows are drawn for module `{module}`", file.display()));
                        continue;
                    }
                }
            };
            for imported in imports(&text) {
                let first = imported.split("::").next().unwrap_or_default();
                let fine = first == module
                    || arrows.leaves.contains(&first)
                    || allowed.contains(&first)
                    || allowed.contains(&imported.as_str())
                    // What the crate's root re-exports.
                    || first.starts_with(char::is_uppercase);
                if !fine {
                    faults.push(format!("{}: `{module}` may not import `crate::{imported}`", file.display()));
                }
            }
        }
    }
    Ok(())
}

/// The module that a file belongs to: the first step below the crate's source. `None` for the root itself.
fn module_of(file: &Path, source: &str) -> Option<String> {
    let inside = file.strip_prefix(source).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

/// The first two steps of every path that begins with `crate::`, groups taken apart. Tests are not looked at.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|l| !l.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().last();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0usize;
                let mut item = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.insert(two_steps(&item));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    item.push(c);
                }
                if !item.trim().is_empty() {
                    found.insert(two_steps(&item));
                }
            }
            None => {
                let path: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
                found.insert(two_steps(&path));
            }
        }
    }
    found
}

fn two_steps(path: &str) -> String {
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut steps = path.trim().split("::");
    let first = word(steps.next().unwrap_or_default());
    match steps.next().map(word).filter(|s| !s.is_empty() && s.starts_with(char::is_lowercase)) {
        Some(second) => format!("{first}::{second}"),
        None => first,
    }
}

/// One direction between crates: see `CRATES`.
fn crate_arrows(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for (path, ours, banned) in CRATES {
        let manifest = std::fs::read_to_string(tree::path(path).join("Cargo.toml"))?;
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let other_of_ours = name.starts_with("ottla") && !ours.contains(&name);
            if other_of_ours || banned.contains(&name) {
                faults.push(format!("{path} may not depend on `{name}`"));
            }
        }
    }
    Ok(())
}

fn sizes(files: &[PathBuf], faults: &mut Vec<String>) -> anyhow::Result<()> {
    for file in files {
        let bytes = std::fs::metadata(tree::path(file))?.len();
        if bytes > BLOB_BYTES_MAX && !file.ends_with("Cargo.lock") {
            faults.push(format!("{}: {bytes} bytes; {BLOB_BYTES_MAX} are the most", file.display()));
        }
        if is_rust(file) && !is_generated(file) {
            let lines = std::fs::read_to_string(tree::path(file))?.lines().count();
            if lines > LINES_MAX {
                faults.push(format!("{}: {lines} lines; {LINES_MAX} are the most", file.display()));
            }
        }
    }
    Ok(())
}

/// Words that have no place in what is checked in.
fn words(files: &[PathBuf], faults: &mut Vec<String>) -> anyhow::Result<()> {
    let unfinished = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    let machine = ["/root/", "/work/", "/home/"];
    for file in files {
        let Ok(text) = std::fs::read_to_string(tree::path(file)) else { continue };
        // What a generator of others' leaves to be done is not ours.
        let is_generated = is_generated(file);
        for (number, line) in text.lines().enumerate() {
            let mut in_line = line.split(|c: char| !c.is_alphanumeric());
            // With an issue's number beside it the word is a plan.
            let unfinished =
                in_line.find(|w| !is_generated && unfinished.iter().any(|u| u == w) && !line.contains('#'));
            let machine = machine.iter().find(|w| line.contains(**w) && !file.ends_with("xtask/src/tidy.rs"));
            if let Some(word) = unfinished.or(machine.copied()) {
                faults.push(format!("{}:{}: `{word}`", file.display(), number + 1));
            }
        }
    }
    Ok(())
}

/// Every crate takes the workspace's lints, and with them the demand to document public items.
fn lints(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for (path, ..) in CRATES.iter().chain([&("cli", &[][..], &[][..])]) {
        let manifest = std::fs::read_to_string(tree::path(path).join("Cargo.toml"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("{path}/Cargo.toml does not take the workspace's lints"));
        }
    }
    Ok(())
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|e| e == "rs")
}

fn is_generated(file: &Path) -> bool {
    std::fs::read_to_string(tree::path(file))
        .is_ok_and(|text| text.lines().take(4).any(|l| l.contains("Generated by `cargo xtask codegen")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_in_groups_and_paths() {
        let text = "use crate::{\n    log::{Log, FileSlice},\n    time::now_ms,\n    Broker,\n};\n\
                    fn f() { crate::server::dispatch::g() }\n// crate::not_this\n\
                    #[cfg(test)]\nmod tests { use crate::nor_this; }";
        let found: Vec<String> = imports(text).into_iter().collect();
        assert_eq!(found, ["Broker", "log", "server::dispatch", "time::now_ms"]);
    }

    #[test]
    fn a_files_module_is_the_first_step_below_the_source() {
        let module = |file| module_of(Path::new(file), "broker/src");
        assert_eq!(module("broker/src/log/append.rs").as_deref(), Some("log"));
        assert_eq!(module("broker/src/time.rs").as_deref(), Some("time"));
        assert_eq!(module("broker/src/lib.rs"), None);
    }
}
