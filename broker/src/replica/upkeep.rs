//! What the broker does by itself, from time to time: checkpoints, forgotten producers, disks that have failed.
//!
//! One task, on the runtime for control. It looks at what fell behind only, so that idle partitions cost nothing, and
//! waits for disks on other threads.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{Replicas, directories::Directory, shard::ShardMessage};
use crate::{config::BrokerConfig, log::CheckpointKind};

/// Least time between two rounds, whatever the configuration says.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// Runs until a directory fails without which the broker cannot go on, and tells why. `failed` says what becomes of
/// a directory that has failed: an error ends it.
pub(crate) async fn run<F>(
    replicas: Arc<Replicas>,
    config: Arc<BrokerConfig>,
    mut failures: mpsc::UnboundedReceiver<Arc<Directory>>,
    failed: impl Fn(Arc<Directory>) -> F,
) -> String
where
    F: Future<Output = Result<(), String>>,
{
    let of_ms = |ms: i32| every(Duration::from_millis(ms.max(0) as u64));
    let mut recovery_points = of_ms(config.log_flush_offset_checkpoint_interval_ms);
    let mut start_offsets = of_ms(config.log_flush_start_offset_checkpoint_interval_ms);
    let mut high_watermarks = every(config.replica_high_watermark_checkpoint_interval);
    let mut producers = every(config.producer_id_expiration_check_interval);
    let of_ms = |ms: i64| Duration::from_millis(ms.max(0).unsigned_abs());
    let mut retention = every(of_ms(config.log_retention_check_interval_ms));
    retention.reset_after(of_ms(config.log_initial_task_delay_ms));
    loop {
        tokio::select! {
            directory = failures.recv() => {
                // The directories hold the other end, and `replicas` holds them.
                let Some(directory) = directory else { std::future::pending().await };
                let partitions = replicas.take_offline(&directory);
                tracing::error!(directory = %directory.path().display(), partitions, "partitions are offline");
                if let Err(why) = failed(directory).await {
                    return why;
                }
            }
            _ = recovery_points.tick() => {
                replicas.send_all(|| ShardMessage::SavePositions);
                checkpoint(&replicas, CheckpointKind::RecoveryPoint).await;
            }
            _ = start_offsets.tick() => checkpoint(&replicas, CheckpointKind::LogStartOffset).await,
            _ = high_watermarks.tick() => checkpoint(&replicas, CheckpointKind::HighWatermark).await,
            _ = retention.tick() => replicas.send_all(|| ShardMessage::Retain),
            _ = producers.tick() => replicas.send_all(|| ShardMessage::ExpireProducers),
        }
    }
}

/// Writes the checkpoint files that are behind.
async fn checkpoint(replicas: &Replicas, kind: CheckpointKind) {
    for directory in replicas.directories().online() {
        if directory.take_behind(kind) {
            replicas.write_checkpoints(directory, &[kind]).await;
        }
    }
}

/// Ticks every `period`, for the first time after one. Rounds that were missed are left out.
fn every(period: Duration) -> Interval {
    let period = period.max(PERIOD_MIN);
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
