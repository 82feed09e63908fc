//! Kafka's own cluster tests against the program: all pass, but for those in `tests/interop/cluster/not-passing.txt`.
//!
//! `OTTLA_CLUSTER_TESTS` says which: nothing for those that `classes.txt` marks `ci`, `all`, or names of classes or of
//! `class#method`s with spaces between. A test in the list that passes fails this one: so the list only shrinks. Only one
//! whose reason begins with `sometimes:` may pass or fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "says how each test ended, as it ends")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use ottla_interop::{
    cluster::{ClusterTests, Ending, Outcome},
    or_skip,
};

const CLASSES: &str = include_str!("../../tests/interop/cluster/classes.txt");
const NOT_PASSING: &str = include_str!("../../tests/interop/cluster/not-passing.txt");

/// The first word of each line, and the rest. Empty lines and those that begin with `#` say nothing.
fn entries(text: &'static str) -> BTreeMap<&'static str, &'static str> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let entry = |line: &'static str| {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        (name, rest.trim())
    };
    let mut entries = BTreeMap::new();
    for (name, rest) in lines.map(entry) {
        assert!(!rest.is_empty(), "`{name}` says neither when it is run nor why it does not pass");
        assert!(entries.insert(name, rest).is_none(), "`{name}` is listed twice");
    }
    entries
}

/// What is wrong with how the tests ended, as the list has it.
fn complaints(outcomes: &[Outcome], listed: &BTreeMap<&str, &str>, selected: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Outcome { test, ending, why, .. } in outcomes {
        match (ending, listed.get(test.as_str())) {
            (Ending::Passed, Some(reason)) if !reason.starts_with("sometimes:") => {
                complaints.push(format!("{test} passes now: take it out of the list"));
            }
            (Ending::Passed, _) | (Ending::Aborted | Ending::Failed, Some(_)) => {}
            (Ending::Aborted | Ending::Failed, None) => complaints.push(format!("{test}: {ending:?}: {why}")),
        }
    }
    let seen: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.test.as_str()).collect();
    let of_whole_classes =
        listed.keys().filter(|test| test.split('#').next().is_some_and(|class| selected.contains(&class)));
    let gone = of_whole_classes.filter(|test| !seen.contains(**test));
    complaints.extend(gone.map(|test| format!("{test} is in the list, and there is no such test")));
    complaints
}

#[test]
fn kafkas_cluster_tests_pass_but_for_those_in_the_list() {
    let Some(tests) = or_skip(ClusterTests::new()) else { return };
    let classes = entries(CLASSES);
    let listed = entries(NOT_PASSING);
    let asked = std::env::var("OTTLA_CLUSTER_TESTS").unwrap_or_default();
    let marked = |marks: &[&str]| -> Vec<&str> {
        classes.iter().filter(|(_, when)| marks.contains(when)).map(|(&class, _)| class).collect()
    };
    let selected = match asked.as_str() {
        "" => marked(&["ci"]),
        "all" => marked(&["ci", "all"]),
        names => names.split_whitespace().collect(),
    };

    let ended = AtomicUsize::new(0);
    let binary = Path::new(env!("CARGO_BIN_EXE_ottla"));
    let outcomes = tests.run(binary, &selected, |outcome| {
        let Outcome { test, ending, took, why } = outcome;
        let number = ended.fetch_add(1, Ordering::Relaxed) + 1;
        println!("{number:4} {ending:?} {test} {took:.1?} {why}");
    });
    let outcomes = outcomes.unwrap();
    // The same test for brokers and controllers of one process is not run twice.
    let outcomes: Vec<_> =
        outcomes.into_iter().filter(|outcome| !outcome.why.contains("once is enough")).collect();
    let passed = outcomes.iter().filter(|outcome| outcome.ending == Ending::Passed).count();
    println!("{passed} of {} passed", outcomes.len());
    let complaints = complaints(&outcomes, &listed, &selected);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
