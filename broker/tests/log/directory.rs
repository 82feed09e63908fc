//! A broker's directory through stops and starts.

use ottla_broker::log::{CheckpointKind, Disk, LogConfig, LogDirectory, MetaProperties, TopicPartition};

use super::*;

#[test]
fn a_log_goes_on_through_a_clean_stop_and_a_crash() {
    let temporary = tempfile::tempdir().unwrap();
    let partition = TopicPartition { topic: "orders".into(), partition: 0 };
    let meta = MetaProperties { cluster_id: "c".into(), node_id: 1, directory_id: Uuid(1) };
    let mut directory = LogDirectory::open(Disk::Real, temporary.path()).unwrap();
    directory.format(meta).unwrap();
    let path = directory.partition_path(&partition);
    let mut log = Log::create(&Disk::Real, &path, Uuid(7), LogConfig::default(), NOW_MS).unwrap();
    append(&mut log, &batch(&[b"a"]));
    let recovery_point = log.close().unwrap();
    let points = [(partition.clone(), recovery_point)];
    directory.write_checkpoint(CheckpointKind::RecoveryPoint, points.into_iter()).unwrap();
    directory.close(1).unwrap();
    drop(directory);

    let directory = LogDirectory::open(Disk::Real, temporary.path()).unwrap();
    let found = directory.partitions().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].partition, found[0].topic_id), (&partition, Some(Uuid(7))));
    let checkpointed = directory.checkpointed(&partition);
    let (mut log, recovered) =
        Log::open(&Disk::Real, &path, LogConfig::default(), &checkpointed, NOW_MS).unwrap();
    assert_eq!((recovered.checked_bytes, log.end_offset(), log.topic_id()), (0, 1, Some(Uuid(7))));
    append(&mut log, &batch(&[b"b"]));
    // The crash: neither log nor directory is closed.
    drop((log, directory));

    let directory = LogDirectory::open(Disk::Real, temporary.path()).unwrap();
    let checkpointed = directory.checkpointed(&partition);
    let (log, recovered) =
        Log::open(&Disk::Real, &path, LogConfig::default(), &checkpointed, NOW_MS).unwrap();
    assert_eq!((recovered.torn_bytes, log.end_offset(), log.recovery_point()), (0, 2, 1));
    assert_eq!(recovered.checked_bytes, batch(&[b"b"]).bytes().len() as u64, "only what was not flushed");
}
