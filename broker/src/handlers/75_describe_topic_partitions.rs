//! DescribeTopicPartitions, version 0: topics page by page, with eligible leader replicas (KIP-966).
//!
//! Topics come in the order of their names; a page ends at its limit, with a cursor at what comes next.

use std::collections::BTreeSet;

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_topic_partitions::{
        Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    },
    types::{BrokerId, TopicName},
};

use super::{
    Context, RequestContext,
    access::{self, Access},
    nodes::Cluster,
};
use crate::metadata::{
    image::{Partition, Topic},
    is_internal,
};

/// Most partitions in one answer (the default of `max.request.partition.size.limit`).
const PARTITIONS_PER_ANSWER_MAX: i32 = 2_000;

pub(crate) async fn handle(
    request: DescribeTopicPartitionsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeTopicPartitionsResponse {
    let cluster = Cluster::now(cx);
    let image = &cluster.image;
    let asked: BTreeSet<&TopicName> = request.topics.iter().map(|topic| &topic.name).collect();
    let mut page = Page::new(&request);
    let Some(first) = first_topic(&request, &asked) else {
        let invalid = |name: &&TopicName| failed(name, ErrorCode::INVALID_REQUEST);
        return DescribeTopicPartitionsResponse {
            topics: asked.iter().map(invalid).collect(),
            ..Default::default()
        };
    };
    let access = Access::of(rq, cx);
    let mut forbidden = Vec::new();
    if asked.is_empty() {
        let mut seen =
            image.topics_from(&first).filter(|it| access.may_see(access::DESCRIBE_TOPIC, &it.name));
        seen.all(|topic| page.add(&cluster, topic));
    } else {
        let (seen, unseen): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .filter(|name| **name >= first)
            .partition(|name| access.may(access::DESCRIBE_TOPIC, name));
        seen.into_iter().all(|name| match image.topic(name) {
            Some(topic) => page.add(&cluster, topic),
            None => page.add_missing(name),
        });
        // Whether there are such topics is not looked at.
        forbidden.extend(unseen.into_iter().map(|name| DescribeTopicPartitionsResponseTopic {
            is_internal: false,
            ..failed(name, access::DESCRIBE_TOPIC.refusal())
        }));
    }
    let mut response = page.response;
    for topic in &mut response.topics {
        let name = topic.name.as_deref().unwrap_or_default();
        topic.topic_authorized_operations = access.topic_operations(true, name);
    }
    response.topics.append(&mut forbidden);
    response
}

/// The topic to begin with; none if the cursor is not of what was asked for.
fn first_topic(request: &DescribeTopicPartitionsRequest, asked: &BTreeSet<&TopicName>) -> Option<TopicName> {
    let Some(cursor) = &request.cursor else { return Some(TopicName::default()) };
    let is_asked = asked.is_empty() || asked.contains(&cursor.topic_name);
    (is_asked && cursor.partition_index >= 0).then(|| cursor.topic_name.clone())
}

/// An answer that fills up.
struct Page<'a> {
    cursor: Option<&'a Cursor>,
    /// Partitions that still have room.
    room: usize,
    response: DescribeTopicPartitionsResponse,
}

impl<'a> Page<'a> {
    fn new(request: &'a DescribeTopicPartitionsRequest) -> Self {
        Self {
            cursor: request.cursor.as_ref(),
            room: request.response_partition_limit.clamp(1, PARTITIONS_PER_ANSWER_MAX) as usize,
            response: DescribeTopicPartitionsResponse::default(),
        }
    }

    /// Adds what has room of a topic; false once the page is full.
    fn add(&mut self, cluster: &Cluster, topic: &Topic) -> bool {
        let from = match self.cursor {
            Some(cursor) if cursor.topic_name == topic.name => cursor.partition_index as usize,
            _ => 0,
        };
        if self.is_full(&topic.name) {
            return false;
        }
        let rest = topic.partitions.iter().enumerate().skip(from);
        let partitions: Vec<_> =
            rest.take(self.room).map(|(index, p)| describe(cluster, topic, index, p)).collect();
        let next = from + partitions.len();
        self.room -= partitions.len();
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if next < topic.partitions.len() {
            let (topic_name, partition_index) = (topic.name.clone(), next as i32);
            self.response.next_cursor = Some(Cursor { topic_name, partition_index });
            return false;
        }
        true
    }

    fn add_missing(&mut self, name: &TopicName) -> bool {
        if self.is_full(name) {
            return false;
        }
        let code = match name.check() {
            Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        };
        self.response.topics.push(failed(name, code));
        true
    }

    /// Whether there is no room even to begin with a topic, which the cursor then points to.
    fn is_full(&mut self, next: &TopicName) -> bool {
        if self.room == 0 {
            self.response.next_cursor = Some(Cursor { topic_name: next.clone(), partition_index: 0 });
        }
        self.room == 0
    }
}

fn failed(name: &TopicName, error_code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(name.clone()),
        is_internal: is_internal(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn describe(
    cluster: &Cluster,
    topic: &Topic,
    index: usize,
    partition: &Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let index = index as i32;
    let leader = cluster.leader(topic, index, partition);
    DescribeTopicPartitionsResponsePartition {
        error_code: if leader.is_some() { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE },
        partition_index: index,
        leader_id: leader.unwrap_or(BrokerId::NONE),
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.to_vec(),
        isr_nodes: partition.isr.to_vec(),
        eligible_leader_replicas: Some(partition.eligible_leader_replicas.to_vec()),
        last_known_elr: Some(partition.last_known_elr.to_vec()),
        offline_replicas: cluster.offline_replicas(topic, index, partition),
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::describe_topic_partitions::TopicRequest;

    use super::*;
    use crate::handlers::testing::{Broker, ask, make_topics};

    fn request(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
        DescribeTopicPartitionsRequest {
            topics: names.iter().map(|&name| TopicRequest { name: name.into() }).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(name, partition_index)| Cursor { topic_name: name.into(), partition_index }),
        }
    }

    fn told(response: &DescribeTopicPartitionsResponse) -> Vec<(String, Vec<i32>)> {
        let indexes = |t: &DescribeTopicPartitionsResponseTopic| {
            t.partitions.iter().map(|p| p.partition_index).collect()
        };
        response.topics.iter().map(|t| (t.name.as_deref().unwrap_or("-").to_owned(), indexes(t))).collect()
    }

    fn next(response: &DescribeTopicPartitionsResponse) -> Option<(&str, i32)> {
        response.next_cursor.as_ref().map(|c| (&*c.topic_name, c.partition_index))
    }

    #[tokio::test]
    async fn pages_follow_each_other_to_the_end_whatever_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "num.partitions=3").await;
        make_topics(&broker, &["b", "a", "c"]).await;
        for limit in [1, 2, 3, 4, 9, 10, 0, -1, i32::MAX] {
            let mut seen = Vec::new();
            let mut cursor: Option<(String, i32)> = None;
            loop {
                let at = cursor.as_ref().map(|(name, index)| (&**name, *index));
                let answer = ask!(broker, 0, request(&[], limit, at));
                let page: Vec<_> = told(&answer)
                    .into_iter()
                    .flat_map(|(name, indexes)| indexes.into_iter().map(move |i| format!("{name}-{i}")))
                    .collect();
                assert!(page.len() <= limit.clamp(1, 9) as usize && !page.is_empty());
                seen.extend(page);
                cursor = next(&answer).map(|(name, index)| (name.to_owned(), index));
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(
                seen,
                ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2", "c-0", "c-1", "c-2"],
                "limit {limit}"
            );
        }
    }

    #[tokio::test]
    async fn named_topics_come_in_order_and_missing_ones_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a", "c"]).await;
        let answer = ask!(broker, 0, request(&["c", "b", "a", "a", "d/e"], 10, None));
        let codes: Vec<_> =
            answer.topics.iter().map(|t| (t.name.as_deref().unwrap_or("-"), t.error_code)).collect();
        use ErrorCode as E;
        assert_eq!(
            codes,
            [
                ("a", E::NONE),
                ("b", E::UNKNOWN_TOPIC_OR_PARTITION),
                ("c", E::NONE),
                ("d/e", E::INVALID_TOPIC_EXCEPTION)
            ]
        );
        assert_eq!(answer.topics[0].partitions[0].eligible_leader_replicas, Some(vec![]));
        assert_eq!(answer.topics[0].topic_authorized_operations, 3576);
        let answer = ask!(broker, 0, request(&["a", "c"], 10, Some(("c", 0))));
        assert_eq!(told(&answer), [("c".to_owned(), vec![0])]);
    }

    #[tokio::test]
    async fn a_cursor_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "").await;
        make_topics(&broker, &["a"]).await;
        for cursor in [("b", 0), ("a", -1)] {
            let answer = ask!(broker, 0, request(&["a"], 10, Some(cursor)));
            assert_eq!(answer.topics[0].error_code, ErrorCode::INVALID_REQUEST);
        }
        let beyond = ask!(broker, 0, request(&[], 10, Some(("a", i32::MAX))));
        assert_eq!(told(&beyond), [("a".to_owned(), vec![])]);
        assert!(ask!(broker, 0, request(&[], 10, Some(("z", 0)))).topics.is_empty(), "deleted meanwhile");
    }
}
