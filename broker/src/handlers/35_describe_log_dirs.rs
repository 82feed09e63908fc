//! DescribeLogDirs, versions 1 to 5: what lies in each log directory, and how full its volume is (KIP-113).
//!
//! - 4: size of the volume, and room on it (KIP-827).
//! - 5: whether a directory is cordoned (KIP-1066); none is here.

use std::{collections::HashMap, path::Path, sync::Arc};

use ottla_protocol::{
    error_code::ErrorCode,
    messages::describe_log_dirs::{
        DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
        DescribeLogDirsResult, DescribeLogDirsTopic,
    },
    types::{Str, TopicName},
};

use super::{
    Context, RequestContext,
    access::{self, Access},
};
use crate::{
    log::Space,
    replica::{Replica, Table, TopicReplicas, directories::Directory},
};

pub(crate) async fn handle(
    request: DescribeLogDirsRequest,
    rq: &RequestContext,
    cx: &Context,
) -> DescribeLogDirsResponse {
    // Before version 3 the answer has no error; it is empty.
    if let Err(error_code) = Access::of(rq, cx).check_cluster(access::DESCRIBE_CLUSTER) {
        return DescribeLogDirsResponse { error_code, ..DescribeLogDirsResponse::default() };
    }
    let asked = request.topics.as_deref().map(by_topic);
    let directories = cx.replicas.directories();
    let mut results = Vec::new();
    for directory in directories.usable() {
        results.push(match directory.is_online() {
            true => describe(directory, space(directory).await, &cx.replicas.table(), asked.as_ref()),
            false => offline(directory.path()),
        });
    }
    results.extend(directories.unusable().iter().map(|directory| offline(&directory.path)));
    DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() }
}

/// The partitions that were asked for.
fn by_topic(topics: &[DescribableLogDirTopic]) -> HashMap<&TopicName, &[i32]> {
    topics.iter().map(|topic| (&topic.topic, &*topic.partitions)).collect()
}

fn describe(
    directory: &Arc<Directory>,
    space: Option<Space>,
    table: &Table,
    asked: Option<&HashMap<&TopicName, &[i32]>>,
) -> DescribeLogDirsResult {
    let topic = |topic: &Arc<TopicReplicas>| {
        let wanted = match asked {
            None => None,
            Some(asked) => Some(*asked.get(&topic.name)?),
        };
        let is_wanted = |replica: &&Arc<Replica>| {
            Arc::ptr_eq(&replica.directory, directory)
                && wanted.is_none_or(|indexes| indexes.contains(&replica.id.index))
        };
        let partitions: Vec<_> =
            topic.replicas().filter(is_wanted).map(|replica| partition(replica)).collect();
        (!partitions.is_empty()).then(|| DescribeLogDirsTopic { name: topic.name.clone(), partitions })
    };
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    DescribeLogDirsResult {
        error_code: ErrorCode::NONE,
        log_dir: absolute(directory.path()),
        topics: table.topics().filter_map(topic).collect(),
        total_bytes: space.map_or(-1, |space| bytes(space.total_bytes)),
        usable_bytes: space.map_or(-1, |space| bytes(space.usable_bytes)),
        is_cordoned: false,
    }
}

fn partition(replica: &Replica) -> DescribeLogDirsPartition {
    let reader = &replica.reader;
    DescribeLogDirsPartition {
        partition_index: replica.id.index,
        partition_size: i64::try_from(reader.size_bytes()).unwrap_or(i64::MAX),
        offset_lag: (reader.high_watermark() - reader.end_offset()).max(0),
        is_future_key: false,
    }
}

fn offline(path: &Path) -> DescribeLogDirsResult {
    DescribeLogDirsResult {
        error_code: ErrorCode::KAFKA_STORAGE_ERROR,
        log_dir: absolute(path),
        ..DescribeLogDirsResult::default()
    }
}

/// Room on the volume. A network's file system may take its time to tell.
async fn space(directory: &Arc<Directory>) -> Option<Space> {
    let directory = Arc::clone(directory);
    let asked = tokio::task::spawn_blocking(move || directory.log().space()).await.ok()?;
    asked.inspect_err(|error| tracing::warn!(%error, "room on a volume is not known")).ok()
}

fn absolute(path: &Path) -> Str {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string().into()
}
