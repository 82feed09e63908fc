//! The languages of snippets, a row for each: how one is made a program, over the package as its users install it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use ottla_interop::{Missing, path};

use crate::blocks::Block;

/// A language that snippets are written in.
pub struct Language {
    /// What stands behind the fence.
    pub fence: &'static str,
    /// The command that runs a snippet.
    prepare: fn(&Snippet<'_>) -> anyhow::Result<Command>,
}

/// A snippet that is to be run.
pub struct Snippet<'a> {
    /// Its page and line: `docs/guide/x.md:12`.
    pub place: &'a str,
    /// What is in it.
    pub block: &'a Block,
    /// Where its broker is; the snippet itself says `localhost:9092`.
    pub address: &'a str,
    /// A directory of its own.
    pub directory: &'a Path,
    /// The program of Rust's snippets, which is built with the test.
    pub rust: &'a Path,
}

/// The languages. One whose fence is not here needs a row, or its blocks a reason not to be run.
const LANGUAGES: &[Language] = &[
    Language { fence: "rust", prepare: rust },
    Language { fence: "python", prepare: python },
    Language { fence: "c", prepare: |snippet| compiled(snippet, "cc", "-std=c99", "main.c") },
    Language { fence: "cpp", prepare: |snippet| compiled(snippet, "c++", "-std=c++17", "main.cpp") },
    Language { fence: "ts", prepare: typescript },
    Language { fence: "java", prepare: java },
    Language { fence: "csharp", prepare: csharp },
    Language { fence: "ruby", prepare: ruby },
    Language { fence: "php", prepare: php },
    Language { fence: "go", prepare: go },
];

/// The command that runs a snippet, as its language does.
///
/// # Errors
///
/// [`Missing`] if the language's package is not installed. Else if the snippet does not compile, or nobody knows the language.
pub fn prepare(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    let fence = snippet.block.language.as_str();
    match LANGUAGES.iter().find(|language| language.fence == fence) {
        Some(language) => (language.prepare)(snippet),
        None => bail!("nobody knows how to run `{fence}`: say `<!-- not run: why -->` before the fence"),
    }
}

fn rust(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    let mut command = Command::new(snippet.rust);
    command.args([snippet.place, snippet.address]);
    Ok(command)
}

fn python(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    let program = source(snippet, "main.py")?;
    let mut command = Command::new(installed("target/packages/python/bin/python")?);
    command.arg(path("tests/guide/run/python.py")).arg(program);
    Ok(command)
}

/// C and C++, against the library as the stage `libottla` of `cargo xtask test` has installed it.
fn compiled(snippet: &Snippet<'_>, compiler: &str, standard: &str, name: &str) -> anyhow::Result<Command> {
    let program = source(snippet, name)?;
    let output = snippet.directory.join("snippet");
    compile(compiler, &[standard], &program, &output)?;
    Ok(line_by_line(&output))
}

/// Compiles a program in C or C++ against the installed library, with every warning an error.
///
/// # Errors
///
/// [`Missing`] if the library is not installed; else what the compiler said.
pub fn compile(compiler: &str, switches: &[&str], source: &Path, output: &Path) -> anyhow::Result<()> {
    let prefix = installed("target/c/prefix")?;
    let lib = prefix.join("lib");
    let compiled = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-D_DEFAULT_SOURCE"])
        .arg(format!("-I{}", prefix.join("include").display()))
        .arg(source)
        .args(["-o"])
        .arg(output)
        .arg(format!("-L{}", lib.display()))
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .args(["-lottla", "-lpthread"])
        .args(switches)
        .output()
        .with_context(|| format!("running `{compiler}`"))?;
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Ok(())
}

/// A module of its own, which may await at its top level.
fn typescript(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    source(snippet, "main.mts")?;
    compile_typescript(snippet.directory, "main.mts")?;
    let mut command = Command::new("node");
    command.arg(snippet.directory.join("main.mjs"));
    Ok(command)
}

/// Compiles a program in TypeScript, which lies in a directory of its own, as strictly as TypeScript can, against the package as the
/// stage `node` of `cargo xtask test` has installed it.
///
/// # Errors
///
/// [`Missing`] if the package is not installed; else what the compiler said.
pub fn compile_typescript(directory: &Path, source: &str) -> anyhow::Result<()> {
    let modules = installed("target/packages/node/node_modules")?;
    let compiler = installed("node/node_modules/.bin/tsc")?;
    std::os::unix::fs::symlink(modules, directory.join("node_modules"))?;
    let compiled = Command::new(compiler)
        .args(["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"])
        .args(["--module", "node16", "--moduleResolution", "node16", "--target", "es2022"])
        .args(["--lib", "es2023,esnext.disposable", "--types", "node", "--typeRoots"])
        .arg(installed("node/node_modules/@types")?)
        .arg(source)
        .current_dir(directory)
        .output()
        .context("running `tsc`")?;
    // It says on its standard output what is wrong.
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
    Ok(())
}

/// Statements, with their imports before them, or a whole program; with every warning an error, and against the jars as the stage
/// `java` has put them there.
fn java(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    let jars = installed("target/packages/java/lib")?.join("*");
    let file = source(snippet, "Main.java")?;
    fs::write(&file, whole_java(&fs::read_to_string(&file)?))?;
    let compiled = Command::new("javac")
        .args(["--release", "17", "-Xlint:all,-path,-try", "-Werror", "-cp"])
        .arg(&jars)
        .arg("-d")
        .arg(snippet.directory)
        .arg(&file)
        .output()
        .map_err(|error| Missing(format!("a JDK, whose `javac` is on the path: {error}")))?;
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let mut command = Command::new("java");
    // It lives for a second: compiling hot code well does not pay.
    command
        .args([
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ])
        .arg(std::env::join_paths([snippet.directory, &jars])?)
        .arg("Main");
    Ok(command)
}

/// Statements become the body of `main`, behind the imports that stand before them.
fn whole_java(text: &str) -> String {
    if text.contains("void main(String[]") {
        return text.to_owned();
    }
    let (imports, body): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("import "));
    let (imports, body) = (imports.join("\n"), body.join("\n"));
    format!(
        "{imports}\n\nfinal class Main {{\n    private Main() {{}}\n\n    \
         public static void main(String[] arguments) throws Exception {{\n{body}\n    }}\n}}\n"
    )
}

/// Statements, behind those that the SDK's template for programs takes for granted; against the assembly as the stage `dotnet` has put it there.
fn csharp(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    let compile = installed("target/packages/dotnet/snippets/compile")?;
    let file = source(snippet, "main.cs")?;
    let text = fs::read_to_string(&file)?;
    let usings = ["", ".Collections.Generic", ".Linq", ".Threading", ".Threading.Tasks"];
    let usings: String = usings.iter().map(|name| format!("global using System{name};\n")).collect();
    fs::write(&file, usings + &text)?;
    let compiled = Command::new(&compile)
        .current_dir(snippet.directory)
        .output()
        .with_context(|| format!("running `{}`", compile.display()))?;
    // It says on its standard output what is wrong.
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
    Ok(Command::new(snippet.directory.join("run")))
}

/// A program whose lines come out one by one.
fn ruby(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    let program = source(snippet, "main.rb")?;
    let mut command = Command::new("ruby");
    command.args(["-w", "-I"]).arg(installed("target/packages/ruby/lib")?);
    command.args(["-e", "$stdout.sync = true; load ARGV.shift"]).arg(program);
    Ok(command)
}

/// Statements, without the tag that PHP begins with.
fn php(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    let autoload = installed("target/packages/php/autoload.php")?;
    let program = source(snippet, "main.php")?;
    let text = fs::read_to_string(&program)?;
    fs::write(
        &program,
        format!("<?php\nrequire '{}';\n{}", autoload.display(), text.trim_start_matches("<?php\n")),
    )?;
    let mut command = Command::new("php");
    command.arg(program);
    Ok(command)
}

/// A whole program, over the release of franz-go that the tests of the broker use.
fn go(snippet: &Snippet<'_>) -> anyhow::Result<Command> {
    source(snippet, "main.go")?;
    for file in ["go.mod", "go.sum"] {
        fs::copy(path("tests/interop/peers/go").join(file), snippet.directory.join(file))?;
    }
    let compiled = Command::new("go")
        .args(["build", "-o", "snippet", "."])
        .current_dir(snippet.directory)
        .output()
        .map_err(|error| Missing(format!("Go, whose `go` is on the path: {error}")))?;
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Ok(Command::new(snippet.directory.join("snippet")))
}

/// Runs a program of C's so that its lines come out one by one, though nobody sees them on a terminal.
pub fn line_by_line(program: &Path) -> Command {
    let mut command = Command::new("stdbuf");
    command.args(["--output=L"]).arg(program);
    command
}

/// What `cargo xtask test` has installed there.
///
/// # Errors
///
/// [`Missing`] if it has not.
pub fn installed(at: &str) -> anyhow::Result<PathBuf> {
    let there = path(at);
    match there.exists() {
        true => Ok(there),
        false => Err(Missing(format!("`{at}` is not there: run `cargo xtask test`")).into()),
    }
}

/// The snippet as a file, with the address of its broker.
fn source(snippet: &Snippet<'_>, name: &str) -> anyhow::Result<PathBuf> {
    let at = snippet.directory.join(name);
    fs::write(&at, snippet.block.text.replace("localhost:9092", snippet.address))?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::whole_java;

    #[test]
    fn javas_statements_become_a_program_with_their_imports_before_it() {
        let program = whole_java("import java.util.List;\n\nList.of();\n");
        let (imports, class) = program.split_once("final class Main {").unwrap_or_default();
        assert_eq!(imports.trim(), "import java.util.List;");
        assert!(class.contains("List.of();") && !class.contains("import"), "{program}");
        assert_eq!(whole_java(&program), program);
    }
}
