//! Groups that come and go at random, divided by us and by Java, which must agree to the last partition.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use ottla_interop::{java::ClassPath, or_skip};
use ottla_protocol::types::{Str, TopicName};

use super::{Assignor, Member, Subscription, Topics};
use crate::cluster::TopicPartition;

/// Groups per assignor, each of several generations.
const GROUPS: u64 = 300;
const GENERATIONS: i32 = 6;
const RACKS: [&str; 3] = ["east", "north", "west"];

/// The process of `java/Assignors.java`.
struct Java {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Java {
    fn start() -> Option<Self> {
        let jars = ClassPath::of_project("oracle").and_then(|jars| jars.with_compiled("Assignors.java"));
        let java = jars.and_then(|class_path| {
            class_path.command(
                &["-Xmx256m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"],
                "Assignors",
            )
        });
        let mut java = or_skip(java)?;
        let mut process =
            java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Some(Self { process, input, output: BufReader::new(output) })
    }

    fn assign(&mut self, assignor: Assignor, topics: &Topics, members: &[Member]) -> String {
        let text = input(assignor, topics, members);
        self.input.write_all(text.as_bytes()).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "Java cannot divide this:\n{text}");
        line.trim_end_matches('\n').to_owned()
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "-".to_owned() } else { items.join(",") }
}

fn name(partition: &TopicPartition) -> String {
    format!("{}:{}", partition.topic, partition.partition)
}

fn input(assignor: Assignor, topics: &Topics, members: &[Member]) -> String {
    let mut text = String::new();
    for (topic, partitions) in topics {
        let racks = partitions.iter().map(|racks| list(racks.iter().map(Str::to_string)));
        writeln!(text, "topic {topic} {}", racks.collect::<Vec<_>>().join("|")).unwrap();
    }
    let optional = |text: &Option<Str>| text.as_ref().map_or("-".to_owned(), Str::to_string);
    for Member { id, instance_id, subscription } in members {
        let user_data = subscription
            .user_data
            .as_ref()
            .filter(|data| !data.is_empty())
            .map(|data| data.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")));
        writeln!(
            text,
            "member {id} {} {} {} {} {} {}",
            optional(instance_id),
            optional(&subscription.rack),
            subscription.generation.unwrap_or(-1),
            user_data.unwrap_or_else(|| "-".to_owned()),
            list(subscription.topics.iter().map(TopicName::to_string)),
            list(subscription.owned.iter().map(name)),
        )
        .unwrap();
    }
    writeln!(text, "assign {}", assignor.name()).unwrap();
    text
}

/// Our result as Java's is told.
fn told(members: &[Member], assignment: &[Vec<TopicPartition>]) -> String {
    let mut lines: Vec<String> = members
        .iter()
        .zip(assignment)
        .map(|(member, partitions)| {
            format!("{}={}", member.id, partitions.iter().map(name).collect::<Vec<_>>().join(","))
        })
        .collect();
    lines.sort_unstable();
    lines.join(" ")
}

/// A group whose members and topics change from one generation to the next.
struct Group {
    assignor: Assignor,
    random: fastrand::Rng,
    topics: Topics,
    has_racks: bool,
    same_topics: bool,
    members: Vec<Member>,
    next_id: u32,
}

impl Group {
    fn new(assignor: Assignor, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let has_racks = random.u8(..3) == 0;
        let same_topics = random.bool();
        let mut group = Self {
            assignor,
            random,
            topics: Topics::new(),
            has_racks,
            same_topics,
            members: Vec::new(),
            next_id: 0,
        };
        for topic in 0..group.random.usize(1..5) {
            let partitions = group.random.usize(1..12);
            group.topics.insert(format!("t{topic}").into(), Vec::new());
            group.grow(topic, partitions);
        }
        for _ in 0..group.random.usize(1..9) {
            group.join();
        }
        group
    }

    fn grow(&mut self, topic: usize, by: usize) {
        for _ in 0..by {
            let racks = RACKS.iter().filter(|_| self.has_racks && self.random.bool());
            let racks = racks.map(|&rack| rack.into()).collect();
            self.topics.entry(format!("t{topic}").into()).or_default().push(racks);
        }
    }

    fn join(&mut self) {
        // As the broker makes them: of no order that follows that of coming.
        let id = format!("consumer-{:08x}-{}", self.random.u32(..), self.next_id);
        self.next_id += 1;
        let instance_id = (self.random.u8(..4) == 0).then(|| format!("i{}", self.random.u32(..)).into());
        let mut topics: Vec<TopicName> = match self.same_topics {
            true => self.topics.keys().cloned().collect(),
            false => self.topics.keys().filter(|_| self.random.bool()).cloned().collect(),
        };
        if topics.is_empty() || (!self.same_topics && self.random.u8(..5) == 0) {
            topics.push(if self.same_topics { "t0" } else { "missing" }.into());
        }
        let rack = (self.has_racks && self.random.u8(..4) != 0)
            .then(|| RACKS[self.random.usize(..RACKS.len())].into());
        let user_data = self.assignor.user_data(&[], -1);
        let subscription = Subscription { topics, rack, user_data, ..Default::default() };
        self.members.push(Member { id: id.into(), instance_id, subscription });
    }

    /// The topics that somebody subscribes to.
    fn subscribed(&self) -> Topics {
        let wanted: BTreeSet<&TopicName> =
            self.members.iter().flat_map(|member| &member.subscription.topics).collect();
        let topics = self.topics.iter().filter(|(topic, _)| wanted.contains(topic));
        topics.map(|(topic, partitions)| (topic.clone(), partitions.clone())).collect()
    }

    /// Members take what they were given, and things happen.
    fn go_on(&mut self, generation: i32, assignment: &[Vec<TopicPartition>]) {
        for (member, partitions) in self.members.iter_mut().zip(assignment) {
            // Some miss a generation, and still claim what they had before.
            if self.random.u8(..8) == 0 {
                continue;
            }
            let subscription = &mut member.subscription;
            // Older clients do not send their generation.
            subscription.generation = (self.random.u8(..8) != 0).then_some(generation);
            subscription.owned.clone_from(partitions);
            subscription.user_data = self.assignor.user_data(partitions, generation);
        }
        for _ in 0..self.random.usize(..3) {
            if self.members.len() > 1 {
                let leaver = self.random.usize(..self.members.len());
                self.members.swap_remove(leaver);
            }
        }
        for _ in 0..self.random.usize(..4) {
            self.join();
        }
        if self.random.u8(..3) == 0 {
            let topic = self.random.usize(..self.topics.len());
            let by = self.random.usize(1..5);
            self.grow(topic, by);
        }
        self.random.shuffle(&mut self.members);
    }
}

#[test]
fn every_assignor_divides_as_javas_does() {
    let Some(mut java) = Java::start() else { return };
    for assignor in Assignor::ALL {
        let mut moved = 0;
        for seed in 0..GROUPS {
            let mut group = Group::new(assignor, seed);
            for generation in 0..GENERATIONS {
                let topics = group.subscribed();
                let ours = assignor.assign(&topics, &group.members);
                let theirs = java.assign(assignor, &topics, &group.members);
                assert_eq!(
                    told(&group.members, &ours),
                    theirs,
                    "{} differs from Java, seed {seed}, generation {generation}:\n{}",
                    assignor.name(),
                    input(assignor, &topics, &group.members)
                );
                moved += ours.iter().flatten().count();
                group.go_on(generation, &ours);
            }
        }
        assert!(moved > 10_000, "the groups had something to divide: {moved}");
    }
}
