//! librdkafka as a load, through its C interface: one thread of ours, and what threads it makes.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use ottla_bench_loads::{Job, done, ready};
use rdkafka_sys::{bindings as rd, types::*};

/// Records that may wait in the producer.
const BUFFERED_RECORDS_MAX: &str = "1000000";
/// Records between two looks at the delivery reports.
const REPORTS_EVERY: u64 = 1024;
/// Records that a consumer takes at a time.
const TAKEN_MAX: usize = 1024;
/// `RD_KAFKA_PARTITION_UA`: a record's partition is for the partitioner, a subscription's for the group to say.
const ANY_PARTITION: i32 = -1;
/// How long one call waits for something to happen.
const WAIT_MS: i32 = 1000;

static ACKNOWLEDGED: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

fn main() -> anyhow::Result<()> {
    let job = Job::parse();
    match job.verb.as_str() {
        "produce" => produce(&job),
        "consume" => consume(&job),
        verb => bail!("there is no verb `{verb}`"),
    }
}

fn produce(job: &Job) -> anyhow::Result<()> {
    let (linger, batch) = (job.linger_ms.to_string(), job.batch_bytes.to_string());
    let client = Client::new(
        RDKafkaType::RD_KAFKA_PRODUCER,
        &[
            ("bootstrap.servers", &job.bootstrap),
            ("enable.idempotence", "true"),
            ("compression.type", &job.codec),
            ("linger.ms", &linger),
            ("batch.size", &batch),
            ("queue.buffering.max.messages", BUFFERED_RECORDS_MAX),
        ],
    )?;
    let name = CString::new(job.topic.as_str())?;
    // SAFETY: the client is alive; the topic is destroyed before it.
    let topic = unsafe { rd::rd_kafka_topic_new(client.0, name.as_ptr(), ptr::null_mut()) };
    ensure!(!topic.is_null(), "the topic could not be named");
    let values = job.values();
    // The connection, the producer id and the topic's metadata are there before the clock starts.
    client.send(topic, &values[0])?;
    client.wait_for(1)?;
    ready()?;
    let began = Instant::now();
    for (number, value) in (0..job.records).zip(values.iter().cycle()) {
        client.send(topic, value)?;
        if number % REPORTS_EVERY == 0 {
            client.poll(0);
        }
    }
    client.wait_for(1 + job.records)?;
    done(job.records, began.elapsed())?;
    // SAFETY: nothing uses the topic any more.
    unsafe { rd::rd_kafka_topic_destroy(topic) };
    Ok(())
}

fn consume(job: &Job) -> anyhow::Result<()> {
    ready()?;
    let began = Instant::now();
    let mut read = 0;
    for pass in 0..job.passes {
        read += read_topic(job, pass)?;
    }
    done(read, began.elapsed())
}

/// Reads from the beginning until all records came.
fn read_topic(job: &Job, pass: u64) -> anyhow::Result<u64> {
    let in_group = !job.group.is_empty();
    let group = if in_group { format!("{}-{pass}", job.group) } else { "bench-librdkafka".to_owned() };
    let client = Client::new(
        RDKafkaType::RD_KAFKA_CONSUMER,
        &[
            ("bootstrap.servers", &job.bootstrap),
            ("group.id", &group),
            ("enable.auto.commit", if in_group { "true" } else { "false" }),
            ("auto.offset.reset", "earliest"),
        ],
    )?;
    let name = CString::new(job.topic.as_str())?;
    // SAFETY: the client is alive, and the list is not used behind its end.
    let (queue, begun) = unsafe {
        rd::rd_kafka_poll_set_consumer(client.0);
        let list = rd::rd_kafka_topic_partition_list_new(job.partitions);
        let begun = if in_group {
            rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), ANY_PARTITION);
            rd::rd_kafka_subscribe(client.0, list)
        } else {
            for partition in 0..job.partitions {
                let place = rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), partition);
                (*place).offset = i64::from(rd::RD_KAFKA_OFFSET_BEGINNING);
            }
            rd::rd_kafka_assign(client.0, list)
        };
        rd::rd_kafka_topic_partition_list_destroy(list);
        (rd::rd_kafka_queue_get_consumer(client.0), begun)
    };
    ensure!(begun == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, "librdkafka does not read: {begun:?}");
    let mut taken = [ptr::null_mut(); TAKEN_MAX];
    let mut read = 0;
    while read < job.records {
        // SAFETY: there is room for as many messages as it may give.
        let count =
            unsafe { rd::rd_kafka_consume_batch_queue(queue, WAIT_MS, taken.as_mut_ptr(), TAKEN_MAX) };
        let count = usize::try_from(count).context("the queue could not be read")?;
        for &message in &taken[..count] {
            // SAFETY: librdkafka gave the message, and it is not used behind its end.
            let (error, bytes) = unsafe {
                let told = ((*message).err, (*message).len);
                rd::rd_kafka_message_destroy(message);
                told
            };
            if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                job.check(bytes)?;
                read += 1;
            }
        }
    }
    // SAFETY: nothing uses the queue any more.
    unsafe {
        rd::rd_kafka_queue_destroy(queue);
        rd::rd_kafka_consumer_close(client.0);
    }
    Ok(read)
}

/// A client of librdkafka's; dropping it destroys it.
struct Client(*mut RDKafka);

impl Client {
    fn new(kind: RDKafkaType, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut why = [0 as c_char; 512];
        // SAFETY: the strings live through the calls, and `rd_kafka_new` takes the configuration over.
        unsafe {
            let config = rd::rd_kafka_conf_new();
            for (key, value) in settings {
                let (key, value) = (CString::new(*key)?, CString::new(*value)?);
                let set =
                    rd::rd_kafka_conf_set(config, key.as_ptr(), value.as_ptr(), why.as_mut_ptr(), why.len());
                ensure!(set == RDKafkaConfRes::RD_KAFKA_CONF_OK, "{}", text(&why));
            }
            if kind == RDKafkaType::RD_KAFKA_PRODUCER {
                rd::rd_kafka_conf_set_dr_msg_cb(config, Some(delivered));
            }
            let client = rd::rd_kafka_new(kind, config, why.as_mut_ptr(), why.len());
            ensure!(!client.is_null(), "{}", text(&why));
            Ok(Self(client))
        }
    }

    fn send(&self, topic: *mut RDKafkaTopic, value: &[u8]) -> anyhow::Result<()> {
        loop {
            // SAFETY: with F_COPY the value is read during the call only.
            let result = unsafe {
                rd::rd_kafka_produce(
                    topic,
                    ANY_PARTITION,
                    // librdkafka makes a copy of the value.
                    rd::RD_KAFKA_MSG_F_COPY,
                    value.as_ptr() as *mut c_void,
                    value.len(),
                    ptr::null(),
                    0,
                    ptr::null_mut(),
                )
            };
            // SAFETY: it reads the error of this thread's last call.
            let error = unsafe { rd::rd_kafka_last_error() };
            match error {
                _ if result == 0 => return Ok(()),
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL => self.poll(10),
                error => bail!("librdkafka did not take a record: {error:?}"),
            }
        }
    }

    /// Takes delivery reports that are there, or waits for one.
    fn poll(&self, wait_ms: i32) {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_poll(self.0, wait_ms) };
    }

    /// Waits until so many records are acknowledged.
    fn wait_for(&self, records: u64) -> anyhow::Result<()> {
        while ACKNOWLEDGED.load(Ordering::Relaxed) < records {
            let failed = FAILED.load(Ordering::Relaxed);
            ensure!(failed == 0, "{failed} records were not delivered");
            // SAFETY: the client is alive. It sends what lingers, too.
            unsafe { rd::rd_kafka_flush(self.0, WAIT_MS) };
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        unsafe { rd::rd_kafka_destroy(self.0) };
    }
}

/// librdkafka's report of one record.
unsafe extern "C" fn delivered(_: *mut RDKafka, message: *const RDKafkaMessage, _: *mut c_void) {
    // SAFETY: librdkafka gives a message that lives through the call.
    let error = unsafe { (*message).err };
    match error {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => ACKNOWLEDGED.fetch_add(1, Ordering::Relaxed),
        _ => FAILED.fetch_add(1, Ordering::Relaxed),
    };
}

fn text(message: &[c_char]) -> String {
    // SAFETY: librdkafka ends what it writes with a zero, and the buffer began as zeros.
    unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned()
}
