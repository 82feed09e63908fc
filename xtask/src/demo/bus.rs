//! The order stream: each service is another language. What of it is built here is run by `examples/one_bus/stage`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::DevBroker;
use crate::{
    c, dotnet, java, npm, package,
    platform::{Build, TEST_PROFILE},
    scripted, tree,
};

/// For groups whose members have their partitions within a second, not within several.
const QUICK_GROUPS: &[&str] = &[
    "group.consumer.min.heartbeat.interval.ms=200",
    "group.consumer.heartbeat.interval.ms=200",
    "group.consumer.assignment.interval.ms=0",
];

/// A service, and how it is made ready.
struct Part {
    service: &'static str,
    language: &'static str,
    /// What its language needs, if that is not there.
    missing: fn() -> Option<&'static str>,
    /// Builds its package, unless told that it is built, and gives the service.
    build: fn(bool) -> anyhow::Result<Command>,
}

const PARTS: &[Part] = &[
    Part { service: "sensor", language: "C", missing: c::missing, build: c_program },
    Part { service: "gateway", language: "Node", missing: npm::missing, build: node },
    Part { service: "pricing", language: "Python", missing: package::missing_python, build: python },
    Part { service: "billing", language: "Java", missing: missing_java, build: java },
    Part { service: "shipping", language: ".NET", missing: dotnet::missing, build: dotnet },
    Part { service: "stock", language: "Rust", missing: || None, build: rust },
    Part {
        service: "revenue",
        language: "Ruby",
        missing: || scripted::RUBY.missing(),
        build: |_| scripted::RUBY.service(),
    },
    Part {
        service: "delivery",
        language: "PHP",
        missing: || scripted::PHP.missing(),
        build: |_| scripted::PHP.service(),
    },
];

/// How much, and whether all must be there.
pub struct Wanted<'a> {
    /// How many orders.
    pub orders: u64,
    /// How many of them in a second.
    pub per_second: u64,
    /// Where a picture of it is put.
    pub picture: Option<&'a Path>,
    /// Whether a language that is missing is a failure.
    pub require_all: bool,
    /// Whether the packages are taken as they are in `target/packages`.
    pub as_built: bool,
}

/// Builds the services of all languages whose tools are here, and runs them on a broker of their own.
pub fn run(ottla: &Path, wanted: &Wanted<'_>) -> anyhow::Result<()> {
    let mut cast = serde_json::Map::new();
    for part in PARTS {
        let missing = (part.missing)();
        let program = match missing {
            Some(missing) if wanted.require_all => bail!("{}: there is no {missing}", part.language),
            Some(missing) => {
                println!("SKIPPED    {}, which is `{}`: there is no {missing}", part.language, part.service);
                Value::Null
            }
            None => {
                println!("building   {}, which is `{}`", part.language, part.service);
                program(&(part.build)(wanted.as_built)?)
            }
        };
        cast.insert(part.service.to_owned(), json!({ "language": part.language, "program": program }));
    }
    let stage = stage_program("ottla-one-bus")?;
    let broker = DevBroker::start(ottla, QUICK_GROUPS)?;
    let plan = json!({
        "bootstrap": broker.address,
        "orders": wanted.orders,
        "per_second": wanted.per_second,
        "picture": wanted.picture,
        "cast": cast,
    });
    let file = directory()?.join("plan.json");
    std::fs::write(&file, serde_json::to_string_pretty(&plan)?)?;
    println!();
    let status = Command::new(stage).arg("run").arg(&file).status().context("running the stage")?;
    ensure!(status.success(), "the order stream failed");
    Ok(())
}

/// A command as the stage reads it.
fn program(command: &Command) -> Value {
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let env = command.get_envs().filter_map(|(name, value)| Some((text(name), Value::from(text(value?)))));
    json!({
        "file": text(command.get_program()),
        "args": command.get_args().map(text).collect::<Vec<_>>(),
        "env": env.collect::<serde_json::Map<_, _>>(),
    })
}

fn rust(_: bool) -> anyhow::Result<Command> {
    Ok(Command::new(stage_program("one-bus-stock")?))
}

fn c_program(_: bool) -> anyhow::Result<Command> {
    let program = directory()?.join("one_bus_c");
    c::build_program(TEST_PROFILE, &example("c/main.c"), &directory()?.join("libottla"), &program)?;
    Ok(Command::new(program))
}

fn python(is_built: bool) -> anyhow::Result<Command> {
    if !is_built {
        package::python(TEST_PROFILE, true)?;
    }
    let mut command = Command::new(package::installed_python());
    command.arg(example("python/main.py"));
    Ok(command)
}

fn node(is_built: bool) -> anyhow::Result<Command> {
    if !is_built {
        package::node(TEST_PROFILE, true)?;
    }
    let program = npm::compile_example(&example("node/main.ts"), "one_bus")?;
    let mut command = Command::new("node");
    command.arg(program);
    Ok(command)
}

fn missing_java() -> Option<&'static str> {
    (!java::is_ready()).then_some("JDK 17 with Maven (`JAVA_HOME_17`, `mvn`)")
}

fn java(is_built: bool) -> anyhow::Result<Command> {
    if !is_built {
        java::package(TEST_PROFILE)?;
    }
    java::run_source(&example("java/Main.java"))
}

fn dotnet(is_built: bool) -> anyhow::Result<Command> {
    if !is_built {
        dotnet::package(TEST_PROFILE)?;
    }
    Ok(dotnet::program("one_bus"))
}

/// Builds `examples/one_bus/stage`, and answers where one of its programs is.
fn stage_program(name: &str) -> anyhow::Result<PathBuf> {
    let build = Build::here(TEST_PROFILE)?;
    build.cargo(&["ottla-one-bus"])?;
    Ok(build.built().join(build.platform.program(name)))
}

fn example(file: &str) -> PathBuf {
    tree::path("examples/one_bus").join(file)
}

fn directory() -> anyhow::Result<PathBuf> {
    let directory = tree::path("target/demo");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
