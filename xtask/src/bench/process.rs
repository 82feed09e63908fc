//! What a process used, as Linux tells it in `/proc`.

use std::{fs, time::Duration};

use anyhow::Context;

/// The unit of CPU times in `/proc`: a hundredth of a second on every Linux that Rust runs on.
const TICKS_PER_S: u64 = 100;

/// CPU time that the process has used until now, in user space and in the kernel, of all its threads.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading `{path}`: has it ended?"))?;
    ticks(&stat).map(of_ticks).with_context(|| format!("`{path}` is not as proc(5) says"))
}

/// What the threads of a process have done since each began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Threads {
    /// Time on a core, to the nanosecond: [`cpu`] is too coarse for a process that hardly does anything.
    pub(super) cpu: Duration,
    /// How often they went to sleep by themselves, and so were woken.
    pub(super) wakes: u64,
}

/// What the threads that the process has now have done; to be compared only while none of them ends.
pub(super) fn threads(pid: u32) -> anyhow::Result<Threads> {
    let path = format!("/proc/{pid}/task");
    let mut sum = Threads::default();
    for thread in fs::read_dir(&path).with_context(|| format!("reading `{path}`: has it ended?"))? {
        let thread = thread?.path();
        let read = |name: &str| {
            let path = thread.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))
        };
        // Of `schedstat` the first number is the nanoseconds on a core.
        let ns = read("schedstat")?.split_whitespace().next().and_then(|ns| ns.parse().ok());
        sum.cpu += Duration::from_nanos(ns.context("`schedstat` is not as sched(7) says")?);
        let status = read("status")?;
        let wakes = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum.wakes +=
            wakes.and_then(|n| n.trim().parse::<u64>().ok()).context("`status` tells no switches")?;
    }
    Ok(sum)
}

/// Its memory that is in RAM, in bytes.
pub(super) fn rss_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading `{path}`: has it ended?"))?;
    rss_kib(&status).map(|kib| kib * 1024).with_context(|| format!("`{path}` has no VmRSS"))
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_S)
}

/// utime and stime: the 14th and 15th field, counted behind a name that may hold blanks and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_kib(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "71 (a) (b c)) S 1 71 71 0 -1 4194304 900 0 0 0 250 30 7 8 20 0 5 0 100 1 2";
        assert_eq!(ticks(stat).map(of_ticks), Some(Duration::from_millis(2800)));
        assert_eq!(ticks("71 (a) S 1"), None);
    }

    #[test]
    fn memory_is_found_among_the_other_lines() {
        assert_eq!(rss_kib("Name:\tx\nVmPeak:\t 99 kB\nVmRSS:\t    5896 kB\n"), Some(5896));
        assert_eq!(rss_kib("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_line_wakes_who_waits_for_it_and_takes_some_time() {
        const LINES_MAX: u64 = 10_000;
        let mut command = Command::new("cat");
        let mut cat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut lines, mut echo) = (cat.stdin.take().unwrap(), BufReader::new(cat.stdout.take().unwrap()));
        let mut say = || {
            lines.write_all(b"x\n").unwrap();
            echo.read_line(&mut String::new()).unwrap();
        };
        say();
        let before = threads(cat.id()).unwrap();
        let (mut after, mut said) = (before, 0);
        // It may find lines without a wait, when it is slow or we are quick.
        while after.wakes == before.wakes && said < LINES_MAX {
            say();
            said += 1;
            after = threads(cat.id()).unwrap();
        }
        drop(lines);
        cat.wait().unwrap();
        assert!(
            after.wakes > before.wakes && after.wakes <= before.wakes + 2 * said,
            "{before:?} {after:?}, {said} lines"
        );
        assert!(after.cpu > before.cpu && after.cpu < Duration::from_secs(1), "{before:?} {after:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_its_time_grows() {
        let pid = std::process::id();
        assert!(rss_bytes(pid).unwrap() > 100_000);
        let before = cpu(pid).unwrap();
        let mut x = 1u64;
        while cpu(pid).unwrap() == before {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
    }
}
