//! What is known of the cluster, and when to ask again. Does no I/O.
//!
//! Feed it with `handle_*`, ask [`Metadata::poll_request`] what to send and [`Metadata::next_due`] when to ask it
//! again. Everyone else reads a [`Snapshot`], which is replaced whole.
//!
//! Two things make it newer: Metadata responses, and the leader that a Produce or Fetch response names beside its
//! error (KIP-951). A leader of an older epoch never takes the place of a newer one: responses of two brokers may
//! come in any order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic},
    types::{BrokerId, Str, TopicName, Uuid},
};

use super::retry::{Backoff, Failures};

/// The cluster as it was told last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// The broker that takes the controller's requests.
    pub controller: Option<BrokerId>,
    /// Where each broker listens.
    pub brokers: BTreeMap<BrokerId, Address>,
    /// The topics asked for, also those that are not there.
    pub topics: HashMap<TopicName, Arc<Topic>>,
    /// Counts up with each change, so that a reader can tell whether it has seen this one.
    pub version: u64,
}

/// A topic, or why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Its id (KIP-516); zero from a broker that has none.
    pub id: Uuid,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
    /// The racks of each partition's replicas, without repetition; empty where no broker tells its rack.
    pub racks: Vec<Vec<Str>>,
    /// Why it is not known.
    pub error: ErrorCode,
}

/// A partition and its leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Partition {
    /// Who leads it, if anyone does.
    pub leader: Option<BrokerId>,
    /// Counts the leaders it had; -1 from a broker that does not tell.
    pub leader_epoch: i32,
}

/// Where a broker listens.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Address {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    /// An address as a broker tells it. Ports outside a port's range become 0, to which none can connect.
    pub(crate) fn told(host: &Str, port: i32) -> Self {
        Self { host: host.as_str().to_owned(), port: u16::try_from(port).unwrap_or(0) }
    }
}

impl Snapshot {
    /// The topic, unless it is not known or not there.
    #[cfg(test)]
    fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(&TopicName::from(name)).filter(|topic| !topic.error.is_error())
    }

    /// The leader of a partition, with its epoch.
    pub(crate) fn leader(&self, topic: &TopicName, partition: i32) -> Option<(BrokerId, i32)> {
        let topic = self.topics.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(partition).ok()?)?;
        Some((partition.leader?, partition.leader_epoch))
    }
}

/// When metadata is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetadataSettings {
    /// `metadata.max.age.ms`: ask again after this, even if nothing failed.
    pub max_age: Duration,
    /// `metadata.max.idle.ms`: forget a topic that was not used for this long.
    pub max_idle: Duration,
    /// `retry.backoff.ms` with its most: between two requests of which the first failed or told nothing new.
    pub backoff: Backoff,
    /// `allow.auto.create.topics` of a consumer; a producer always allows it.
    pub allow_auto_topic_creation: bool,
    /// `metadata.recovery.rebootstrap.trigger.ms`: without an answer for so long, the brokers that are known are of no use
    /// (KIP-1102). `None` if `metadata.recovery.strategy` is `none`.
    pub rebootstrap_after: Option<Duration>,
}

/// A leader that a Produce or Fetch response named (KIP-951).
#[derive(Clone, Debug)]
pub(crate) struct LeaderHint {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// Who leads it now.
    pub leader: BrokerId,
    /// The epoch of that leader.
    pub leader_epoch: i32,
}

/// Keeps the snapshot and decides when to ask.
#[derive(Debug)]
pub(crate) struct Metadata {
    settings: MetadataSettings,
    snapshot: Arc<Snapshot>,
    /// The topics in use, and since when they were not.
    wanted: HashMap<TopicName, Instant>,
    /// When the next request is due; `None` while one is under way.
    due: Option<Instant>,
    /// When the last answer came.
    answered: Option<Instant>,
    /// Since when there is no answer, though one is asked for.
    unanswered: Option<Instant>,
    /// The brokers say, or time does, that the client is to begin anew at the bootstrap servers.
    is_lost: bool,
    /// Requests that failed, or that named no leader for a partition in need of one.
    failures: Failures,
    /// Something was asked for after the request under way was made.
    again: bool,
}

impl Metadata {
    /// Knows nothing; its first request is due at once.
    pub(crate) fn new(settings: MetadataSettings, now: Instant) -> Self {
        Self {
            settings,
            snapshot: Arc::new(Snapshot::default()),
            wanted: HashMap::new(),
            due: Some(now),
            answered: None,
            unanswered: None,
            is_lost: false,
            failures: Failures::default(),
            again: false,
        }
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Keeps the topic known from here on. A topic not yet known makes a request due at once.
    pub(crate) fn want(&mut self, topic: &TopicName, now: Instant) {
        let known = self.snapshot.topics.get(topic).is_some_and(|topic| !topic.error.is_error());
        let new = self.wanted.insert(topic.detached(), now).is_none();
        if new || !known {
            self.expedite(now, new);
        }
    }

    /// Something is out of date: a leader moved, a connection was lost. Asks as soon as back-off allows.
    pub(crate) fn request_refresh(&mut self, now: Instant) {
        self.expedite(now, false);
    }

    fn expedite(&mut self, now: Instant, at_once: bool) {
        let Some(due) = &mut self.due else {
            self.again = true;
            return;
        };
        // A refresh that follows an answer at once would likely be told the same: the cluster needs its time.
        let soonest = match self.answered {
            Some(answered) if !at_once => now.max(answered + self.settings.backoff.first),
            _ => now,
        };
        // After failures, what is due is the end of the back-off.
        if self.failures.count() == 0 || at_once {
            *due = soonest.min(*due);
        }
    }

    /// When [`Metadata::poll_request`] will next have something; `None` while a request is under way.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due
    }

    /// The request that is due now. Its end is told by [`Metadata::handle_response`] or
    /// [`Metadata::handle_failure`]; until then there is no second one.
    pub(crate) fn poll_request(&mut self, now: Instant) -> Option<MetadataRequest> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        self.again = false;
        self.unanswered.get_or_insert(now);
        let idle = self.settings.max_idle;
        self.wanted.retain(|_, used| now.saturating_duration_since(*used) < idle);
        let topic =
            |name: &TopicName| MetadataRequestTopic { name: Some(name.clone()), topic_id: Uuid::ZERO };
        Some(MetadataRequest {
            topics: Some(self.wanted.keys().map(topic).collect()),
            allow_auto_topic_creation: self.settings.allow_auto_topic_creation,
            ..Default::default()
        })
    }

    /// Takes an answer in.
    pub(crate) fn handle_response(
        &mut self,
        response: &MetadataResponse,
        now: Instant,
        random: &mut fastrand::Rng,
    ) {
        let mut next = Snapshot {
            controller: (response.controller_id != BrokerId::NONE).then_some(response.controller_id),
            brokers: BTreeMap::new(),
            topics: HashMap::new(),
            version: self.snapshot.version + 1,
        };
        let mut racks = BTreeMap::new();
        for broker in &response.brokers {
            next.brokers.insert(broker.node_id, Address::told(&broker.host, broker.port));
            racks.extend(broker.rack.as_ref().map(|rack| (broker.node_id, rack.detached())));
        }
        // A topic that this request did not ask about keeps its place as long as it is wanted.
        for (name, topic) in &self.snapshot.topics {
            if self.wanted.contains_key(name) {
                next.topics.insert(name.clone(), topic.clone());
            }
        }
        let mut incomplete = false;
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            if !self.wanted.contains_key(name) {
                continue;
            }
            let read = read_topic(topic, self.snapshot.topics.get(name), &racks);
            // As it was told, also where what was known before is kept.
            incomplete |=
                topic.error_code.is_retriable() || read.partitions.iter().any(|p| p.leader.is_none());
            next.topics.insert(name.detached(), Arc::new(read));
        }
        self.snapshot = Arc::new(next);
        self.answered = Some(now);
        self.unanswered = None;
        self.is_lost = false;
        // A topic being created, or a partition without a leader, is asked about again soon.
        let wait = if incomplete {
            self.failures.record(&self.settings.backoff, random)
        } else {
            self.failures.clear();
            if self.again { self.settings.backoff.first } else { self.settings.max_age }
        };
        let asked_meanwhile =
            self.again && self.wanted.keys().any(|name| !self.snapshot.topics.contains_key(name));
        self.due = Some(if asked_meanwhile { now } else { now + wait });
    }

    /// No broker answered, or one refused with this code.
    pub(crate) fn handle_failure(
        &mut self,
        code: Option<ErrorCode>,
        now: Instant,
        random: &mut fastrand::Rng,
    ) {
        self.due = Some(now + self.failures.record(&self.settings.backoff, random));
        if let (Some(after), Some(since)) = (self.settings.rebootstrap_after, self.unanswered) {
            let is_late = now.saturating_duration_since(since) >= after;
            self.is_lost |= is_late || code == Some(ErrorCode::REBOOTSTRAP_REQUIRED);
        }
    }

    /// Whether the bootstrap servers are to be asked before the brokers that are known (KIP-899, KIP-1102); until somebody
    /// has answered.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Takes over the leaders that a response named, with where they listen. Answers whether anything is new.
    pub(crate) fn handle_leader_hints(
        &mut self,
        hints: &[LeaderHint],
        endpoints: impl IntoIterator<Item = (BrokerId, Address)>,
    ) -> bool {
        let is_new = |hint: &&LeaderHint| {
            let topic = self.snapshot.topics.get(&hint.topic)?;
            let known = topic.partitions.get(usize::try_from(hint.partition).ok()?)?;
            Some(hint.leader_epoch > known.leader_epoch)
        };
        let hints: Vec<_> = hints.iter().filter(|hint| is_new(hint) == Some(true)).collect();
        if hints.is_empty() {
            return false;
        }
        let mut next = (*self.snapshot).clone();
        next.version += 1;
        next.brokers.extend(endpoints);
        for hint in hints {
            // A leader that cannot be reached is of no use.
            let leader = next.brokers.contains_key(&hint.leader).then_some(hint.leader);
            let Some(topic) = next.topics.get_mut(&hint.topic) else { continue };
            let topic = Arc::make_mut(topic);
            let Ok(index) = usize::try_from(hint.partition) else { continue };
            if let Some(partition) = topic.partitions.get_mut(index) {
                *partition = Partition { leader, leader_epoch: hint.leader_epoch };
            }
        }
        self.snapshot = Arc::new(next);
        true
    }
}

/// Reads a topic; where it tells of an older leader than is known, the known one stays.
fn read_topic(
    topic: &MetadataResponseTopic,
    known: Option<&Arc<Topic>>,
    racks: &BTreeMap<BrokerId, Str>,
) -> Topic {
    let known = known.filter(|known| known.id == topic.topic_id);
    if topic.error_code.is_error() {
        // A topic that was there and now has a passing error keeps its partitions: their leaders may still serve. That it is
        // not there is no such error, although a new one may be there soon.
        let may_pass =
            topic.error_code.is_retriable() && topic.error_code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        return match known {
            Some(known) if may_pass && !known.partitions.is_empty() => (**known).clone(),
            _ => Topic {
                id: topic.topic_id,
                partitions: Vec::new(),
                racks: Vec::new(),
                error: topic.error_code,
            },
        };
    }
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    let mut racks_of = Vec::new();
    let mut sorted: Vec<_> = topic.partitions.iter().collect();
    sorted.sort_unstable_by_key(|partition| partition.partition_index);
    for partition in sorted {
        // Partitions are numbered from 0 without gaps; a gap ends what can be used.
        if usize::try_from(partition.partition_index) != Ok(partitions.len()) {
            break;
        }
        let told = Partition {
            leader: (partition.leader_id != BrokerId::NONE).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
        };
        let known = known.and_then(|known| known.partitions.get(partitions.len()));
        partitions.push(match known {
            Some(known) if known.leader_epoch > told.leader_epoch && told.leader_epoch >= 0 => *known,
            _ => told,
        });
        if !racks.is_empty() {
            let of_replicas: BTreeSet<&Str> =
                partition.replica_nodes.iter().filter_map(|node| racks.get(node)).collect();
            racks_of.push(of_replicas.into_iter().cloned().collect());
        }
    }
    Topic { id: topic.topic_id, partitions, racks: racks_of, error: ErrorCode::NONE }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    use super::*;

    const SETTINGS: MetadataSettings = MetadataSettings {
        max_age: Duration::from_secs(300),
        max_idle: Duration::from_secs(300),
        backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) },
        allow_auto_topic_creation: true,
        rebootstrap_after: Some(Duration::from_secs(60)),
    };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn random() -> fastrand::Rng {
        fastrand::Rng::with_seed(1)
    }

    fn orders() -> TopicName {
        TopicName::from("orders")
    }

    fn response(leaders: &[(i32, i32)]) -> MetadataResponse {
        let broker = |id| MetadataResponseBroker {
            node_id: BrokerId(id),
            host: "h".into(),
            port: 9092 + id,
            rack: None,
        };
        let partition = |(index, &(leader, epoch)): (usize, &(i32, i32))| MetadataResponsePartition {
            partition_index: index as i32,
            leader_id: BrokerId(leader),
            leader_epoch: epoch,
            ..Default::default()
        };
        MetadataResponse {
            brokers: vec![broker(1), broker(2)],
            controller_id: BrokerId(1),
            topics: vec![MetadataResponseTopic {
                name: Some(orders()),
                topic_id: Uuid(9),
                partitions: leaders.iter().enumerate().map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    /// A client that uses `orders` and has been told of it.
    fn told(leaders: &[(i32, i32)], now: Instant) -> Metadata {
        let mut metadata = Metadata::new(SETTINGS, now);
        metadata.want(&orders(), now);
        let request = metadata.poll_request(now).unwrap();
        assert_eq!(request.topics.unwrap()[0].name, Some(orders()));
        metadata.handle_response(&response(leaders), now, &mut random());
        metadata
    }

    #[test]
    fn one_request_is_under_way_at_a_time() {
        let t0 = Instant::now();
        let mut metadata = Metadata::new(SETTINGS, t0);
        assert!(metadata.poll_request(t0).is_some());
        assert!(metadata.poll_request(t0).is_none());
        metadata.request_refresh(t0);
        assert_eq!(metadata.next_due(), None);
        metadata.handle_response(&MetadataResponse::default(), t0, &mut random());
        assert!(metadata.next_due().unwrap() <= t0 + ms(100), "asked for meanwhile, so it is due soon");
    }

    #[test]
    fn who_is_not_answered_for_long_begins_anew_until_somebody_answers() {
        let t0 = Instant::now();
        let mut metadata = told(&[(1, 5)], t0);
        let fail = |metadata: &mut Metadata, now, code| {
            metadata.request_refresh(now);
            let due = metadata.next_due().unwrap().max(now);
            metadata.poll_request(due).unwrap();
            metadata.handle_failure(code, due, &mut random());
        };
        let later = t0 + SETTINGS.max_age;
        fail(&mut metadata, later, None);
        fail(&mut metadata, later + ms(59_000), None);
        assert!(!metadata.is_lost(), "that nobody was asked for long does not count");
        fail(&mut metadata, later + ms(60_000), None);
        assert!(metadata.is_lost());
        let now = metadata.next_due().unwrap();
        metadata.poll_request(now).unwrap();
        metadata.handle_response(&response(&[(1, 5)]), now, &mut random());
        assert!(!metadata.is_lost());
        fail(&mut metadata, now + ms(200), Some(ErrorCode::REBOOTSTRAP_REQUIRED));
        assert!(metadata.is_lost(), "a broker said so");
        let settings = MetadataSettings { rebootstrap_after: None, ..SETTINGS };
        let mut metadata = Metadata::new(settings, t0);
        fail(&mut metadata, t0, None);
        fail(&mut metadata, t0 + ms(1_000_000), Some(ErrorCode::REBOOTSTRAP_REQUIRED));
        assert!(!metadata.is_lost(), "the strategy is `none`");
    }

    #[test]
    fn an_answer_is_good_until_its_age() {
        let t0 = Instant::now();
        let metadata = told(&[(1, 5), (2, 5)], t0);
        assert_eq!(metadata.snapshot().leader(&orders(), 1), Some((BrokerId(2), 5)));
        assert_eq!(metadata.snapshot().leader(&orders(), 2), None);
        assert_eq!(metadata.snapshot().leader(&orders(), -1), None);
        assert_eq!(metadata.next_due(), Some(t0 + SETTINGS.max_age));
    }

    #[test]
    fn a_refresh_keeps_its_distance_from_the_last_answer() {
        let t0 = Instant::now();
        let mut metadata = told(&[(1, 5)], t0);
        metadata.request_refresh(t0 + ms(10));
        assert_eq!(metadata.next_due(), Some(t0 + ms(100)));
        metadata.want(&TopicName::from("new"), t0 + ms(20));
        assert_eq!(metadata.next_due(), Some(t0 + ms(20)), "a new topic does not wait");
    }

    #[test]
    fn a_topic_asked_for_while_a_request_is_under_way_is_asked_next() {
        let t0 = Instant::now();
        let mut metadata = Metadata::new(SETTINGS, t0);
        metadata.poll_request(t0).unwrap();
        metadata.want(&orders(), t0);
        metadata.handle_response(&MetadataResponse::default(), t0 + ms(5), &mut random());
        let request = metadata.poll_request(t0 + ms(5)).unwrap();
        assert_eq!(request.topics.unwrap().len(), 1);
    }

    #[test]
    fn an_older_epoch_never_replaces_a_newer_one() {
        let t0 = Instant::now();
        let mut metadata = told(&[(1, 5)], t0);
        let hint = |leader, leader_epoch| LeaderHint {
            topic: orders(),
            partition: 0,
            leader: BrokerId(leader),
            leader_epoch,
        };
        assert!(metadata.handle_leader_hints(&[hint(2, 7)], []));
        assert!(!metadata.handle_leader_hints(&[hint(1, 6)], []));
        metadata.request_refresh(t0 + ms(200));
        metadata.poll_request(t0 + ms(200)).unwrap();
        metadata.handle_response(&response(&[(1, 6)]), t0 + ms(201), &mut random());
        assert_eq!(metadata.snapshot().leader(&orders(), 0), Some((BrokerId(2), 7)));
    }

    #[test]
    fn a_topic_created_anew_starts_over_with_its_epochs() {
        let t0 = Instant::now();
        let mut metadata = told(&[(1, 5)], t0);
        metadata.request_refresh(t0 + ms(200));
        metadata.poll_request(t0 + ms(200)).unwrap();
        let mut again = response(&[(2, 0)]);
        again.topics[0].topic_id = Uuid(10);
        metadata.handle_response(&again, t0 + ms(201), &mut random());
        assert_eq!(metadata.snapshot().leader(&orders(), 0), Some((BrokerId(2), 0)));
    }

    #[test]
    fn a_hint_brings_the_address_of_a_broker_not_yet_known() {
        let t0 = Instant::now();
        let mut metadata = told(&[(1, 5)], t0);
        let before = metadata.snapshot().version;
        let address = Address { host: "n".into(), port: 1 };
        let hint = LeaderHint { topic: orders(), partition: 0, leader: BrokerId(3), leader_epoch: 6 };
        assert!(metadata.handle_leader_hints(&[hint], [(BrokerId(3), address.clone())]));
        assert_eq!(metadata.snapshot().brokers.get(&BrokerId(3)), Some(&address));
        assert!(metadata.snapshot().version > before);
    }

    #[test]
    fn a_missing_leader_is_asked_about_with_growing_delays() {
        let t0 = Instant::now();
        let mut metadata = told(&[(-1, 5)], t0);
        let mut now = t0;
        let mut waits = Vec::new();
        for _ in 0..3 {
            let due = metadata.next_due().unwrap();
            waits.push(due - now);
            now = due;
            metadata.poll_request(now).unwrap();
            metadata.handle_response(&response(&[(-1, 5)]), now, &mut random());
        }
        assert!(waits[1] > waits[0] && waits[2] > waits[1], "{waits:?}");
    }

    #[test]
    fn a_topic_that_fails_for_good_has_no_partitions() {
        let t0 = Instant::now();
        let mut metadata = told(&[(1, 5)], t0);
        metadata.request_refresh(t0 + ms(200));
        metadata.poll_request(t0 + ms(200)).unwrap();
        let mut refused = response(&[]);
        refused.topics[0].error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
        metadata.handle_response(&refused, t0 + ms(201), &mut random());
        assert!(metadata.snapshot().topic("orders").is_none());
        assert_eq!(metadata.snapshot().topics[&orders()].error, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }

    #[test]
    fn a_topic_that_is_gone_has_no_partitions_and_one_in_trouble_keeps_them() {
        let t0 = Instant::now();
        for (code, leader) in [
            (ErrorCode::LEADER_NOT_AVAILABLE, Some((BrokerId(1), 5))),
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None),
        ] {
            let mut metadata = told(&[(1, 5)], t0);
            metadata.request_refresh(t0 + ms(200));
            metadata.poll_request(t0 + ms(200)).unwrap();
            // Also from a broker that knows no ids.
            let mut refused = response(&[]);
            refused.topics[0].error_code = code;
            metadata.handle_response(&refused, t0 + ms(201), &mut random());
            assert_eq!(metadata.snapshot().leader(&orders(), 0), leader, "{code}");
            assert!(metadata.next_due().unwrap() < t0 + ms(1_000), "it is asked for again");
        }
    }

    #[test]
    fn an_unused_topic_is_forgotten() {
        let t0 = Instant::now();
        let mut metadata = told(&[(1, 5)], t0);
        let later = t0 + SETTINGS.max_idle + ms(1);
        let request = metadata.poll_request(later).unwrap();
        assert_eq!(request.topics.unwrap().len(), 0);
        metadata.handle_response(&MetadataResponse::default(), later, &mut random());
        assert!(metadata.snapshot().topic("orders").is_none());
    }

    #[test]
    fn racks_are_those_of_the_replicas() {
        let mut metadata = Metadata::new(SETTINGS, Instant::now());
        metadata.want(&orders(), Instant::now());
        metadata.poll_request(Instant::now()).unwrap();
        let mut response = response(&[(1, 1), (2, 1)]);
        for partition in &mut response.topics[0].partitions {
            partition.replica_nodes = [2, 1, 3].map(BrokerId).to_vec();
        }
        response.topics[0].partitions[1].replica_nodes = vec![BrokerId(2)];
        metadata.handle_response(&response, Instant::now(), &mut random());
        assert!(metadata.snapshot().topic("orders").unwrap().racks.is_empty(), "nobody tells");
        response.brokers[0].rack = Some("b".into());
        response.brokers[1].rack = Some("a".into());
        metadata.handle_response(&response, Instant::now(), &mut random());
        let racks: [Vec<Str>; 2] = [vec!["a".into(), "b".into()], vec!["a".into()]];
        assert_eq!(metadata.snapshot().topic("orders").unwrap().racks, racks);
    }
}
