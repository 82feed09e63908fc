//! A group of our own members whose broker is killed while it rebalances, and whose members are killed, too: what was
//! written is read, and no committed offset goes back.
//!
//! `OTTLA_GROUP_CYCLES` says how often (4). In each, members come, leave or die, and the broker is killed at some moment of
//! the rebalance that follows. A group whose members all live reads all of its partitions again within 3 s of the broker's
//! answering. One that has a dead member has to wait for the end of that one's session, too, which begins anew with the
//! broker. How long it took is told, of either.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "says what it measured")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ottla::{
    Admin, OffsetSpec, Producer, Record, TopicPartition,
    config::{AdminConfig, ProducerConfig},
};
use ottla_interop::{
    program::{Launch, Running},
    wire::Wire,
};
use rustix::process::{Pid, Signal, kill_process};

const TOPIC: &str = "t";
const GROUP: &str = "g";
const PARTITIONS: i32 = 6;
const CYCLES_DEFAULT: u64 = 4;
const MEMBERS_MAX: usize = 4;
/// A dead member is known to be dead after this.
const SESSION_MS: u64 = 2_000;
const HEARTBEAT_MS: u64 = 200;
/// A group of living members is back within this time of the broker's answering.
const RECOVERY_MAX: Duration = Duration::from_secs(3);
/// Longest wait for anything: a dead member's session, a rebalance, and a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records that are written to each partition in a round.
const ROUND: i64 = 5;

/// What was printed, by partition and offset.
type Printed = Arc<Mutex<BTreeSet<(i32, i64)>>>;

/// `ottla consume --group`, until it is told to stop, or killed.
struct Member {
    process: Child,
    reading: Option<JoinHandle<()>>,
}

impl Member {
    fn start(broker: SocketAddr, protocol: &str, printed: &Printed) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        command.args(["consume", TOPIC, "--group", GROUP, "--follow", "--verbose"]);
        command.args(["--bootstrap-server", &broker.to_string()]);
        command.args([
            "--set",
            &format!("session.timeout.ms={SESSION_MS}"),
            "--set",
            "heartbeat.interval.ms=200",
        ]);
        command.args(["--set", "partition.assignment.strategy=cooperative-sticky"]);
        command.args(["--set", &format!("group.protocol={protocol}")]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let printed = printed.clone();
        let reading = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut parts = line.split('\t').map(str::parse);
                // The last line of one that is killed may be cut off.
                let (Some(Ok(partition)), Some(Ok(offset)), Some(Ok(_))) =
                    (parts.next(), parts.next(), parts.next())
                else {
                    continue;
                };
                let partition = i32::try_from(partition).unwrap();
                printed.lock().unwrap().insert((partition, offset));
            }
        });
        Self { process, reading: Some(reading) }
    }

    /// Tells it to stop. Whether it did so in order, or died of it: one that has only just begun does not listen yet.
    fn leave(mut self) -> bool {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(
            status.success() || status.signal() == Some(Signal::TERM.as_raw()),
            "a member fails to leave: {status}"
        );
        status.success()
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.process.kill();
        _ = self.process.wait();
        if let Some(reading) = self.reading.take() {
            _ = reading.join();
        }
    }
}

/// Whether anybody in the group is waited for that does not come back.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Members {
    AllLive,
    OneDead,
}

/// The test's own clients.
struct Clients {
    producer: Producer,
    admin: Admin,
    runtime: tokio::runtime::Runtime,
    written: i64,
    committed: BTreeMap<TopicPartition, i64>,
}

impl Clients {
    fn new(broker: SocketAddr) -> Self {
        let bootstrap_servers = vec![broker.to_string()];
        let producer = ProducerConfig { bootstrap_servers: bootstrap_servers.clone(), ..Default::default() };
        Self {
            producer: Producer::new(producer).unwrap(),
            admin: Admin::new(AdminConfig { bootstrap_servers, ..Default::default() }).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            written: 0,
            committed: BTreeMap::new(),
        }
    }

    /// Writes a round, which is acknowledged when this returns.
    fn write(&mut self) {
        self.runtime.block_on(async {
            for partition in (0..ROUND).flat_map(|_| 0..PARTITIONS) {
                self.producer
                    .send_and_forget(Record::to(TOPIC).partition(partition).value("v"))
                    .await
                    .unwrap();
            }
            self.producer.flush().await.unwrap();
        });
        self.written += ROUND;
        let acknowledged = self.producer.metrics().record_acknowledged_total;
        assert_eq!(acknowledged, (self.written * i64::from(PARTITIONS)) as u64, "some were not written");
    }

    /// How many members the group has, or is about to have.
    fn members(&self) -> usize {
        let group = self.runtime.block_on(self.admin.describe_groups([GROUP])).unwrap().remove(0).1.unwrap();
        group.members.len()
    }

    /// Looks where the group is: nowhere behind where it was.
    fn check_committed(&mut self) -> i64 {
        let listed =
            self.runtime.block_on(self.admin.list_group_offsets([GROUP])).unwrap().remove(0).1.unwrap();
        for (tp, offset) in &listed {
            let before = self.committed.insert(tp.clone(), offset.offset).unwrap_or(0);
            assert!(before <= offset.offset, "`{tp}` went from {before} back to {}", offset.offset);
        }
        let is_all = listed.len() == PARTITIONS as usize;
        let least = listed.values().map(|offset| offset.offset).min().filter(|_| is_all);
        least.unwrap_or(0)
    }
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn restart(launch: &Launch, broker: Running) -> Running {
    let address = broker.address();
    broker.kill();
    launch.clone().at(address).start()
}

#[test]
fn a_classic_group_outlives_its_broker_and_its_members() {
    a_group_outlives_its_broker_and_its_members("classic");
}

#[test]
fn a_consumer_group_outlives_its_broker_and_its_members() {
    a_group_outlives_its_broker_and_its_members("consumer");
}

fn a_group_outlives_its_broker_and_its_members(protocol: &str) {
    let cycles = std::env::var("OTTLA_GROUP_CYCLES").map_or(CYCLES_DEFAULT, |text| text.parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path())
        .set("group.initial.rebalance.delay.ms", 0)
        .set("group.min.session.timeout.ms", SESSION_MS)
        .set("group.consumer.min.session.timeout.ms", SESSION_MS)
        .set("group.consumer.session.timeout.ms", SESSION_MS)
        .set("group.consumer.min.heartbeat.interval.ms", HEARTBEAT_MS)
        .set("group.consumer.heartbeat.interval.ms", HEARTBEAT_MS)
        .set("offsets.topic.num.partitions", 1);
    let mut broker = launch.start();
    let at = broker.address();
    Wire::connect(at).create_topic(TOPIC, PARTITIONS, &[]);
    let mut clients = Clients::new(at);
    let printed = Printed::default();
    let mut members = vec![Member::start(at, protocol, &printed), Member::start(at, protocol, &printed)];
    let mut recoveries: BTreeMap<Members, Vec<Duration>> = BTreeMap::new();
    let mut state = Members::AllLive;
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut pick = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for cycle in 0..cycles {
        clients.write();
        match pick(3) {
            0 if members.len() > 1 => {
                if !members.remove(0).leave() {
                    state = Members::OneDead;
                }
            }
            1 if members.len() < MEMBERS_MAX => members.push(Member::start(at, protocol, &printed)),
            _ if members.len() > 1 => {
                members.remove(0).kill();
                state = Members::OneDead;
            }
            _ => members.push(Member::start(at, protocol, &printed)),
        }
        // Some way into what follows.
        thread::sleep(Duration::from_millis(pick(400)));
        broker = restart(&launch, broker);
        let answers = Instant::now();
        clients.write();
        let newest = clients.written - 1;
        let is_back = |printed: &BTreeSet<(i32, i64)>, partition| printed.contains(&(partition, newest));
        wait_until("all partitions are read again", || {
            let printed = printed.lock().unwrap();
            // The dead are still in the group when the next cycle begins, as often as not.
            match (state, cycle % 4) {
                (Members::OneDead, 0..3) => (0..PARTITIONS).any(|partition| is_back(&printed, partition)),
                _ => (0..PARTITIONS).all(|partition| is_back(&printed, partition)),
            }
        });
        recoveries.entry(state).or_default().push(answers.elapsed());
        clients.check_committed();
        if cycle % 4 == 3 {
            wait_until("the dead are out", || clients.members() == members.len());
            state = Members::AllLive;
        }
    }
    wait_until("all is committed", || clients.check_committed() == clients.written);
    members.into_iter().for_each(|member| _ = member.leave());
    let expected: BTreeSet<(i32, i64)> = (0..PARTITIONS)
        .flat_map(|partition| (0..clients.written).map(move |offset| (partition, offset)))
        .collect();
    assert_eq!(*printed.lock().unwrap(), expected);
    let ends: Vec<_> = (0..PARTITIONS)
        .map(|partition| (TopicPartition::new(TOPIC, partition), OffsetSpec::Latest))
        .collect();
    for (tp, listed) in clients.runtime.block_on(clients.admin.list_offsets(ends)).unwrap() {
        assert_eq!(clients.committed.get(&tp).copied(), listed.unwrap().offset, "`{tp}`");
    }
    for (state, mut times) in recoveries {
        times.sort_unstable();
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        eprintln!("{protocol}, {state:?}, {} times: median {median:?}, slowest {slowest:?}", times.len());
        let session =
            if state == Members::OneDead { Duration::from_millis(SESSION_MS) } else { Duration::ZERO };
        assert!(slowest < session + RECOVERY_MAX, "{state:?}: {times:?}");
    }
}
