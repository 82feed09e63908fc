//! What a stage prints: passed on, kept, and what of it tells of failures.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    process::{Command, ExitStatus},
    thread,
    time::Duration,
};

use anyhow::Context;

/// How often it is looked for what was printed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs a command; what it and its children print goes into a file and to our own output, and is given at last. By way of the file, as a
/// pipe may stay open for longer than the command lives: compilers' daemons inherit it.
pub fn pass_on(mut command: Command, log: &Path) -> anyhow::Result<(ExitStatus, String)> {
    let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let mut reader = File::open(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn().with_context(|| format!("running {command:?}"))?;
    let mut told = Vec::new();
    loop {
        // Asked before the file is read: of a command that has ended, all is there.
        let ended = child.try_wait()?;
        let passed_on = told.len();
        reader.read_to_end(&mut told)?;
        std::io::stdout().write_all(&told[passed_on..])?;
        std::io::stdout().flush()?;
        if let Some(status) = ended {
            return Ok((status, String::from_utf8_lossy(&told).into_owned()));
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// A line by which a tool tells of a failure, and how many lines behind it belong to it at most.
struct Mark {
    is_at: fn(&str) -> bool,
    lines_after: usize,
}

/// Those of all tools that stages run.
const MARKS: &[Mark] = &[
    // libtest: first in the middle of all tests, then with what the test printed.
    Mark { is_at: |line| line.starts_with("test ") && line.ends_with(" ... FAILED"), lines_after: 0 },
    Mark { is_at: |line| line.starts_with("---- ") && line.ends_with(" ----"), lines_after: 40 },
    // Ours, in C, PHP and here, and pytest's summary.
    Mark { is_at: |line| line.starts_with("FAILED "), lines_after: 20 },
    Mark { is_at: |line| line.starts_with("MISSING: "), lines_after: 0 },
    // Maven and Surefire.
    Mark { is_at: |line| line.starts_with("[ERROR]"), lines_after: 0 },
    // Node's `spec`, .NET's two runners, minitest.
    Mark { is_at: |line| line.trim_start().starts_with('✖'), lines_after: 20 },
    Mark { is_at: |line| line.trim_start().starts_with("Failed "), lines_after: 20 },
    Mark { is_at: |line| line.ends_with(") Failure:") || line.ends_with(") Error:"), lines_after: 10 },
    // pytest's reasons; compilers, linters, and what ends a stage.
    Mark { is_at: |line| line.starts_with("E   "), lines_after: 0 },
    Mark { is_at: |line| line.contains("error:") || line.starts_with("error["), lines_after: 12 },
];
/// How a test that passed is told: with it ends what belongs to the failure before it.
const PASSES: [&str; 4] = ["ok ", "test ", "Passed ", "✔"];
/// The most lines told of a stage again.
const LINES_MAX: usize = 300;
/// Where nothing is known of a failure, the last of what was printed.
const LAST_LINES: usize = 60;

/// The lines that tell what failed.
pub fn failures(told: &str) -> impl Iterator<Item = &str> {
    let mut found = Vec::new();
    let mut belonging = 0;
    for line in told.lines() {
        if let Some(mark) = MARKS.iter().find(|mark| (mark.is_at)(line)) {
            belonging = belonging.max(mark.lines_after);
            found.push(line);
        } else if PASSES.iter().any(|start| line.trim_start().starts_with(start)) {
            belonging = 0;
        } else if belonging > 0 {
            belonging -= 1;
            found.push(line);
        }
    }
    if found.is_empty() {
        let lines: Vec<_> = told.lines().collect();
        found = lines[lines.len().saturating_sub(LAST_LINES)..].to_vec();
    }
    found.into_iter().take(LINES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(told: &str) -> Vec<&str> {
        failures(told).collect()
    }

    #[test]
    fn a_failed_test_of_a_crate_is_told_with_its_reason() {
        let told = "test a ... ok\ntest b ... FAILED\ntest c ... ok\n\nfailures:\n\n---- b stdout ----\n\
                    thread 'b' panicked at src/lib.rs:7:9:\nleft: 1\n\nfailures:\n    b\n\n\
                    test result: FAILED. 2 passed; 1 failed\n   Doc-tests x\ntest d ... ok\n";
        let found = of(told);
        assert_eq!(
            found[..4],
            ["test b ... FAILED", "---- b stdout ----", "thread 'b' panicked at src/lib.rs:7:9:", "left: 1",]
        );
        assert!(found.iter().all(|line| !line.contains("ok") && !line.contains("Doc-tests")), "{found:?}");
    }

    #[test]
    fn each_tools_way_to_tell_of_a_failure_is_known() {
        let tools = [
            "ok a\nFAILED it links: undefined symbol\nok b\n",
            "a.py ...\nFAILED test_a.py::test_b - assert 1 == 2\n",
            "[INFO] a\n[ERROR] ATest.b:12 expected: <1> but was: <2>\n",
            "✔ a (1.2ms)\n✖ b (1.9ms)\n✔ c (1.2ms)\n",
            "Passed   a (1 ms)\nFailed   b (2 ms)\nPassed   c (1 ms)\n",
            "src/a.ts(1,2): error: no such type\n",
            "MISSING: npm\n",
        ];
        for told in tools {
            assert_eq!(of(told).len(), 1, "{told}");
        }
        assert_eq!(of("  1) Failure:\nTestA#test_b [a.rb:3]:\nExpected: 1\n").len(), 3);
    }

    #[test]
    fn where_nothing_tells_of_a_failure_the_end_is_told() {
        let told: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let found = of(&told);
        assert_eq!((found.len(), found[0]), (LAST_LINES, "line 40"));
    }

    #[test]
    fn all_is_passed_on_and_kept_though_a_daemon_outlives_the_command() {
        let log = std::env::temp_dir().join(format!("ottla-told-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; sleep 60 & exit 3"]);
        let began = std::time::Instant::now();
        let (status, told) = pass_on(command, &log).expect("a shell");
        let kept = std::fs::read_to_string(&log).expect("the file");
        std::fs::remove_file(&log).expect("the file");
        assert_eq!((status.code(), told.as_str(), kept.as_str()), (Some(3), "out\nerr\n", "out\nerr\n"));
        assert!(began.elapsed() < Duration::from_secs(30), "it waited for what the shell had left running");
    }
}
