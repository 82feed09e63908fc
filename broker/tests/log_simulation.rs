//! A log on a simulated disk, against a plain model, through crashes: one seed, one history.
//!
//! `OTTLA_SEEDS` says how many seeds are run, `OTTLA_FIRST_SEED` with which they begin. A history that goes wrong
//! says its seed and the command that runs it again, step by step the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "how much was run is the result")]

#[path = "simulation/history.rs"]
mod history;
#[path = "simulation/model.rs"]
mod model;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use history::{History, Outcome, Plan};

/// Seeds of a run that says nothing else.
const SEEDS: u64 = 1000;
/// Crash points of a run that says nothing else.
const CRASH_POINTS: u64 = 2000;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("`{variable}` is `{text}`, which is no number")),
        Err(_) => default,
    }
}

/// Runs a history. What is wrong comes with what replays it.
fn run(seed: u64, plan: Plan, test: &str) -> Result<Outcome, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| History::new(seed, plan).run()));
    let why = match outcome {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(why)) => why,
        Err(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => format!("panicked: {text}"),
            (None, text) => format!("panicked: {}", text.unwrap_or(&"?")),
        },
    };
    let point = plan.cut_at.map_or(String::new(), |at| format!(" OTTLA_FIRST_CRASH_POINT={at}"));
    Err(format!(
        "seed {seed}: {why}\nreplay: OTTLA_SEEDS=1 OTTLA_FIRST_SEED={seed}{point} cargo test -p ottla-broker --test \
         log_simulation {test}"
    ))
}

/// Calls `each` with the numbers from `first` on, on all cores, until one fails.
fn on_all_cores(
    first: u64,
    count: u64,
    each: impl Fn(u64) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= first + count {
                    return Ok(());
                }
                each(number).inspect_err(|_| next.store(first + count, Ordering::Relaxed))?;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap())
    })
}

#[test]
fn every_history_of_crashes_agrees_with_the_model() {
    let (first, seeds) = (number("OTTLA_FIRST_SEED", 0), number("OTTLA_SEEDS", SEEDS));
    let sum = Mutex::new(Outcome::default());
    let done = on_all_cores(first, seeds, |seed| {
        let outcome = run(seed, Plan::default(), "every_history")?;
        sum.lock().unwrap().add(&outcome);
        Ok(())
    });
    if let Err(why) = done {
        panic!("{why}");
    }
    let sum = sum.into_inner().unwrap();
    println!("{seeds} seeds: {sum}");
    // Whoever runs one seed wants to see that one; many must have met everything.
    assert!(seeds < SEEDS || sum.least() > seeds / 10, "{sum}");
}

#[test]
fn two_runs_of_a_seed_are_the_same_to_the_last_operation() {
    let first = number("OTTLA_FIRST_SEED", 0);
    let run = |seed| run(seed, Plan::default(), "two_runs").unwrap();
    for seed in first..first + 20 {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one, other, "seed {seed}");
    }
    assert_ne!(run(first).trace_hash, run(first + 1).trace_hash);
}

/// With `flush.messages=1`, and the power cut at every single change of the disk that a history makes.
#[test]
fn group_commit_loses_nothing_acknowledged_wherever_the_power_is_cut() {
    let wanted = number("OTTLA_CRASH_POINTS", CRASH_POINTS);
    let only = std::env::var("OTTLA_FIRST_CRASH_POINT").is_ok();
    let first_seed = number("OTTLA_FIRST_SEED", 0);
    let (mut seed, mut points) = (first_seed, 0);
    while points < wanted {
        let plan = Plan { group_commit: true, cut_at: None, ..Plan::default() };
        let changes = run(seed, plan, "group_commit").unwrap_or_else(|why| panic!("{why}")).changes;
        let (first, count) =
            if only { (number("OTTLA_FIRST_CRASH_POINT", 0), 1) } else { (0, changes.min(wanted - points)) };
        let done = on_all_cores(first, count, |at| {
            run(seed, Plan { cut_at: Some(at), ..plan }, "group_commit").map(|_| ())
        });
        if let Err(why) = done {
            panic!("{why}");
        }
        points += count;
        seed += 1;
        if only {
            break;
        }
    }
    println!("{points} crash points, in the histories of {} seeds", seed - first_seed);
}
