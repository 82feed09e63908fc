//! The run: services are started, watched until every group has handled all there is, asked to end, and audited.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{
    audit::{Account, Facts, Fault, Finding, Tally, audit},
    cluster::{Cluster, Look},
    plan::{ORDER_TOPICS, Plan, Program, SERVICES, Service, topics},
    service::Member,
    view::{Line, Row, Scene, Screen, frame, grouped},
};

/// How often the broker is asked.
const TICK: Duration = Duration::from_millis(200);
/// Nothing may move for this long.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How much longer all of it may take than the orders take to come in.
const OVERTIME_MAX: Duration = Duration::from_secs(90);
/// How long a service that is asked to end may take.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// Over how long a rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// How often a frame is kept for the picture.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(400);

/// What came of it.
pub struct Outcome {
    /// What was found right.
    pub findings: Vec<Finding>,
    /// What the services report to people.
    pub reports: Vec<String>,
    /// What others played, or nobody.
    pub replaced: Vec<String>,
    /// Each of the frames that the picture is made of, the last one when all was audited.
    pub frames: Vec<Vec<Line>>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs the plan. `this` is the program that plays services whose language is missing.
pub async fn run(plan: &Plan, this: &Path, screen: &mut Screen<impl Write>) -> anyhow::Result<Outcome> {
    let (mut actors, replaced) = cast(plan, this)?;
    let groups = actors.iter().map(|actor| actor.service).filter(|service| !service.reads.is_empty());
    let topics: Vec<&str> = topics()
        .into_iter()
        .filter(|topic| actors.iter().any(|actor| actor.service.writes == *topic))
        .collect();
    let cluster = Cluster::prepare(&plan.bootstrap, topics.clone(), groups.collect()).await?;
    let began = Instant::now();
    for actor in &mut actors {
        let at_first = actor.service.members - usize::from(actor.service.has_latecomer);
        for _ in 0..at_first {
            actor.start(plan)?;
        }
    }
    let mut show = Show { plan, screen, began, drawn: None, kept: None, frames: Vec::new() };
    let scene = watch(&mut actors, &cluster, &topics, &mut show).await?;
    end(&mut actors).await?;

    let mut facts = Facts { accounts: accounts(&actors)?, ..Facts::default() };
    facts.numbered = ORDER_TOPICS.iter().map(|topic| ((*topic).to_owned(), plan.orders)).collect();
    for actor in &actors {
        if let Some(count) = plan.born_at(actor.service) {
            facts.numbered.insert(actor.service.writes.to_owned(), count);
        }
    }
    let mut reports = Vec::new();
    for topic in topics {
        let (held, texts) = cluster.read_back(topic).await?;
        facts.topics.insert(topic.to_owned(), held);
        reports.extend(texts);
    }
    let findings = audit(&facts).map_err(|faults| {
        let faults: String = faults.iter().map(|fault: &Fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("the audit has found:{faults}")
    })?;
    let frames = show.conclude(scene, &facts, &findings)?;
    Ok(Outcome { findings, reports, replaced, frames, elapsed: began.elapsed() })
}

/// A service, and who plays it.
struct Actor {
    service: &'static Service,
    language: String,
    program: Program,
    members: Vec<Member>,
    /// The ids that the broker knows them by, in the order in which they were first seen.
    ids: Vec<String>,
    /// How many records were handled, and when.
    pace: VecDeque<(Instant, u64)>,
}

/// Who plays: the languages that are there, and Rust where one is missing that others wait for.
fn cast(plan: &Plan, this: &Path) -> anyhow::Result<(Vec<Actor>, Vec<String>)> {
    let (mut actors, mut replaced) = (Vec::new(), Vec::new());
    for service in SERVICES {
        let part =
            plan.cast.get(service.name).with_context(|| format!("nobody is to play `{}`", service.name))?;
        let (language, program) = match &part.program {
            Some(program) => (part.language.clone(), program.clone()),
            None if service.is_needed => {
                replaced.push(format!("{}: Rust in {}'s place", service.name, part.language));
                let args = vec!["stand-in".to_owned(), service.name.to_owned()];
                ("Rust".to_owned(), Program { file: this.to_owned(), args, env: BTreeMap::new() })
            }
            None => {
                replaced.push(format!("{}: left out, for want of {}", service.name, part.language));
                continue;
            }
        };
        let (members, ids, pace) = (Vec::new(), Vec::new(), VecDeque::new());
        actors.push(Actor { service, language, program, members, ids, pace });
    }
    Ok((actors, replaced))
}

impl Actor {
    /// Starts one more process of it.
    fn start(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program.file);
        command.args(&self.program.args).arg(&plan.bootstrap).envs(&self.program.env);
        if let Some(count) = plan.born_at(self.service) {
            let per_second = (plan.per_second * count).div_ceil(plan.orders.max(1));
            command.args([count.to_string(), per_second.max(1).to_string()]);
        }
        self.members.push(Member::start(command).with_context(|| self.to_string())?);
        Ok(())
    }

    /// Looks after its processes. One that reads may not end by itself.
    fn check(&mut self) -> anyhow::Result<bool> {
        let (name, is_reader) = (self.to_string(), !self.service.reads.is_empty());
        let mut have_ended = true;
        for member in &mut self.members {
            let has_ended = member.has_ended().with_context(|| name.clone())?;
            ensure!(!(has_ended && is_reader), "{name}: it ended by itself{}", member.complaints());
            have_ended &= has_ended;
        }
        Ok(have_ended)
    }

    /// What its processes say, added up.
    fn account(&self) -> anyhow::Result<Account> {
        let none = |topic: &&str| ((*topic).to_owned(), Tally::default());
        let mut account = Account {
            service: self.service.name.to_owned(),
            read: self.service.reads.iter().map(none).collect(),
            wrote: (self.service.writes.to_owned(), Tally::default()),
        };
        for member in &self.members {
            let said = member.said();
            for (topic, tally) in said.read {
                *account.read.entry(topic).or_default() += tally;
            }
            for (topic, tally) in said.wrote {
                ensure!(topic == self.service.writes, "{self}: it says that it writes to `{topic}`");
                account.wrote.1 += tally;
            }
        }
        Ok(account)
    }

    /// Takes in who the broker says the members are; gives what each has.
    fn reads(&mut self, look: &Look) -> Vec<(String, BTreeMap<i32, usize>)> {
        let members =
            look.groups.get(self.service.name).map(|group| group.members.as_slice()).unwrap_or_default();
        for (id, _) in members {
            if !self.ids.contains(id) {
                self.ids.push(id.clone());
            }
        }
        let owners_of = |topic: &str| {
            let mut owners = BTreeMap::new();
            for (id, partitions) in members {
                let number = self.ids.iter().position(|known| known == id).unwrap_or_default();
                let of_topic = partitions.iter().filter(|(of, _)| of == topic);
                owners.extend(of_topic.map(|(_, partition)| (*partition, number)));
            }
            owners
        };
        self.service.reads.iter().map(|topic| ((*topic).to_owned(), owners_of(topic))).collect()
    }

    fn rate(&mut self, now: Instant, records: u64) -> u64 {
        self.pace.push_back((now, records));
        while self.pace.len() > 2 && now.duration_since(self.pace[0].0) > RATE_WINDOW {
            self.pace.pop_front();
        }
        let (then, before) = self.pace[0];
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds > 0.0 { (records.saturating_sub(before) as f64 / seconds) as u64 } else { 0 }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service `{}` ({})", self.service.name, self.language)
    }
}

/// Watches until each group has handled all there is, and each of its members has had its share.
async fn watch(
    actors: &mut [Actor],
    cluster: &Cluster,
    topics: &[&str],
    show: &mut Show<'_, impl Write>,
) -> anyhow::Result<Scene> {
    let time_max = Duration::from_secs(show.plan.orders / show.plan.per_second.max(1)) + OVERTIME_MAX;
    let mut moved = (Instant::now(), 0);
    let mut news =
        format!("{} orders come in, {} a second", grouped(show.plan.orders), grouped(show.plan.per_second));
    loop {
        tokio::time::sleep(TICK).await;
        let mut are_written = true;
        for actor in actors.iter_mut() {
            let have_ended = actor.check()?;
            are_written &= have_ended || !actor.service.reads.is_empty();
        }
        // After it was seen whether those who write have ended, so that what they wrote last is looked at.
        let look = cluster.look().await?;
        let half_are_in =
            look.topics.get(ORDER_TOPICS[0]).is_some_and(|count| *count >= show.plan.orders / 2);
        for actor in actors.iter_mut() {
            let is_late = actor.service.has_latecomer && actor.members.len() < actor.service.members;
            if is_late && (half_are_in || are_written) {
                actor.start(show.plan)?;
                news = format!(
                    "one more member of {} joins, and gets its share of the partitions",
                    actor.service.name
                );
            }
        }
        if are_written {
            news = "all orders are in; what is left is handled".to_owned();
        }
        let scene = scene(actors, &look, topics, show, &news)?;
        show.draw(&scene)?;

        let is_done = |actor: &Actor| {
            let Some(group) = look.groups.get(actor.service.name) else {
                return actor.service.reads.is_empty();
            };
            let have_shares = group.members.iter().filter(|(_, partitions)| !partitions.is_empty()).count();
            group.lag() == 0 && have_shares == actor.service.members
        };
        if are_written && actors.iter().all(is_done) {
            return Ok(scene);
        }
        let progress = scene.rows.iter().map(|row| row.records).sum::<u64>()
            + scene.topics.iter().map(|(_, n)| n).sum::<u64>();
        if progress != moved.1 {
            moved = (Instant::now(), progress);
        }
        let waiting: Vec<String> =
            actors.iter().filter(|actor| !is_done(actor)).map(Actor::to_string).collect();
        let waiting = waiting.join(", ");
        ensure!(
            moved.0.elapsed() < SILENCE_MAX,
            "nothing has moved for {SILENCE_MAX:?}; not done: {waiting}"
        );
        ensure!(show.began.elapsed() < time_max, "it takes longer than {time_max:?}; not done: {waiting}");
    }
}

/// Asks all to end, and waits until they have.
async fn end(actors: &mut [Actor]) -> anyhow::Result<()> {
    for actor in actors.iter_mut() {
        let name = actor.to_string();
        for member in &mut actor.members {
            member.terminate().with_context(|| name.clone())?;
        }
    }
    let began = Instant::now();
    for actor in actors {
        let name = actor.to_string();
        for member in &mut actor.members {
            while !member.has_ended().with_context(|| name.clone())? {
                if began.elapsed() > END_TIMEOUT {
                    bail!(
                        "{name}: it was asked to end, and has not within {END_TIMEOUT:?}{}",
                        member.complaints()
                    );
                }
                tokio::time::sleep(TICK / 10).await;
            }
        }
    }
    Ok(())
}

fn accounts(actors: &[Actor]) -> anyhow::Result<Vec<Account>> {
    actors.iter().map(Actor::account).collect()
}

fn scene(
    actors: &mut [Actor],
    look: &Look,
    topics: &[&str],
    show: &Show<'_, impl Write>,
    news: &str,
) -> anyhow::Result<Scene> {
    let now = Instant::now();
    let mut rows = Vec::new();
    for actor in actors {
        let account = actor.account()?;
        let is_reader = !account.read.is_empty();
        let records = if is_reader {
            account.read.values().map(|tally| tally.count).sum()
        } else {
            account.wrote.1.count
        };
        rows.push(Row {
            service: actor.service.name.to_owned(),
            language: actor.language.clone(),
            reads: actor.reads(look),
            writes: actor.service.writes.to_owned(),
            records,
            per_second: actor.rate(now, records),
            lag: look.groups.get(actor.service.name).map(crate::cluster::Group::lag).filter(|_| is_reader),
        });
    }
    let count_of = |topic: &&str| ((*topic).to_owned(), look.topics.get(*topic).copied().unwrap_or_default());
    Ok(Scene {
        elapsed: now.duration_since(show.began),
        orders: show.plan.orders,
        rows,
        topics: topics.iter().map(count_of).collect(),
        news: news.to_owned(),
        is_audited: false,
    })
}

/// Where scenes are shown, and kept for the picture.
struct Show<'a, W> {
    plan: &'a Plan,
    screen: &'a mut Screen<W>,
    began: Instant,
    drawn: Option<Instant>,
    kept: Option<Instant>,
    frames: Vec<Vec<Line>>,
}

impl<W: Write> Show<'_, W> {
    fn draw(&mut self, scene: &Scene) -> anyhow::Result<()> {
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= self.screen.interval()) {
            self.screen.draw(scene)?;
            self.drawn = Some(Instant::now());
        }
        if self.plan.picture.is_some() && self.kept.is_none_or(|kept| kept.elapsed() >= FRAME_INTERVAL) {
            self.frames.push(frame(scene));
            self.kept = Some(Instant::now());
        }
        Ok(())
    }

    /// The last scene, with what the audit has found; gives the frames.
    fn conclude(
        mut self,
        mut scene: Scene,
        facts: &Facts,
        findings: &[Finding],
    ) -> anyhow::Result<Vec<Vec<Line>>> {
        for (topic, count) in &mut scene.topics {
            *count = facts.topics.get(topic).map_or(0, |topic| topic.tally.count);
        }
        // No longer of the last second, but of all.
        for row in &mut scene.rows {
            row.per_second = (row.records as f64 / scene.elapsed.as_secs_f64()) as u64;
        }
        let handled: u64 = findings.iter().map(|finding| finding.handled.count).sum();
        scene.news = format!(
            "audited: each record was handled exactly once by each group that reads it; {} in all",
            grouped(handled)
        );
        scene.is_audited = true;
        self.screen.conclude(&scene)?;
        self.frames.push(frame(&scene));
        Ok(self.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PARTITIONS;

    #[test]
    fn a_group_that_has_all_partitions_of_a_topic_is_shown_by_its_members_in_their_order() {
        let service = Service::named("pricing").expect("it is in the table");
        let program = Program { file: "none".into(), args: Vec::new(), env: BTreeMap::new() };
        let mut actor = Actor {
            service,
            language: "Python".into(),
            program,
            members: Vec::new(),
            ids: Vec::new(),
            pace: VecDeque::new(),
        };
        let has = |id: &str, partitions: std::ops::Range<i32>| {
            (id.to_owned(), partitions.map(|partition| ("orders".to_owned(), partition)).collect())
        };
        let mut look = Look::default();
        look.groups.entry("pricing".into()).or_default().members = vec![has("b", 0..PARTITIONS)];
        assert_eq!(actor.reads(&look)[0].1, (0..PARTITIONS).map(|partition| (partition, 0)).collect());
        // The broker lists them by their ids; who came first stays the first.
        look.groups.entry("pricing".into()).or_default().members =
            vec![has("a", 2..PARTITIONS), has("b", 0..2)];
        assert_eq!(actor.reads(&look)[0].1, [(0, 0), (1, 0), (2, 1), (3, 1)].into());
    }
}
