//! The packages for npm: one of JavaScript, and one for this platform with the native half and the program `ottla`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::{
    package::{PACKAGES, build_program, done},
    platform::{Build, Platform},
    tree,
};

/// The oldest Node that the package takes.
const NODE_VERSION_MIN: (u32, u32) = (20, 3);
/// The workspace's, which all packages have.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A script on Windows.
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
/// Documents that go with each package.
const DOCUMENTS: [&str; 2] = ["LICENSE", "NOTICE"];

/// What is needed to build the packages, if it is not there.
pub fn missing() -> Option<&'static str> {
    (!has_node()).then_some("Node 20.3 or later (`node`) with `npm`")
}

fn has_node() -> bool {
    let output = |program: &str| Command::new(program).arg("--version").output().ok();
    let Some(node) = output("node").filter(|_| output(NPM).is_some_and(|npm| npm.status.success())) else {
        return false;
    };
    let said = String::from_utf8_lossy(&node.stdout);
    let mut numbers = said.trim().trim_start_matches('v').split('.').map_while(|n| n.parse().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= NODE_VERSION_MIN)
}

/// Where `cargo xtask package` installs them.
pub fn installed() -> PathBuf {
    tree::path(PACKAGES).join("node")
}

/// A tool that `node/package.json` names, as TypeScript's compiler.
pub fn tool(name: &str) -> PathBuf {
    tree::path("node/node_modules/.bin").join(name)
}

/// Builds both for this machine; the paths of their archives, JavaScript's first.
pub fn packages(profile: &str) -> anyhow::Result<Vec<PathBuf>> {
    let build = Build::here(profile)?;
    let platform = platform_package(&build)?;
    let main = main_package(&[build.platform], &build.out().join("npm"))?;
    Ok(vec![main, platform])
}

/// Builds and packs the native half of a platform, with the program.
pub fn platform_package(build: &Build) -> anyhow::Result<PathBuf> {
    if let Some(missing) = missing() {
        bail!("there is no {missing}");
    }
    let staged = build.out().join("npm");
    let _ = fs::remove_dir_all(&staged);
    pack(&native(build, &staged)?, &staged)
}

/// Packs JavaScript's, which asks for the native half of any of these platforms.
pub fn main_package(platforms: &[Platform], staged: &Path) -> anyhow::Result<PathBuf> {
    if let Some(missing) = missing() {
        bail!("there is no {missing}");
    }
    pack(&main(platforms, staged)?, staged)
}

/// What the archive of a platform's package is called.
pub fn archive_of(platform: Platform) -> String {
    format!("{}-{VERSION}.tgz", name(platform).trim_start_matches('@').replace('/', "-"))
}

fn name(platform: Platform) -> String {
    let (os, cpu, libc) = platform.npm();
    ["@ottla/lib", os, cpu].into_iter().chain(libc).collect::<Vec<_>>().join("-")
}

/// Installs packages, and others' by name, into a folder of their own.
pub fn install(at: &Path, packages: &[PathBuf], others: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(at)?;
    fs::write(at.join("package.json"), "{ \"private\": true }\n")?;
    let mut npm = npm(at);
    npm.args(["install", "--ignore-scripts", "--no-save"]).args(packages).args(others);
    done(npm, "installing the packages")
}

/// Compiles a program of one file against the installed packages; gives what `node` runs.
pub fn compile_example(source: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let at = installed().join(name);
    fs::create_dir_all(&at)?;
    fs::copy(source, at.join("main.ts"))?;
    let mut tsc = Command::new(tool("tsc"));
    tsc.args(["--strict", "--module", "node16", "--moduleResolution", "node16", "--target", "es2022"])
        .args(["--lib", "es2023,esnext.disposable", "--types", "node", "--typeRoots"])
        .arg(tree::path("node/node_modules/@types"))
        .arg("main.ts")
        .current_dir(&at);
    done(tsc, "compiling the example")?;
    Ok(at.join("main.js"))
}

/// The native half and the program, staged.
fn native(build: &Build, staged: &Path) -> anyhow::Result<PathBuf> {
    let at = staged.join("lib");
    fs::create_dir_all(at.join("bin"))?;
    let program = build_program(build)?;
    fs::copy(&program, at.join("bin").join(program.file_name().context("a program has a name")?))?;
    build.cargo(&["ottla-node"])?;
    let library = build.platform.library("ottla_node");
    fs::copy(build.built().join(library), at.join("ottla.node")).context("the addon was built")?;
    let (os, cpu, libc) = build.platform.npm();
    let name = name(build.platform);
    let mut manifest = json!({
        "name": name,
        "version": VERSION,
        "description": format!("The native half of ottla for {os} on {cpu}."),
        "license": "Apache-2.0",
        "repository": { "type": "git", "url": "git+https://github.com/ottla/ottla.git" },
        "os": [os],
        "cpu": [cpu],
        "files": ["bin", "ottla.node", "NOTICE"],
    });
    if let Some(libc) = libc.filter(|_| os == "linux") {
        manifest["libc"] = json!([if libc == "gnu" { "glibc" } else { libc }]);
    }
    write(&at, &manifest)?;
    fs::write(
        at.join("README.md"),
        format!("# {name}\n\nComes with [ottla](https://www.npmjs.com/package/ottla).\n"),
    )?;
    Ok(at)
}

/// JavaScript's, staged.
fn main(platforms: &[Platform], staged: &Path) -> anyhow::Result<PathBuf> {
    let at = staged.join("ottla");
    fs::create_dir_all(at.join("bin"))?;
    compile()?;
    copy_all(&tree::path("node/dist"), &at.join("dist"))?;
    copy_all(&tree::path("node/bin"), &at.join("bin"))?;
    fs::copy(tree::path("node/README.md"), at.join("README.md"))?;
    let text = fs::read_to_string(tree::path("node/package.json"))?;
    let mut manifest: Value = serde_json::from_str(&text)?;
    ensure!(manifest["version"] == VERSION, "`node/package.json` is not of version {VERSION}");
    let fields = manifest.as_object_mut().context("a manifest is an object")?;
    fields.remove("devDependencies");
    fields.remove("scripts");
    let natives = platforms.iter().map(|&platform| (name(platform), json!(VERSION))).collect();
    fields.insert("optionalDependencies".into(), Value::Object(natives));
    write(&at, &manifest)?;
    Ok(at)
}

/// TypeScript into JavaScript, with a compiler as the lockfile has it.
fn compile() -> anyhow::Result<()> {
    let node = tree::path("node");
    if !tool("tsc").exists() {
        let mut npm = npm(&node);
        npm.args(["ci", "--ignore-scripts"]);
        done(npm, "installing TypeScript")?;
    }
    let _ = fs::remove_dir_all(node.join("dist"));
    let mut tsc = Command::new(tool("tsc"));
    tsc.args(["--project", "tsconfig.json"]).current_dir(&node);
    done(tsc, "compiling `node/src`")
}

fn pack(package: &Path, into: &Path) -> anyhow::Result<PathBuf> {
    for document in DOCUMENTS {
        fs::copy(tree::path(document), package.join(document))?;
    }
    let output = npm(package)
        .args(["pack", "--json", "--pack-destination"])
        .arg(into)
        .output()
        .context("running `npm pack`")?;
    ensure!(output.status.success(), "npm pack: {}", String::from_utf8_lossy(&output.stderr).trim());
    let told: Value = serde_json::from_slice(&output.stdout).context("`npm pack` tells JSON")?;
    // Of one package: in a list, or by its name.
    let one = told.get(0).or_else(|| told.as_object().and_then(|all| all.values().next()));
    let name = one.and_then(|one| one["filename"].as_str()).context("`npm pack` tells the file's name")?;
    Ok(into.join(name))
}

fn npm(at: &Path) -> Command {
    let mut npm = Command::new(NPM);
    npm.args(["--loglevel=error", "--no-fund", "--no-audit"]).current_dir(at);
    npm
}

fn write(at: &Path, manifest: &Value) -> anyhow::Result<()> {
    fs::write(at.join("package.json"), serde_json::to_string_pretty(manifest)? + "\n")?;
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_all(&path, &to)?;
        } else {
            fs::copy(&path, &to)?;
        }
    }
    Ok(())
}
