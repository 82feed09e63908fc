//! What any peer writes to our broker, every peer reads back equal: all codecs, every shape of record.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use ottla_interop::{
    broker::TestBroker,
    or_skip,
    peers::{self, Peer},
    record::{PeerRecord, every_shape},
};

const PARTITIONS: i32 = 3;
/// Programs that read at a time: most of it is that they start.
const READERS_AT_ONCE: usize = 4;

#[expect(clippy::disallowed_methods, reason = "records must be near the broker's own time")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as i64
}

/// By partition, in order: what a topic holds, whoever reads it.
fn by_partition(mut records: Vec<PeerRecord>) -> Vec<PeerRecord> {
    records.sort_by_key(|r| r.partition);
    records
}

#[test]
fn what_any_peer_writes_in_any_codec_every_peer_reads_equal_also_after_a_restart() {
    let peers: Vec<Peer> = peers::all().into_iter().filter_map(or_skip).collect();
    let partitions = PARTITIONS.to_string();
    let mut broker = TestBroker::start(&[("num.partitions", &partitions)]);
    let records = every_shape(PARTITIONS, now_ms());
    let mut topics = Vec::new();
    for writer in &peers {
        let records = writer.writable(records.clone());
        let expected = by_partition(records.clone());
        for codec in writer.codecs().unwrap() {
            let topic = format!("{}-{codec}", writer.name);
            writer.produce(&broker.bootstrap(), &topic, &codec, &records).unwrap();
            topics.push((topic, expected.clone()));
        }
    }
    assert!(topics.len() >= 5 * peers.len());
    for restarted in [false, true] {
        let bootstrap = broker.bootstrap();
        let next =
            Mutex::new(topics.iter().flat_map(|written| peers.iter().map(move |peer| (peer, written))));
        let read_all = || {
            let next = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((reader, (topic, expected))) = next() {
                let read = by_partition(reader.consume(&bootstrap, topic, expected.len()).unwrap());
                let differs = read.iter().zip(expected).position(|(r, e)| r != e);
                assert!(
                    read.len() == expected.len() && differs.is_none(),
                    "{} reads {topic} differently (restarted: {restarted}) at {differs:?}",
                    reader.name
                );
            }
        };
        thread::scope(|scope| (0..READERS_AT_ONCE).for_each(|_| _ = scope.spawn(read_all)));
        broker.restart();
    }
}
