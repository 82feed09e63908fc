//! Every snippet of the documentation does what it says: a broker of its own for each, with a few orders in it.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use ottla::{Producer, Record, config::ProducerConfig};
use ottla_guide::{
    blocks::{self, Block, Fate},
    languages::{self, Snippet},
    run::Program,
};
use ottla_interop::{Missing, broker::TestBroker, kafka::QUICK_GROUPS, path};
use rustix::process::Signal;

const RUST: &str = env!("CARGO_BIN_EXE_snippets-rust");

/// What every snippet finds in the topic `orders`, by key and value.
const ORDERS: [(&str, &str); 3] = [("42", "two apples"), ("43", "three pears"), ("44", "a plum")];

fn main() -> ExitCode {
    match trials() {
        Ok(trials) => libtest_mimic::run(&Arguments::from_args(), trials).exit_code(),
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "there is no test yet that could tell")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn trials() -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for page in blocks::pages(&path(""))? {
        let text = std::fs::read_to_string(path(&page))?;
        let found = blocks::blocks(&text).map_err(|what| anyhow::anyhow!("{} {what}", page.display()))?;
        for block in found {
            let place = format!("{}:{}", page.display(), block.line);
            if let Fate::NotRun(reason) = &block.fate {
                #[allow(clippy::print_stdout, reason = "what is not run is said")]
                {
                    println!("not run: {place} ({}): {reason}", block.language);
                }
                continue;
            }
            let name = format!("{place} {}", block.language);
            trials.push(Trial::test(name.clone(), move || trial(&name, &place, &block)));
        }
    }
    Ok(trials)
}

fn trial(name: &str, place: &str, block: &Block) -> Result<(), Failed> {
    match attempt(place, block) {
        Ok(()) => Ok(()),
        Err(error) if error.downcast_ref::<Missing>().is_some() && ottla_interop::skip(name, &error) => {
            Ok(())
        }
        Err(error) => Err(format!("{error:#}").into()),
    }
}

fn attempt(place: &str, block: &Block) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let broker =
        TestBroker::start(&[&QUICK_GROUPS[..], &[("group.initial.rebalance.delay.ms", "0")]].concat());
    let address = broker.bootstrap();
    let snippet =
        Snippet { place, block, address: &address, directory: directory.path(), rust: Path::new(RUST) };
    let command = languages::prepare(&snippet)?;
    fill(&address)?;
    let mut program = Program::start(command)?;
    let Fate::Run { prints, until } = &block.fate else { return Ok(()) };
    if let Some(until) = until {
        program.wait_for(until)?;
        for text in prints {
            program.wait_for(text)?;
        }
        // As a terminal would. How it takes that is its own affair.
        program.signal(Signal::INT)?;
        program.end().context("after Ctrl-C")?;
        return Ok(());
    }
    let ended = program.end()?;
    ensure!(ended.status.success(), "{}: {:?} {}", ended.status, ended.printed, ended.complaints);
    ensure!(ended.complaints.is_empty(), "it complains: {}", ended.complaints);
    for text in prints {
        let is_there = ended.printed.iter().any(|line| line.contains(text));
        ensure!(is_there, "`{text}` was not printed, but {:?} {}", ended.printed, ended.complaints);
    }
    Ok(())
}

fn fill(address: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let producer = Producer::new(ProducerConfig {
            bootstrap_servers: vec![address.to_owned()],
            ..Default::default()
        })?;
        for (key, value) in ORDERS {
            producer.send(Record::to("orders").key(key).value(value)).await?.await?;
        }
        Ok(())
    })
}
