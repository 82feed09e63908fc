//! A member of a group by our own client, as a process that tests can kill:
//!
//! ```text
//! interop-member BOOTSTRAP TOPIC GROUP classic|auto
//! ```
//!
//! It speaks as the peers' members do (`peers/README.md`): prints each record that it was given, commits each batch and says so, and
//! leaves when its input ends.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use ottla::{
    Consumer,
    config::{ConsumerConfig, GroupProtocol, OffsetReset},
};
use tokio::sync::oneshot;

/// Longest that it may take to leave.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, group, protocol] = &arguments[..] else {
        bail!("wanted: BOOTSTRAP TOPIC GROUP PROTOCOL")
    };
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![bootstrap.clone()],
        group_id: Some(group.clone()),
        auto_offset_reset: OffsetReset::Earliest,
        enable_auto_commit: false,
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(500),
        group_protocol: if protocol == "classic" { GroupProtocol::Classic } else { GroupProtocol::Auto },
        ..ConsumerConfig::default()
    })?;
    consumer.subscribe([topic.as_str()])?;
    let (stop, mut stopped) = oneshot::channel();
    thread::spawn(move || {
        _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop::<oneshot::Sender<()>>(stop);
    });
    let mut out = std::io::stdout();
    tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        loop {
            let batch = tokio::select! {
                _ = &mut stopped => break,
                batch = consumer.next_batch(500) => batch?,
            };
            let (at_us, mut lines) = (now_us(), String::new());
            for record in batch.records() {
                lines += &format!("{} {} {at_us}\n", batch.partition(), record?.offset());
            }
            out.write_all(lines.as_bytes())?;
            let word = match consumer.commit_batch(&batch).await {
                Ok(()) => format!("committed {}\n", now_us()),
                Err(_) => "uncommitted\n".to_owned(),
            };
            out.write_all(word.as_bytes())?;
            out.flush()?;
        }
        consumer.close(PATIENCE).await?;
        Ok(())
    })
}

#[expect(clippy::disallowed_methods, reason = "members' words are of that time")]
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
