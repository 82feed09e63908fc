//! Fetch sessions (KIP-227): a consumer names its partitions once, then only what changes.
//!
//! A session is a list of partitions that the broker keeps between fetches, and an epoch that counts them, so
//! that a lost or repeated fetch is noticed. An answer holds only partitions that have something new to tell.
//! Does no I/O: the handler feeds it with requests and asks what to read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::fetch::{FetchPartition, FetchRequest},
    types::{TopicName, Uuid},
};

/// The epoch of a fetch that wants a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a fetch that wants none.
const FINAL_EPOCH: i32 = -1;
/// A session not used for this long may be evicted for another.
pub(crate) const EVICTION_MS: i64 = 120_000;

/// A topic as a request names it: by id from version 13, by name before.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct TopicKey {
    /// Empty if the id is given.
    pub(crate) name: TopicName,
    /// Zero if the name is given.
    pub(crate) id: Uuid,
}

/// What a fetch wants of one partition, and what it was told last.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    /// As the request gave it: index, offset, epochs and limits.
    pub(crate) partition: FetchPartition,
    /// High watermark of the last answer; -1 before the first.
    pub(crate) told_high_watermark: i64,
    /// Log start offset of the last answer; -1 before the first.
    pub(crate) told_start_offset: i64,
    /// Whether the last answer was an error: the next one is sent even if nothing changed.
    pub(crate) told_error: bool,
}

impl Wanted {
    fn new(topic: TopicKey, partition: FetchPartition) -> Self {
        Self { topic, partition, told_high_watermark: -1, told_start_offset: -1, told_error: false }
    }
}

/// One consumer's partitions.
#[derive(Debug)]
pub(crate) struct Session {
    id: i32,
    /// The epoch that the next fetch must have.
    next_epoch: i32,
    /// Whether topics are named by id, as the first fetch did.
    by_id: bool,
    wanted: Vec<Wanted>,
    places: HashMap<(TopicKey, i32), usize>,
    /// Where the next answer begins, so that a busy partition cannot starve those after it.
    first: usize,
    last_used_ms: i64,
}

impl Session {
    /// The partitions, beginning with the one whose turn it is.
    pub(crate) fn wanted(&mut self) -> impl Iterator<Item = &mut Wanted> {
        let first = self.first.min(self.wanted.len());
        let (before, after) = self.wanted.split_at_mut(first);
        after.iter_mut().chain(before)
    }

    /// Says that the first `count` partitions of [`Session::wanted`] gave records; the next one has its turn.
    pub(crate) fn served(&mut self, count: usize) {
        if !self.wanted.is_empty() {
            self.first = (self.first + count) % self.wanted.len();
        }
    }

    fn put(&mut self, topic: &TopicKey, partition: FetchPartition) {
        // The session outlives the request's frame, so it keeps a name of its own.
        let key = (TopicKey { name: topic.name.detached(), id: topic.id }, partition.partition);
        match self.places.get(&key).and_then(|&at| self.wanted.get_mut(at)) {
            Some(wanted) => wanted.partition = partition,
            None => {
                self.wanted.push(Wanted::new(key.0.clone(), partition));
                self.places.insert(key, self.wanted.len() - 1);
            }
        }
    }

    fn forget(&mut self, topic: &TopicKey, partition: i32) {
        let key = (topic.clone(), partition);
        let Some(at) = self.places.remove(&key) else { return };
        self.wanted.swap_remove(at);
        if let Some(moved) = self.wanted.get(at) {
            self.places.insert((moved.topic.clone(), moved.partition.partition), at);
        }
    }
}

/// What a fetch request amounts to.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Everything that the request names, and nothing is kept.
    Sessionless(Vec<Wanted>),
    /// A session that begins with this fetch: the answer holds every partition.
    New(Arc<Mutex<Session>>, i32),
    /// The next fetch of a session: the answer holds what changed.
    Incremental(Arc<Mutex<Session>>, i32),
}

/// All sessions of the broker: Kafka's `max.incremental.fetch.session.cache.slots`.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<i32, Arc<Mutex<Session>>>,
    last_id: i32,
}

impl FetchSessions {
    /// Room for `slots_max` sessions.
    pub(crate) fn new(slots_max: usize) -> Self {
        Self { slots_max, state: Mutex::default() }
    }

    /// Decides what `request` wants. `version` tells how it names topics.
    pub(crate) fn plan(&self, request: FetchRequest, version: i16, now_ms: i64) -> Result<Plan, ErrorCode> {
        let by_id = version >= 13;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if request.session_epoch == INITIAL_EPOCH || request.session_epoch == FINAL_EPOCH {
            // A full fetch ends the session that it names.
            state.sessions.remove(&request.session_id);
            if request.session_epoch == FINAL_EPOCH || version < 7 || !self.make_room(&mut state, now_ms) {
                return Ok(Plan::Sessionless(partitions(request).map(|(t, p)| Wanted::new(t, p)).collect()));
            }
            return Ok(self.begin(&mut state, request, by_id, now_ms));
        }
        let session = state.sessions.get(&request.session_id).cloned();
        drop(state);
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let id = request.session_id;
        {
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            if session.next_epoch != request.session_epoch {
                return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
            }
            if session.by_id != by_id && !session.wanted.is_empty() {
                return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
            }
            session.by_id = by_id;
            session.next_epoch = session.next_epoch.checked_add(1).unwrap_or(1);
            session.last_used_ms = now_ms;
            for topic in &request.forgotten_topics_data {
                let key = TopicKey { name: topic.topic.clone(), id: topic.topic_id };
                topic.partitions.iter().for_each(|&p| session.forget(&key, p));
            }
            partitions(request).for_each(|(topic, partition)| session.put(&topic, partition));
        }
        Ok(Plan::Incremental(session, id))
    }

    /// Ends a session that nobody knows of yet.
    pub(crate) fn end(&self, id: i32) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sessions.remove(&id);
    }

    fn begin(&self, state: &mut State, request: FetchRequest, by_id: bool, now_ms: i64) -> Plan {
        // Ids only need to differ from those in use; 0 means "no session".
        let mut id = state.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !state.sessions.contains_key(&id) {
                break;
            }
        }
        state.last_id = id;
        let mut session = Session {
            id,
            next_epoch: 1,
            by_id,
            wanted: Vec::new(),
            places: HashMap::new(),
            first: 0,
            last_used_ms: now_ms,
        };
        partitions(request).for_each(|(topic, partition)| session.put(&topic, partition));
        let session = Arc::new(Mutex::new(session));
        state.sessions.insert(id, Arc::clone(&session));
        Plan::New(session, id)
    }

    /// Whether there is room for one more, if need be in place of one that was not used for long.
    fn make_room(&self, state: &mut State, now_ms: i64) -> bool {
        if state.sessions.len() < self.slots_max {
            return true;
        }
        let oldest = state
            .sessions
            .values()
            .map(|s| {
                let s = s.lock().unwrap_or_else(PoisonError::into_inner);
                (s.last_used_ms, s.id)
            })
            .min();
        match oldest {
            Some((last_used_ms, id)) if now_ms - last_used_ms > EVICTION_MS => {
                state.sessions.remove(&id);
                true
            }
            _ => false,
        }
    }
}

fn partitions(request: FetchRequest) -> impl Iterator<Item = (TopicKey, FetchPartition)> {
    request.topics.into_iter().flat_map(|topic| {
        let key = TopicKey { name: topic.topic, id: topic.topic_id };
        topic.partitions.into_iter().map(move |partition| (key.clone(), partition))
    })
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::fetch::{FetchTopic, ForgottenTopic};

    use super::*;

    fn request(session_id: i32, session_epoch: i32, partitions: &[i32]) -> FetchRequest {
        let partitions =
            partitions.iter().map(|&partition| FetchPartition { partition, ..Default::default() }).collect();
        let topics = vec![FetchTopic { topic_id: Uuid(1), partitions, ..Default::default() }];
        FetchRequest { session_id, session_epoch, topics, ..Default::default() }
    }

    fn indexes(session: &Arc<Mutex<Session>>) -> Vec<i32> {
        session.lock().unwrap().wanted().map(|w| w.partition.partition).collect()
    }

    fn begin(sessions: &FetchSessions, partitions: &[i32]) -> (Arc<Mutex<Session>>, i32) {
        match sessions.plan(request(0, INITIAL_EPOCH, partitions), 17, 0).unwrap() {
            Plan::New(session, id) => (session, id),
            other => panic!("a session was asked for: {other:?}"),
        }
    }

    #[test]
    fn a_session_keeps_its_partitions_and_takes_changes() {
        let sessions = FetchSessions::new(10);
        let (_, id) = begin(&sessions, &[0, 1, 2]);
        let mut next = request(id, 1, &[3]);
        next.forgotten_topics_data =
            vec![ForgottenTopic { topic_id: Uuid(1), partitions: vec![0, 9], ..Default::default() }];
        let Plan::Incremental(session, _) = sessions.plan(next, 17, 0).unwrap() else {
            panic!("incremental")
        };
        let mut left = indexes(&session);
        left.sort_unstable();
        assert_eq!(left, [1, 2, 3]);
    }

    #[test]
    fn a_lost_or_repeated_fetch_is_noticed() {
        let sessions = FetchSessions::new(10);
        let (_, id) = begin(&sessions, &[0]);
        let refused = |id, epoch, version| sessions.plan(request(id, epoch, &[]), version, 0).unwrap_err();
        assert_eq!(refused(id, 2, 17), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        assert_eq!(refused(id + 1, 1, 17), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert_eq!(refused(id, 1, 12), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        assert!(sessions.plan(request(id, 1, &[]), 17, 0).is_ok());
        assert_eq!(refused(id, 1, 17), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    }

    #[test]
    fn a_final_fetch_ends_its_session() {
        let sessions = FetchSessions::new(10);
        let (_, id) = begin(&sessions, &[0]);
        let plan = sessions.plan(request(id, FINAL_EPOCH, &[0]), 17, 0).unwrap();
        assert!(matches!(plan, Plan::Sessionless(wanted) if wanted.len() == 1));
        let gone = sessions.plan(request(id, 1, &[]), 17, 0).unwrap_err();
        assert_eq!(gone, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    }

    #[test]
    fn a_full_cache_evicts_only_what_was_not_used_for_long() {
        let sessions = FetchSessions::new(1);
        let (_, first) = begin(&sessions, &[0]);
        let soon = sessions.plan(request(0, INITIAL_EPOCH, &[0]), 17, EVICTION_MS).unwrap();
        assert!(matches!(soon, Plan::Sessionless(_)));
        let later = sessions.plan(request(0, INITIAL_EPOCH, &[0]), 17, EVICTION_MS + 1).unwrap();
        assert!(matches!(later, Plan::New(_, id) if id != first));
    }

    #[test]
    fn turns_go_round() {
        let sessions = FetchSessions::new(1);
        let (session, _) = begin(&sessions, &[0, 1, 2]);
        session.lock().unwrap().served(2);
        assert_eq!(indexes(&session), [2, 0, 1]);
        session.lock().unwrap().served(1);
        assert_eq!(indexes(&session), [0, 1, 2]);
    }
}
