//! The lane of `cargo xtask test` for the C interface: it is installed, and programs in C and C++ are built against what
//! was installed and run against a real broker: plainly, under the sanitizers, under valgrind.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, ensure};

use super::{
    archive::{pack, unpack},
    build,
};
use crate::{
    demo::DevBroker,
    platform::{Build, TEST_PROFILE},
    test::{Run, Tally, install as install_packages},
    tree,
};

/// What every program must compile under without a word.
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];
/// Opened and closed clients, where that is slow.
const CYCLES_SLOWLY: &str = "20";
/// Records that go through a client, where that is slow.
const RECORDS_SLOWLY: &str = "10000";
/// What valgrind exits with when it found something.
const VALGRIND_FOUND: u8 = 99;
/// Most that is told of what a program said.
const SAID_CHARS_MAX: usize = 8_000;
/// The compiler's switches for the sanitizers.
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// How a test program is run.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Sanitized,
    Valgrind,
}

struct Lane {
    directory: PathBuf,
    prefix: PathBuf,
    broker: DevBroker,
    tally: Tally,
}

pub fn lane(run: &Run) -> anyhow::Result<Tally> {
    install_packages(&[
        ("cc", "gcc"),
        ("c++", "g++"),
        ("pkg-config", "pkg-config"),
        ("cmake", "cmake"),
        ("valgrind", "valgrind"),
    ]);
    if let Some(missing) = super::missing() {
        return Ok(run.missing(missing));
    }
    let library = build(TEST_PROFILE, &["ottla-cli"])?;
    let directory = tree::path("target/c");
    let prefix = directory.join("prefix");
    unpack(&pack(&library)?, &prefix)?;
    let program = Build::here(TEST_PROFILE)?.built().join("ottla");
    let broker = DevBroker::start(&program, &["auto.create.topics.enable=false"])?;
    let for_examples = DevBroker::start(&program, &[])?;
    let mut lane = Lane { directory, prefix, broker, tally: Tally::default() };

    lane.step("every function of the header goes through the border", every_function_is_guarded());
    lane.step("the symbols are those of bindings/c/abi/ottla.abi", symbols(&library.shared));
    lane.step("the header is C99", lane.header("cc", &["-std=c99", "-x", "c"]));
    let has_cpp = works("c++");
    if has_cpp {
        lane.step("the header is C++17", lane.header("c++", &["-std=c++17", "-x", "c++"]));
    } else {
        lane.skip(run, "a C++ compiler: `c++`");
    }
    let mut forms = vec![Form::Plain];
    if lane.sanitizers_work() {
        forms.push(Form::Sanitized);
    } else {
        lane.skip(run, "the compiler's sanitizers (libasan, libubsan)");
    }
    if works("valgrind") {
        forms.push(Form::Valgrind);
    } else {
        lane.skip(run, "valgrind");
    }
    for name in [
        "records.c",
        "groups.c",
        "mistakes.c",
        "lives.c",
        "admin.c",
        "tokens.c",
        "endurance.c",
        "handles.cpp",
    ] {
        for &form in forms.iter().filter(|_| has_cpp || name.ends_with(".c")) {
            lane.program(name, form)?;
        }
    }
    let runner = lane.runner();
    lane.step("the runner of the scenarios builds", runner);
    lane.examples(has_cpp, &for_examples.address)?;
    if works("cmake") && has_cpp {
        let outcome = lane.cmake();
        lane.step("a CMake project finds both libraries", outcome);
    } else {
        lane.skip(run, "cmake");
    }
    Ok(lane.tally)
}

impl Lane {
    /// Builds C's runner for `tests/conformance`, which finds it there.
    fn runner(&self) -> anyhow::Result<()> {
        let output = self.directory.join("conformance-runner");
        self.compile("cc", &["-std=c99"], &tree::path("tests/conformance/runners/runner.c"), &output)
    }

    /// One thing that holds or not.
    fn step(&mut self, what: &str, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => {
                println!("ok {what}");
                self.tally.passed += 1;
            }
            Err(error) => {
                println!("FAILED {what}: {error:#}");
                self.tally.failed += 1;
            }
        }
    }

    fn skip(&mut self, run: &Run, what: &str) {
        let missing = run.missing(what);
        self.tally.failed += missing.failed;
        self.tally.skipped += missing.skipped;
    }

    fn header(&self, compiler: &str, language: &[&str]) -> anyhow::Result<()> {
        let source = self.directory.join("header.h.in");
        fs::write(&source, "#include <ottla.h>\nint main(void) { return 0; }\n")?;
        let include = format!("-I{}", self.prefix.join("include").display());
        success(
            Command::new(compiler).args(language).args(STRICT).args(["-fsyntax-only", &include]).arg(source),
        )
    }

    fn sanitizers_work(&self) -> bool {
        let source = self.directory.join("sanitized.c");
        let built = self.directory.join("sanitized");
        fs::write(&source, "int main(void) { return 0; }\n").is_ok()
            && success(Command::new("cc").args(SANITIZERS).arg(&source).arg("-o").arg(&built)).is_ok()
            && success(&mut Command::new(&built)).is_ok()
    }

    /// Builds a test program against what was installed, as pkg-config tells it where there is one.
    fn compile(&self, compiler: &str, switches: &[&str], source: &Path, output: &Path) -> anyhow::Result<()> {
        let lib = self.prefix.join("lib");
        let told = Command::new("pkg-config")
            .args(["--cflags", "--libs", "ottla"])
            .env("PKG_CONFIG_PATH", lib.join("pkgconfig"))
            .output();
        let flags: Vec<String> = match told {
            Ok(told) if told.status.success() => {
                String::from_utf8(told.stdout)?.split_whitespace().map(str::to_owned).collect()
            }
            _ => vec![
                format!("-I{}", self.prefix.join("include").display()),
                format!("-L{}", lib.display()),
                "-lottla".to_owned(),
            ],
        };
        success(
            Command::new(compiler)
                .args(switches)
                .args(STRICT)
                .args(["-g", "-O1", "-pthread", "-D_DEFAULT_SOURCE"])
                .arg(source)
                .args(flags)
                .arg(format!("-Wl,-rpath,{}", lib.display()))
                .arg("-o")
                .arg(output),
        )
    }

    /// Each `ok` that a test program prints is a test; what ends it otherwise is one that failed.
    fn program(&mut self, name: &str, form: Form) -> anyhow::Result<()> {
        let source = tree::path("bindings/c/tests").join(name);
        let stem = name.split('.').next().unwrap_or(name);
        let (output, switches) = match form {
            Form::Sanitized => (self.directory.join(format!("{stem}-sanitized")), &SANITIZERS[..]),
            Form::Plain | Form::Valgrind => (self.directory.join(stem), &[][..]),
        };
        let (compiler, standard) =
            if name.ends_with(".cpp") { ("c++", "-std=c++17") } else { ("cc", "-std=c99") };
        if form != Form::Valgrind {
            let switches = [&[standard, "-Wno-unused-function"], switches].concat();
            if let Err(error) = self.compile(compiler, &switches, &source, &output) {
                self.step(&format!("{name} compiles"), Err(error));
                return Ok(());
            }
        }
        let (mut command, label) = match form {
            Form::Plain => (Command::new(&output), ""),
            Form::Sanitized => (Command::new(&output), " under the sanitizers"),
            Form::Valgrind => {
                let mut valgrind = Command::new("valgrind");
                valgrind
                    .args([
                        "--quiet",
                        "--leak-check=full",
                        "--show-leak-kinds=definite",
                        "--errors-for-leak-kinds=definite",
                    ])
                    .arg(format!("--error-exitcode={VALGRIND_FOUND}"))
                    .arg(&output);
                (valgrind, " under valgrind")
            }
        };
        if form != Form::Plain {
            command.env("OTTLA_TEST_CYCLES", CYCLES_SLOWLY).env("OTTLA_ENDURANCE_RECORDS", RECORDS_SLOWLY);
        }
        // Topics of this run alone: the broker is the same for all.
        let run = format!("{}-{}", std::process::id(), form as u8);
        let told = command
            .env("OTTLA_TEST_BOOTSTRAP", &self.broker.address)
            .env("OTTLA_TEST_RUN", run)
            .output()
            .with_context(|| format!("running {}", output.display()))?;
        for line in String::from_utf8_lossy(&told.stdout).lines() {
            println!("{line}{label}");
            self.tally.passed += usize::from(line.starts_with("ok "));
        }
        if !told.status.success() {
            self.step(&format!("{name}{label}"), Err(anyhow::anyhow!("{}", said(&told))));
        }
        Ok(())
    }

    /// The examples, each built and run: they write to a topic and read it.
    fn examples(&mut self, has_cpp: bool, address: &str) -> anyhow::Result<()> {
        let languages: &[(&str, &str, &[&str])] =
            &[("c", "cc", &["-std=c99"]), ("cpp", "c++", &["-std=c++17"])];
        for (language, compiler, standard) in
            languages.iter().filter(|(language, ..)| has_cpp || *language == "c")
        {
            for (task, told) in
                [("first_producer", "written"), ("first_consumer", "hello"), ("group", "hello")]
            {
                let source =
                    tree::path("examples").join(task).join(language).join(format!("main.{language}"));
                let output = self.directory.join(format!("{task}-{language}"));
                let outcome = self.compile(compiler, standard, &source, &output).and_then(|()| {
                    let told_by = Command::new(&output)
                        .arg(address)
                        .arg(format!("greetings-{language}-{}", std::process::id()))
                        .output()?;
                    let text = String::from_utf8_lossy(&told_by.stdout);
                    ensure!(told_by.status.success() && text.contains(told), "{}", said(&told_by));
                    Ok(())
                });
                self.step(&format!("examples/{task}/{language}"), outcome);
            }
        }
        Ok(())
    }

    fn cmake(&self) -> anyhow::Result<()> {
        let (source, build) = (self.directory.join("cmake"), self.directory.join("cmake/build"));
        fs::create_dir_all(&source)?;
        fs::write(
            source.join("CMakeLists.txt"),
            "cmake_minimum_required(VERSION 3.13)\nproject(uses_ottla C)\nfind_package(Ottla 0.1 REQUIRED)\n\
             add_executable(shared main.c)\ntarget_link_libraries(shared Ottla::ottla)\n\
             add_executable(static main.c)\ntarget_link_libraries(static Ottla::static)\n",
        )?;
        fs::write(
            source.join("main.c"),
            "#include <ottla.h>\nint main(void) { return ottla_abi_version() == OTTLA_ABI_VERSION ? 0 : 1; }\n",
        )?;
        let prefix = format!("-DCMAKE_PREFIX_PATH={}", self.prefix.display());
        success(Command::new("cmake").arg("-S").arg(&source).arg("-B").arg(&build).arg(prefix))?;
        success(Command::new("cmake").arg("--build").arg(&build))?;
        success(&mut Command::new(build.join("shared")))?;
        success(&mut Command::new(build.join("static")))
    }
}

/// Each function that C can call begins with the macro that catches panics, or hands over to one that does; and its text says from
/// which threads it may be called.
fn every_function_is_guarded() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(tree::path("bindings/c/src"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        for (at, _) in text.match_indices("pub extern \"C\" fn ") {
            count += 1;
            let rest = &text[at..];
            let name = rest["pub extern \"C\" fn ".len()..].split('(').next().unwrap_or_default();
            let end = rest.find("\n}").unwrap_or(rest.len());
            let body = rest[..end].split_once("{\n").map_or("", |(_, body)| body).trim_start();
            let guarded = ["ffi!(", "call!(", "rows("].iter().any(|start| body.starts_with(start));
            if !guarded {
                faults.push(format!("`{name}` does not begin at the border"));
            }
            let doc = text[..at].rsplit("\n\n").next().unwrap_or_default();
            if !["[any]", "[one]"].iter().any(|mark| doc.contains(mark)) {
                faults.push(format!("`{name}` does not say from which threads it may be called"));
            }
            if !text[..at].ends_with("#[unsafe(no_mangle)]\n") {
                faults.push(format!("`{name}` is not exported"));
            }
        }
    }
    ensure!(count > 0 && faults.is_empty(), "{}", faults.join("; "));
    Ok(())
}

/// The library exports what the list has, and nothing else.
fn symbols(shared: &Path) -> anyhow::Result<()> {
    let listed = fs::read_to_string(tree::path("bindings/c/abi/ottla.abi"))?;
    let listed: BTreeSet<&str> =
        listed.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let output =
        Command::new("nm").args(["-D", "--defined-only"]).arg(shared).output().context("running nm")?;
    let text = String::from_utf8(output.stdout)?;
    let exported: BTreeSet<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let gone: Vec<_> = listed.difference(&exported).collect();
    let new: Vec<_> = exported.difference(&listed).collect();
    ensure!(gone.is_empty(), "gone, which breaks programs: {gone:?}");
    ensure!(new.is_empty(), "new, to be added to the list: {new:?}");
    let soname = Command::new("readelf").arg("-d").arg(shared).output();
    if let Ok(soname) = soname {
        let text = String::from_utf8_lossy(&soname.stdout).into_owned();
        ensure!(text.contains("[libottla.so.1]"), "the soname is not libottla.so.1");
    }
    Ok(())
}

fn works(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn success(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

/// What a program said, and how it ended.
fn said(output: &Output) -> String {
    // What goes wrong first says most; valgrind says much.
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(SAID_CHARS_MAX).collect::<String>();
    format!("{}: {} {}", output.status, text(&output.stdout), text(&output.stderr))
}
