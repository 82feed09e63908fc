//! .NET: the packages, and the tests over them. With an SDK they are the projects' in `dotnet/`; without one, the same sources are compiled
//! here (`toolchain.rs`), which is as good for tests, and for nothing else.

mod nupkg;
mod toolchain;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use crate::{
    package::{PACKAGES, done},
    platform::{Build, TEST_PROFILE},
    test::{Run, Tally},
    tree,
};
use toolchain::{Own, RUNTIME_CONFIG, Toolchain};

/// The packages, in the order in which they are built.
const PACKAGED: [&str; 2] = ["Ottla", "Ottla.Testing"];
/// What compilers take as defined, for .NET 8.
const SYMBOLS: &str = "NET;NET8_0;NET5_0_OR_GREATER;NET6_0_OR_GREATER;NET7_0_OR_GREATER;NET8_0_OR_GREATER";
/// Programs over the packages, and where their sources are.
const PROGRAMS: [(&str, &str); 7] = [
    ("Exits", "dotnet/tests/Exits"),
    ("LoadOttla", "benches/peers/dotnet"),
    ("Runner", "tests/conformance/runners/dotnet"),
    ("first_producer", "examples/first_producer/dotnet"),
    ("first_consumer", "examples/first_consumer/dotnet"),
    ("group", "examples/group/dotnet"),
    ("one_bus", "examples/one_bus/dotnet"),
];

/// Where the compiler for the documentation's snippets is, below the packages.
const SNIPPETS: &str = "snippets";

/// What is native in the packages, of each platform: the library, and the program `ottla`.
const LIBRARIES: &str = "runtimes";
const BROKERS: &str = "programs-of-ours";

/// Builds the packages, with the library and the program for this machine in them, and programs over them.
pub fn package(profile: &str) -> anyhow::Result<()> {
    let toolchain = toolchain::find()?.map_err(|missing| anyhow::anyhow!("there is no {missing}"))?;
    natives(&Build::here(profile)?)?;
    for package in build(&toolchain)? {
        println!("{}", package.display());
    }
    Ok(())
}

/// Makes the packages of what [`natives`] has put into each of the folders; gives them.
pub fn assemble(natives: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let toolchain = toolchain::find()?.map_err(|missing| anyhow::anyhow!("there is no {missing}"))?;
    for below in [LIBRARIES, BROKERS] {
        let _ = fs::remove_dir_all(at(below));
        natives.iter().try_for_each(|from| copy_all(&from.join(below), &at(below)))?;
    }
    build(&toolchain)
}

/// Builds the packages, and runs their tests.
pub fn lane(run: &Run) -> anyhow::Result<Tally> {
    let toolchain = match toolchain::find()? {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(run.missing(&missing)),
    };
    natives(&Build::here(TEST_PROFILE)?)?;
    build(&toolchain)?;
    let mut tests = match &toolchain {
        Toolchain::Sdk => {
            let mut dotnet = Command::new("dotnet");
            dotnet.args(["test", "--nologo"]).arg(tree::path("dotnet/tests/Ottla.Tests"));
            dotnet
        }
        Toolchain::Own(own) => {
            let tests = at("tests");
            let mut runner = own.run(&tests.join("TestRunner.dll"));
            runner.arg(tests.join("Ottla.Tests.dll"));
            runner
        }
    };
    tests.env("OTTLA_DOTNET_PROGRAMS", at("programs")).env("OTTLA_TEST_TOKENS", tree::path("tests/tokens"));
    let told = tests.stderr(Stdio::inherit()).output().context("running the tests")?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    print!("{text}");
    let tally = counted(&text).context("the tests did not come to their end")?;
    ensure!(told.status.success() || tally.failed > 0, "the tests ended with {}", told.status);
    Ok(tally)
}

/// A program over the packages, as [`package`] has put it there: that of `tests/conformance`, or an example's.
pub fn program(name: &str) -> Command {
    Command::new(at("programs").join(name).join("run"))
}

/// What is needed to build the packages, if it is not there. Fetches nothing.
pub fn missing() -> Option<&'static str> {
    (!toolchain::is_there())
        .then_some(".NET SDK (`dotnet`); `cargo xtask test --only dotnet` puts one together")
}

/// `target/packages/dotnet` and what is in it.
fn at(below: &str) -> PathBuf {
    tree::path(PACKAGES).join("dotnet").join(below)
}

/// Builds all over the natives that are there, and gives the packages.
fn build(toolchain: &Toolchain) -> anyhow::Result<Vec<PathBuf>> {
    let packages = match toolchain {
        Toolchain::Sdk => {
            for project in PACKAGED {
                let mut pack = Command::new("dotnet");
                pack.args(["pack", "--nologo", "--configuration", "Release", "--output"]).arg(at("packages"));
                pack.arg(tree::path("dotnet/src").join(project));
                done(pack, &format!("packing {project}"))?;
            }
            for (name, sources) in PROGRAMS {
                let output = at("programs").join(name);
                let mut publish = Command::new("dotnet");
                publish.args(["publish", "--nologo", "--output"]).arg(&output).arg(tree::path(sources));
                done(publish, &format!("building `{sources}`"))?;
                launcher(&output, "exec dotnet", name)?;
            }
            let project = fs::read_to_string(tree::path("examples/group/dotnet/group.csproj"))?;
            let root = tree::path("");
            fs::create_dir_all(at(SNIPPETS).join("program"))?;
            let project = project.replace("../../../", &format!("{}/", root.display()));
            fs::write(at(SNIPPETS).join("program/main.csproj"), project)?;
            snippets("exec dotnet", "dotnet build --nologo --output .")?;
            nupkg::found(&at("packages"))?
        }
        Toolchain::Own(own) => {
            compile_all(own)?;
            PACKAGED.into_iter().map(nupkg::write).collect::<anyhow::Result<_>>()?
        }
    };
    Ok(packages)
}

/// Builds what is Rust in the packages: the library and, for tests, the program. Gives the folder that both are in, each in a folder of its own.
pub fn natives(build: &Build) -> anyhow::Result<PathBuf> {
    build.cargo(&["ottla-c", "ottla-cli"])?;
    let platform = build.platform;
    let out = build.out().join("dotnet");
    let program = platform.program("ottla");
    let made = [
        (platform.library("ottla_c"), LIBRARIES, platform.library("ottla")),
        (program.clone(), BROKERS, program),
    ];
    for (built, below, name) in made {
        // Of no platform but this one, whatever was here before.
        let _ = fs::remove_dir_all(out.join(below));
        let directory = out.join(below).join(platform.nuget()).join("native");
        fs::create_dir_all(&directory)?;
        fs::copy(build.built().join(&built), directory.join(name))
            .with_context(|| format!("putting `{built}` into the packages"))?;
    }
    Ok(out)
}

/// What is compiled: its sources, and what of ours it stands on.
struct Assembly {
    name: String,
    sources: Vec<PathBuf>,
    /// Assemblies of ours, which are put beside it.
    uses: Vec<PathBuf>,
    output: PathBuf,
    is_program: bool,
    is_documented: bool,
    for_standard: bool,
}

/// The packages' assemblies, and then the tests, the runner and the examples over them.
fn compile_all(own: &Own) -> anyhow::Result<()> {
    for below in ["lib", "tests", "programs", "compilations", SNIPPETS] {
        let _ = fs::remove_dir_all(at(below));
    }
    let library = |name: &str, framework: &str, uses: &[&PathBuf]| -> anyhow::Result<Assembly> {
        Ok(Assembly {
            name: name.to_owned(),
            sources: sources(&tree::path("dotnet/src").join(name))?,
            uses: uses.iter().map(|path| (*path).clone()).collect(),
            output: at("lib").join(name).join(framework),
            is_program: false,
            is_documented: true,
            for_standard: framework.starts_with("netstandard"),
        })
    };
    let ottla = at("lib/Ottla/net8.0/Ottla.dll");
    let testing = at("lib/Ottla.Testing/net8.0/Ottla.Testing.dll");
    let mut all = vec![
        library("Ottla", "netstandard2.1", &[])?,
        library("Ottla", "net8.0", &[])?,
        library("Ottla.Testing", "net8.0", &[&ottla])?,
    ];
    let program =
        |name: &str, sources: Vec<PathBuf>, uses: &[&PathBuf], output: PathBuf, is_program| Assembly {
            name: name.to_owned(),
            sources,
            uses: uses.iter().map(|path| (*path).clone()).collect(),
            output,
            is_program,
            is_documented: false,
            for_standard: false,
        };
    let nunit = own.nunit();
    let tests = sources(&tree::path("dotnet/tests/Ottla.Tests"))?;
    all.push(program("Ottla.Tests", tests, &[&ottla, &testing, &nunit], at("tests"), false));
    let runner = vec![tree::path("xtask/src/dotnet/TestRunner.cs")];
    all.push(program("TestRunner", runner, &[&nunit], at("tests"), true));
    for (name, below) in PROGRAMS {
        let sources = sources(&tree::path(below))?;
        all.push(program(name, sources, &[&ottla], at("programs").join(name), true));
    }
    let mut files = Vec::new();
    for (number, assembly) in all.iter().enumerate() {
        files.push(compilation(own, assembly, number)?);
    }
    let snippet = Assembly {
        // Below the directory that the compiler is called in.
        output: PathBuf::new(),
        ..program("main", vec![PathBuf::from("main.cs")], &[&ottla], PathBuf::new(), true)
    };
    let of_snippet = compilation(own, &snippet, all.len())?;
    own.compile(&files)?;
    fs::create_dir_all(at(SNIPPETS).join("program"))?;
    furnish(&Assembly { output: at(SNIPPETS).join("program"), ..snippet })?;
    snippets(
        &own.launch(),
        &format!("{} \"{}\" \"{}\"", own.launch(), own.compiler().display(), of_snippet.display()),
    )?;
    all.iter().filter(|assembly| !assembly.output.starts_with(at("lib"))).try_for_each(furnish)?;
    PROGRAMS.into_iter().try_for_each(|(name, _)| launcher(&at("programs").join(name), &own.launch(), name))
}

/// Writes the compiler's arguments for an assembly, one a line.
fn compilation(own: &Own, assembly: &Assembly, number: usize) -> anyhow::Result<PathBuf> {
    let Assembly { name, output, .. } = assembly;
    let kind = if assembly.is_program { "exe" } else { "library" };
    let mut lines: Vec<String> = vec![
        format!("-target:{kind}"),
        format!("-out:{}", output.join(format!("{name}.dll")).display()),
        "-nostdlib".into(),
        "-optimize".into(),
        "-deterministic".into(),
        "-unsafe".into(),
        "-langversion:12".into(),
        "-nullable:enable".into(),
        "-warnaserror".into(),
        // Assemblies of two frameworks, of which one is the other's newer form.
        "-nowarn:CS1701,CS1702".into(),
    ];
    if assembly.is_documented {
        lines.push(format!("-doc:{}", output.join(format!("{name}.xml")).display()));
    }
    let of_system = if assembly.for_standard {
        own.standard_assemblies()?
    } else {
        lines.push(format!("-define:{SYMBOLS}"));
        own.runtime_assemblies()?
    };
    lines.extend(of_system.iter().chain(&assembly.uses).map(|path| format!("-reference:{}", path.display())));
    lines.extend(assembly.sources.iter().map(|path| path.display().to_string()));
    let directory = at("compilations");
    fs::create_dir_all(&directory)?;
    // What the SDK writes by itself.
    let described = directory.join(format!("{number}.cs"));
    let framework =
        if assembly.for_standard { ".NETStandard,Version=v2.1" } else { ".NETCoreApp,Version=v8.0" };
    let version = env!("CARGO_PKG_VERSION");
    fs::write(
        &described,
        format!(
            "[assembly: System.Reflection.AssemblyVersion(\"{version}.0\")]\n\
             [assembly: System.Reflection.AssemblyInformationalVersion(\"{version}\")]\n\
             [assembly: System.Runtime.Versioning.TargetFramework(\"{framework}\")]\n"
        ),
    )?;
    lines.push(described.display().to_string());
    let file = directory.join(format!("{number}.rsp"));
    fs::write(&file, lines.join("\n") + "\n")?;
    Ok(file)
}

/// Puts beside a program what it needs to be run.
fn furnish(assembly: &Assembly) -> anyhow::Result<()> {
    let Assembly { name, output, uses, .. } = assembly;
    if assembly.is_program {
        fs::write(output.join(format!("{name}.runtimeconfig.json")), RUNTIME_CONFIG)?;
    }
    for used in uses {
        fs::copy(used, output.join(used.file_name().context("an assembly has a name")?))?;
    }
    copy_all(&at(LIBRARIES), &output.join("runtimes"))?;
    if assembly.name == "Ottla.Tests" {
        copy_all(&at(BROKERS), &output.join("runtimes"))?;
    }
    Ok(())
}

/// The command `compile`, for the tests of the documentation: it makes a program of the `main.cs` in the directory that it is called in,
/// which is run by `run` there.
fn snippets(launch: &str, compile: &str) -> anyhow::Result<()> {
    launcher(&at(SNIPPETS).join("program"), launch, "main")?;
    script(&at(SNIPPETS).join("compile"), &format!("cp -R \"$(dirname \"$0\")/program/.\" . && {compile}"))
}

/// Has a program run by its script `run`, whoever asks for it.
fn launcher(directory: &Path, launch: &str, name: &str) -> anyhow::Result<()> {
    script(&directory.join("run"), &format!("{launch} \"$(dirname \"$0\")/{name}.dll\" \"$@\""))
}

fn script(at: &Path, line: &str) -> anyhow::Result<()> {
    fs::write(at, format!("#!/bin/sh\n{line}\n"))?;
    let mut chmod = Command::new("chmod");
    chmod.arg("+x").arg(at);
    done(chmod, "making a script a program")
}

/// The sources below a directory, without what builds have left.
fn sources(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let is_built = ["bin", "obj"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_built {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "cs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let to = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() {
            copy_all(&path, &to)?;
        } else {
            fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

/// `20 passed, 1 failed, 0 skipped`, or what `dotnet test` says: `Passed: 20`, `Failed: 1`, `Skipped: 0`.
fn counted(text: &str) -> Option<Tally> {
    let number = |text: &str| text.trim().trim_end_matches([',', '!']).parse::<usize>().ok();
    let ours = text.lines().rev().find_map(|line| {
        let mut parts = line.split(", ").map(|part| part.split_once(' '));
        let mut next =
            |word: &str| parts.next().flatten().filter(|(_, of)| *of == word).and_then(|(n, _)| number(n));
        Some(Tally { passed: next("passed")?, failed: next("failed")?, skipped: next("skipped")? })
    });
    ours.or_else(|| {
        let after = |word: &str| {
            let (_, rest) = text.rsplit_once(word)?;
            number(rest.trim_start().split([',', ' ', '\n']).next()?)
        };
        Some(Tally { passed: after("Passed:")?, failed: after("Failed:")?, skipped: after("Skipped:")? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_runners_say_is_counted() {
        let counts = |text| counted(text).map(|tally| (tally.passed, tally.failed, tally.skipped));
        assert_eq!(counts("Passed   a (1 ms)\n20 passed, 1 failed, 2 skipped\n"), Some((20, 1, 2)));
        let sdk = "Passed!  - Failed:     1, Passed:    20, Skipped:     2, Total:    23, Duration: 3 s - Ottla.Tests.dll (net8.0)";
        assert_eq!(counts(sdk), Some((20, 1, 2)));
        assert_eq!(counts("it broke"), None);
    }
}
