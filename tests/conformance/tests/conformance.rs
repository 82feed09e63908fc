//! Every scenario, by every language, against every broker.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Context;
use libtest_mimic::{Arguments, Failed, Trial};
use ottla_conformance::{
    brokers::Make,
    languages::Language,
    run::run,
    runner::Runner,
    scenario::{self, Scenario},
};
use ottla_interop::Missing;

const RUST_RUNNER: &str = env!("CARGO_BIN_EXE_conformance-rust");

fn main() -> ExitCode {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    match trials(here) {
        Ok(trials) => {
            let mut arguments = Arguments::from_args();
            // As the other tests have it.
            let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
            arguments.test_threads = arguments.test_threads.or(threads);
            libtest_mimic::run(&arguments, trials).exit_code()
        }
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "there is no test yet that could tell")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn trials(here: &Path) -> anyhow::Result<Vec<Trial>> {
    let scenarios: Vec<Arc<Scenario>> =
        scenario::all(&here.join("scenarios"))?.into_iter().map(Arc::new).collect();
    let exclusions = Exclusions::read(&here.join("exclusions.toml"))?;
    let mut trials = Vec::new();
    for language in Language::ALL {
        for make in Make::ALL {
            for scenario in &scenarios {
                let name = format!("{}/{}/{}", language.name(), make.name(), scenario.name);
                let (excluded, scenario) = (exclusions.reason(&name), Arc::clone(scenario));
                trials.push(Trial::test(name, move || trial(language, make, &scenario, excluded.as_deref())));
            }
        }
    }
    exclusions.check(&trials)?;
    Ok(trials)
}

fn trial(language: Language, make: Make, scenario: &Scenario, excluded: Option<&str>) -> Result<(), Failed> {
    match (attempt(language, make, scenario), excluded) {
        (Ok(()), Some(_)) => Err("it passes: take it out of `exclusions.toml`".into()),
        (Ok(()), None) => Ok(()),
        (Err(error), _) if is_missing(&error) => skip(language, make, scenario, &error),
        (Err(_), Some(_)) => Ok(()),
        (Err(error), None) => Err(format!("{}: {error:#}", scenario.about).into()),
    }
}

fn attempt(language: Language, make: Make, scenario: &Scenario) -> anyhow::Result<()> {
    let command = language.runner(RUST_RUNNER)?;
    let mut target = if scenario.touches_the_broker() { make.own()? } else { make.shared()? };
    run(scenario, Runner::start(command)?, target.as_mut())
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Missing>().is_some()
}

/// As [`ottla_interop::or_skip`], under the trial's name.
fn skip(language: Language, make: Make, scenario: &Scenario, error: &anyhow::Error) -> Result<(), Failed> {
    let name = format!("{}/{}/{}", language.name(), make.name(), scenario.name);
    match ottla_interop::skip(&name, error) {
        true => Ok(()),
        false => Err(format!("{error:#}").into()),
    }
}

/// `exclusions.toml`.
struct Exclusions(toml::Table);

impl Exclusions {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Self(text.parse()?))
    }

    fn reason(&self, name: &str) -> Option<String> {
        let (_, reason) = self.0.iter().find(|(pattern, _)| matches(pattern, name))?;
        reason.as_str().map(str::to_owned)
    }

    /// Each of them is about something that there is.
    fn check(&self, trials: &[Trial]) -> anyhow::Result<()> {
        for pattern in self.0.keys() {
            let is_known = trials.iter().any(|trial| matches(pattern, trial.name()));
            anyhow::ensure!(is_known, "`exclusions.toml` excludes `{pattern}`, which there is not");
        }
        Ok(())
    }
}

/// Part by part, `*` for any.
fn matches(pattern: &str, name: &str) -> bool {
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, name) = (parts(pattern), parts(name));
    pattern.len() == name.len() && pattern.iter().zip(&name).all(|(p, n)| p == "*" || p == n)
}
