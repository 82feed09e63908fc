//! franz-go's own integration tests against our broker.
//!
//! `TestGroupETL` writes records that number themselves, and has groups of consumers, one behind the other, carry them from
//! topic to topic while members come and go, leave in order and are killed: with each assignor, of either protocol, dynamic
//! and static. Every record must arrive, and only once.
//!
//! `OTTLA_ETL_RECORDS` says how many (20000), `OTTLA_ETL_RUNS` how often (1).

use std::process::{Command, Output};

use ottla_interop::{broker::TestBroker, or_skip, peers};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn groups_of_every_kind_carry_each_record_once() {
    let Some(tests) = or_skip(peers::franz_go_tests()) else { return };
    let records = number("OTTLA_ETL_RECORDS", 20_000).to_string();
    for run in 1..=number("OTTLA_ETL_RUNS", 1) {
        let broker = TestBroker::start(&[("group.initial.rebalance.delay.ms", "0")]);
        let output = Command::new(&tests)
            .args(["-test.run", "^TestGroupETL$", "-test.v", "-test.timeout", "20m"])
            .env("KGO_SEEDS", broker.bootstrap())
            .env("KGO_TEST_RF", "1")
            .env("KGO_TEST_RECORDS", &records)
            .env("KGO_LOG_LEVEL", "none")
            .output();
        let Output { status, stdout, stderr } = output.expect("the tests run");
        let said = [stdout, stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(status.success(), "run {run}: {status}\n{said}");
        let passed = said.lines().filter(|line| line.trim_start().starts_with("--- PASS")).count();
        let of_groups = said.lines().filter(|line| line.contains("--- PASS: TestGroupETL/")).count();
        assert!(passed > of_groups && of_groups > 0, "run {run}: nothing ran\n{said}");
    }
}
