//! Every language on one topic: each sends orders, and reads all orders in a group of its own.
//!
//! The programs are `examples/one_bus/<language>`; its README says what they print.

use std::{
    io::{BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{c, dotnet, java, npm, package, scripted, tree};

const TOPIC: &str = "orders";
/// How often the picture is drawn anew.
const FRAME: Duration = Duration::from_millis(100);
/// How often a line is printed where there is no terminal to draw on.
const LINE: Duration = Duration::from_secs(1);
/// A shop that says nothing for this long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A language, and how its shop is made ready.
struct Language {
    name: &'static str,
    /// What it needs, if that is not there.
    missing: fn() -> Option<&'static str>,
    build: fn() -> anyhow::Result<Command>,
}

const LANGUAGES: &[Language] = &[
    Language { name: "rust", missing: || None, build: rust },
    Language { name: "c", missing: c::missing, build: c_program },
    Language { name: "python", missing: package::missing_python, build: python },
    Language { name: "node", missing: npm::missing, build: node },
    Language { name: "java", missing: missing_java, build: java },
    Language { name: "dotnet", missing: dotnet::missing, build: dotnet },
    Language { name: "ruby", missing: || scripted::RUBY.missing(), build: || scripted::RUBY.shop() },
    Language { name: "php", missing: || scripted::PHP.missing(), build: || scripted::PHP.shop() },
];

/// A shop that runs, and what it has said.
struct Shop {
    language: &'static str,
    child: Child,
    sent: Total,
    read: Total,
}

/// How many orders, and what they come to once that is known.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
struct Total {
    count: u64,
    checksum: Option<u64>,
}

/// What a shop says: its place in the list, and a line, or `None` at its end.
type Said = (usize, Option<String>);

/// Runs the shops of all languages whose tools are here against `broker`; `orders` is what each sends.
pub fn run(
    broker: &str,
    orders: u64,
    create_topic: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut programs = Vec::new();
    for language in LANGUAGES {
        if let Some(missing) = (language.missing)() {
            println!("SKIPPED    {}: there is no {missing}", language.name);
            continue;
        }
        println!("building   {}", language.name);
        programs.push((language.name, (language.build)()?));
    }
    create_topic(TOPIC)?;
    let in_all = orders * programs.len() as u64;
    println!(
        "\n{} languages on the topic `{TOPIC}`; each sends {orders} orders, and reads all {in_all}\n",
        programs.len()
    );

    let began = Instant::now();
    let (say, hear) = channel();
    let mut shops = Vec::new();
    for (at, (language, mut program)) in programs.into_iter().enumerate() {
        program.args([broker, TOPIC, language, &orders.to_string(), &in_all.to_string()]);
        shops.push(Shop::open(language, program, at, say.clone())?);
    }
    drop(say);
    let result = watch(&mut shops, &hear, in_all);
    for shop in &mut shops {
        let _ = shop.child.kill();
        let _ = shop.child.wait();
    }
    result?;
    audit(&shops, orders)?;
    println!(
        "\naudited    {in_all} orders, each read once by each of {} groups, in {:.2} s: counts and checksums agree",
        shops.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

impl Shop {
    fn open(
        language: &'static str,
        mut program: Command,
        at: usize,
        say: Sender<Said>,
    ) -> anyhow::Result<Self> {
        let mut child =
            program.stdout(Stdio::piped()).spawn().with_context(|| format!("running {program:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if say.send((at, Some(line))).is_err() {
                    return;
                }
            }
            let _ = say.send((at, None));
        });
        Ok(Self { language, child, sent: Total::default(), read: Total::default() })
    }

    /// Takes in a line: `sent 10`, `read 10`, `total sent 10 12345`, `total read 10 12345`.
    fn said(&mut self, line: &str) -> anyhow::Result<()> {
        let mut words = line.trim_start_matches("total ").split(' ');
        let total = match words.next() {
            Some("sent") => &mut self.sent,
            Some("read") => &mut self.read,
            _ => bail!("the {} shop says `{line}`", self.language),
        };
        let mut number = || words.next().map(str::parse::<u64>).transpose();
        *total = Total { count: number()?.context("a count")?, checksum: number()? };
        Ok(())
    }
}

/// Draws what the shops say until each has ended.
fn watch(shops: &mut [Shop], hear: &Receiver<Said>, in_all: u64) -> anyhow::Result<()> {
    let live = std::io::stdout().is_terminal();
    let (mut drawn, mut heard) = (Instant::now(), Instant::now());
    let mut open = shops.len();
    if live {
        draw(shops, in_all, false)?;
    }
    while open > 0 {
        match hear.recv_timeout(FRAME) {
            Ok((at, line)) => {
                heard = Instant::now();
                match line {
                    Some(line) => shops[at].said(&line)?,
                    None => {
                        let status = shops[at].child.wait()?;
                        ensure!(status.success(), "the {} shop failed: {status}", shops[at].language);
                        open -= 1;
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                ensure!(heard.elapsed() < SILENCE_MAX, "no shop has said anything for {SILENCE_MAX:?}");
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if drawn.elapsed() >= if live { FRAME } else { LINE } {
            draw(shops, in_all, live)?;
            drawn = Instant::now();
        }
    }
    draw(shops, in_all, live)
}

/// A line of each shop; over what was drawn before, if `again`.
fn draw(shops: &[Shop], in_all: u64, again: bool) -> anyhow::Result<()> {
    const WIDTH: u64 = 40;
    let mut out = std::io::stdout().lock();
    if again {
        write!(out, "\x1b[{}A", shops.len())?;
    }
    for shop in shops {
        let filled = (shop.read.count * WIDTH / in_all.max(1)) as usize;
        let bar: String = (0..WIDTH as usize).map(|at| if at < filled { '█' } else { '·' }).collect();
        writeln!(
            out,
            "  {:8} sent {:>9}   read {:>9}  {bar}",
            shop.language, shop.sent.count, shop.read.count
        )?;
    }
    out.flush()?;
    Ok(())
}

/// Each sent what it was to send, and each read what all sent.
fn audit(shops: &[Shop], orders: u64) -> anyhow::Result<()> {
    let all = Total {
        count: shops.iter().map(|shop| shop.sent.count).sum(),
        checksum: shops.iter().map(|shop| shop.sent.checksum).sum(),
    };
    println!();
    for shop in shops {
        ensure!(
            shop.sent.count == orders,
            "the {} shop sent {} orders, not {orders}",
            shop.language,
            shop.sent.count
        );
        let checksum = shop.read.checksum.unwrap_or_default();
        println!("  {:8} read {} orders of checksum {checksum:016x}", shop.language, shop.read.count);
        ensure!(
            shop.read == all,
            "the {} shop has not read what all sent: {} orders",
            shop.language,
            all.count
        );
    }
    Ok(())
}

fn rust() -> anyhow::Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--profile", "ci", "--package", "ottla", "--example", "one_bus"]);
    ensure!(cargo.current_dir(tree::path("")).status()?.success(), "the example does not build");
    Ok(Command::new(c::built("ci").join("examples/one_bus")))
}

fn c_program() -> anyhow::Result<Command> {
    let directory = demo_directory()?;
    let program = directory.join("one_bus_c");
    c::build_program("ci", &example("c/main.c"), &directory.join("libottla"), &program)?;
    Ok(Command::new(program))
}

fn python() -> anyhow::Result<Command> {
    package::python("ci", true)?;
    let mut command = Command::new(package::installed_python());
    command.arg(example("python/main.py"));
    Ok(command)
}

fn node() -> anyhow::Result<Command> {
    package::node("ci", true)?;
    let program = npm::compile_example(&example("node/main.ts"), "one_bus")?;
    let mut command = Command::new("node");
    command.arg(program);
    Ok(command)
}

fn missing_java() -> Option<&'static str> {
    (!java::is_ready()).then_some("JDK 17 with Maven (`JAVA_HOME_17`, `mvn`)")
}

fn java() -> anyhow::Result<Command> {
    java::package("ci")?;
    java::run_source(&example("java/Main.java"))
}

fn dotnet() -> anyhow::Result<Command> {
    dotnet::package("ci")?;
    Ok(dotnet::program("one_bus"))
}

fn example(file: &str) -> PathBuf {
    tree::path("examples/one_bus").join(file)
}

fn demo_directory() -> anyhow::Result<PathBuf> {
    let directory: &Path = &tree::path("target/demo");
    std::fs::create_dir_all(directory)?;
    Ok(directory.to_owned())
}
