//! Incremental fetches (KIP-227): a broker remembers what a client fetches, and a request names only what changed.
//! Does no I/O.
//!
//! One [`FetchSession`] stands for one broker. [`FetchSession::next_request`] compares what is wanted with what the
//! broker knows; [`FetchSession::handle_response`] and [`FetchSession::handle_failure`] tell how it went. One request
//! is under way at a time: each has the epoch that follows the last one's.

use std::collections::HashMap;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic},
    types::{TopicName, Uuid},
};

/// The epoch of a request that opens a session.
const INITIAL_EPOCH: i32 = 0;

/// What one broker remembers of this client's fetches.
#[derive(Debug)]
pub(crate) struct FetchSession {
    /// 0 as long as there is none.
    id: i32,
    /// The epoch of the next request.
    epoch: i32,
    /// What the broker knows, if all went well.
    known: HashMap<Key, Known>,
    /// Whether the last request was sent with topic ids; a session cannot change that.
    by_id: bool,
    /// Counts requests, to find what is no longer wanted.
    round: u64,
}

/// A partition as the session knows it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    topic: TopicName,
    topic_id: Uuid,
    partition: i32,
}

#[derive(Debug)]
struct Known {
    sent: FetchPartition,
    round: u64,
}

/// A partition that is to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The topic.
    pub topic: TopicName,
    /// Its id; zero if it has none.
    pub topic_id: Uuid,
    /// Where and how much.
    pub fetch: FetchPartition,
}

/// The part of a request that the session decides.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SessionRequest {
    /// 0 to open a session.
    pub session_id: i32,
    /// Counts the requests of the session.
    pub session_epoch: i32,
    /// What is new or changed.
    pub topics: Vec<FetchTopic>,
    /// What is no longer wanted.
    pub forgotten: Vec<ForgottenTopic>,
}

/// What a response means for the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SessionOutcome {
    /// Its partitions can be read.
    Read,
    /// The broker does not know the session; the next request opens another.
    Again,
}

impl FetchSession {
    /// No session yet.
    pub(crate) fn new() -> Self {
        Self { id: 0, epoch: INITIAL_EPOCH, known: HashMap::new(), by_id: false, round: 0 }
    }

    /// The next request for what is `wanted`, with topic ids or names.
    pub(crate) fn next_request(&mut self, wanted: Vec<Wanted>, by_id: bool) -> SessionRequest {
        if by_id != self.by_id {
            self.by_id = by_id;
            self.handle_failure();
        }
        self.round += 1;
        let mut request =
            SessionRequest { session_id: self.id, session_epoch: self.epoch, ..SessionRequest::default() };
        if self.epoch == INITIAL_EPOCH {
            self.known.clear();
        }
        for Wanted { topic, topic_id, fetch } in wanted {
            let key = Key { topic, topic_id, partition: fetch.partition };
            match self.known.get_mut(&key) {
                Some(known) => {
                    known.round = self.round;
                    if known.sent != fetch {
                        known.sent = fetch.clone();
                        add(&mut request.topics, &key, fetch);
                    }
                }
                None => {
                    add(&mut request.topics, &key, fetch.clone());
                    self.known.insert(key, Known { sent: fetch, round: self.round });
                }
            }
        }
        let round = self.round;
        for (key, _) in self.known.extract_if(|_, known| known.round != round) {
            forget(&mut request.forgotten, key);
        }
        request
    }

    /// A request for what was wanted last; `None` without a session, where each request is whole.
    pub(crate) fn repeat_request(&self) -> Option<SessionRequest> {
        let is_open = self.id != 0 && self.epoch != INITIAL_EPOCH;
        is_open.then(|| SessionRequest {
            session_id: self.id,
            session_epoch: self.epoch,
            ..SessionRequest::default()
        })
    }

    /// Takes a response's code and session id. With [`SessionOutcome::Again`] nothing else of it counts.
    pub(crate) fn handle_response(&mut self, code: ErrorCode, session_id: i32) -> SessionOutcome {
        match code {
            ErrorCode::NONE => {
                if session_id == 0 {
                    // The broker keeps none for us: all its places are taken. Each request is whole.
                    *self = Self { round: self.round, by_id: self.by_id, ..Self::new() };
                } else {
                    self.id = session_id;
                    self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
                }
                SessionOutcome::Read
            }
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND => {
                *self = Self { round: self.round, by_id: self.by_id, ..Self::new() };
                SessionOutcome::Again
            }
            _ => {
                self.handle_failure();
                SessionOutcome::Again
            }
        }
    }

    /// No answer came, or a wrong one: nobody knows what the broker has seen. The next request closes the session and
    /// opens another.
    pub(crate) fn handle_failure(&mut self) {
        self.epoch = INITIAL_EPOCH;
    }
}

fn add(topics: &mut Vec<FetchTopic>, key: &Key, fetch: FetchPartition) {
    match topics.iter_mut().rev().find(|topic| topic.topic == key.topic && topic.topic_id == key.topic_id) {
        Some(topic) => topic.partitions.push(fetch),
        None => topics.push(FetchTopic {
            topic: key.topic.clone(),
            topic_id: key.topic_id,
            partitions: vec![fetch],
        }),
    }
}

fn forget(forgotten: &mut Vec<ForgottenTopic>, key: Key) {
    let same = |topic: &&mut ForgottenTopic| topic.topic == key.topic && topic.topic_id == key.topic_id;
    match forgotten.iter_mut().find(same) {
        Some(topic) => topic.partitions.push(key.partition),
        None => forgotten.push(ForgottenTopic {
            topic: key.topic,
            topic_id: key.topic_id,
            partitions: vec![key.partition],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
        Wanted {
            topic: TopicName::from("orders"),
            topic_id: Uuid(9),
            fetch: FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            },
        }
    }

    fn offsets(request: &SessionRequest) -> Vec<(i32, i64)> {
        request.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.partition, p.fetch_offset)).collect()
    }

    /// A session of id 77 that knows partitions 0 and 1 at offset 0.
    fn open() -> FetchSession {
        let mut session = FetchSession::new();
        let request = session.next_request(vec![wanted(0, 0), wanted(1, 0)], true);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(offsets(&request), [(0, 0), (1, 0)]);
        assert_eq!(session.handle_response(ErrorCode::NONE, 77), SessionOutcome::Read);
        session
    }

    #[test]
    fn a_request_names_what_changed() {
        let mut session = open();
        let request = session.next_request(vec![wanted(0, 50), wanted(1, 0)], true);
        assert_eq!((request.session_id, request.session_epoch), (77, 1));
        assert_eq!(offsets(&request), [(0, 50)]);
        session.handle_response(ErrorCode::NONE, 77);
        let request = session.next_request(vec![wanted(0, 50), wanted(1, 0)], true);
        assert_eq!((request.session_epoch, request.topics.len()), (2, 0));
    }

    #[test]
    fn the_same_is_asked_again_without_a_look_at_what_it_is() {
        let mut session = open();
        session.next_request(vec![wanted(0, 50), wanted(1, 0)], true);
        session.handle_response(ErrorCode::NONE, 77);
        let again = session.repeat_request().unwrap();
        assert_eq!(again, SessionRequest { session_id: 77, session_epoch: 2, ..SessionRequest::default() });
        session.handle_response(ErrorCode::NONE, 77);
        let request = session.next_request(vec![wanted(0, 50), wanted(1, 7)], true);
        assert_eq!(
            (request.session_epoch, offsets(&request)),
            (3, vec![(1, 7)]),
            "it is known what was asked"
        );
        session.handle_failure();
        assert_eq!(session.repeat_request(), None, "there is no session to repeat it in");
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten_and_may_come_back() {
        let mut session = open();
        let request = session.next_request(vec![wanted(1, 0)], true);
        assert_eq!(request.forgotten[0].partitions, [0]);
        assert!(request.topics.is_empty());
        session.handle_response(ErrorCode::NONE, 77);
        let request = session.next_request(vec![wanted(0, 0), wanted(1, 0)], true);
        assert_eq!(offsets(&request), [(0, 0)]);
        assert!(request.forgotten.is_empty());
    }

    #[test]
    fn a_topic_created_anew_takes_the_place_of_the_old() {
        let mut session = open();
        let again = Wanted { topic_id: Uuid(10), ..wanted(0, 0) };
        let request = session.next_request(vec![again, wanted(1, 0)], true);
        assert_eq!((request.topics[0].topic_id, request.forgotten[0].topic_id), (Uuid(10), Uuid(9)));
    }

    #[test]
    fn an_unknown_session_is_opened_anew() {
        let mut session = open();
        session.next_request(vec![wanted(0, 50), wanted(1, 0)], true);
        let outcome = session.handle_response(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
        assert_eq!(outcome, SessionOutcome::Again);
        let request = session.next_request(vec![wanted(0, 50), wanted(1, 0)], true);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(offsets(&request), [(0, 50), (1, 0)]);
    }

    #[test]
    fn after_a_failure_the_old_session_is_closed_by_the_new() {
        let mut session = open();
        session.next_request(vec![wanted(0, 50)], true);
        session.handle_failure();
        let request = session.next_request(vec![wanted(0, 50)], true);
        assert_eq!((request.session_id, request.session_epoch), (77, 0));
        assert_eq!(offsets(&request), [(0, 50)]);
        assert!(request.forgotten.is_empty(), "a whole request needs to forget nothing");
    }

    #[test]
    fn a_broker_without_room_gets_whole_requests() {
        let mut session = FetchSession::new();
        for _ in 0..2 {
            let request = session.next_request(vec![wanted(0, 0)], true);
            assert_eq!((request.session_id, request.session_epoch, request.topics.len()), (0, 0, 1));
            assert_eq!(session.handle_response(ErrorCode::NONE, 0), SessionOutcome::Read);
        }
    }

    #[test]
    fn names_after_ids_begin_a_new_session() {
        let mut session = open();
        let request = session.next_request(vec![wanted(0, 0), wanted(1, 0)], false);
        assert_eq!((request.session_id, request.session_epoch), (77, 0));
        assert_eq!(offsets(&request).len(), 2);
    }

    #[test]
    fn epochs_wrap_to_one() {
        let mut session = open();
        session.epoch = i32::MAX;
        session.next_request(vec![wanted(0, 0)], true);
        session.handle_response(ErrorCode::NONE, 77);
        assert_eq!(session.next_request(vec![wanted(0, 0)], true).session_epoch, 1);
    }
}
