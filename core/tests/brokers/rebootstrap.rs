//! All brokers that a client knows are gone, and others are where its bootstrap list says (KIP-899, KIP-1102).

use std::{net::TcpListener, thread, time::Duration};

use ottla::{
    Consumer, ErrorKind, NewTopic, Producer, Record, RecordMetadata, TopicPartition,
    config::{ConsumerConfig, MetadataRecovery, OffsetReset, ProducerConfig},
};
use ottla_interop::{
    Nobody,
    broker::TestBroker,
    kafka::{Kafka, Options},
    or_skip,
};
use tokio::time::timeout;

use crate::common::{Target, run, unique};

const PATIENCE: Duration = Duration::from_secs(60);
/// What clients wait for an answer, and for one from anybody.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
const TRIGGER: Duration = Duration::from_secs(1);
/// After this, whoever has not found a broker will not.
const GIVEN_UP: Duration = Duration::from_secs(3);

/// A broker that can be somewhere else when it starts again.
enum Moving {
    Ours(Box<TestBroker>),
    Apache(Box<Kafka>),
}

impl Moving {
    fn ours() -> Self {
        Self::Ours(Box::new(TestBroker::start(&[])))
    }

    fn address(&self) -> String {
        match self {
            Self::Ours(broker) => broker.bootstrap(),
            Self::Apache(kafka) => kafka.bootstrap(),
        }
    }

    fn stop(&mut self) {
        apart(|| match self {
            Self::Ours(broker) => broker.stop(),
            Self::Apache(kafka) => kafka.kill(1).unwrap(),
        });
    }

    /// Starts where so far nobody was.
    fn start_at(&mut self, elsewhere: Nobody) {
        let port = elsewhere.port();
        drop(elsewhere);
        apart(|| match self {
            Self::Ours(broker) => {
                broker.restart_with("listeners", &format!("PLAINTEXT://127.0.0.1:{port}"));
            }
            Self::Apache(kafka) => kafka.start_at(1, &[port]).unwrap(),
        });
    }
}

/// Does what blocks, which the thread of a runtime must not.
fn apart(work: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(work).join().unwrap());
}

/// Runs a test on our broker and on Apache Kafka's.
fn on_each_moving(test: impl AsyncFn(&mut Moving)) {
    run(test(&mut Moving::ours()));
    let options = Options { heap_mib: 256, ..Options::default() };
    if let Some(kafka) = or_skip(Kafka::start(options)) {
        run(test(&mut Moving::Apache(Box::new(kafka))));
    }
}

/// A topic of one partition, with a client of each kind that has used it. Their list names the broker, and where it will be.
struct Clients {
    topic: String,
    producer: Producer,
    consumer: Consumer,
}

impl Clients {
    async fn start(
        broker: &Moving,
        elsewhere: &Nobody,
        metadata_recovery_strategy: MetadataRecovery,
        metadata_recovery_rebootstrap_trigger: Duration,
    ) -> Self {
        let topic = unique("moving");
        let target = Target { name: "moving".to_owned(), address: broker.address() };
        target.create(NewTopic::new(&topic).partitions(1)).await;
        let bootstrap_servers = vec![broker.address(), elsewhere.to_string()];
        let producer = Producer::new(ProducerConfig {
            bootstrap_servers: bootstrap_servers.clone(),
            metadata_recovery_strategy,
            metadata_recovery_rebootstrap_trigger,
            request_timeout: REQUEST_TIMEOUT,
            delivery_timeout: if metadata_recovery_strategy == MetadataRecovery::None {
                GIVEN_UP
            } else {
                PATIENCE
            },
            ..Default::default()
        })
        .unwrap();
        let consumer = Consumer::new(ConsumerConfig {
            bootstrap_servers,
            metadata_recovery_strategy,
            metadata_recovery_rebootstrap_trigger,
            request_timeout: REQUEST_TIMEOUT,
            auto_offset_reset: OffsetReset::Earliest,
            ..Default::default()
        })
        .unwrap();
        consumer.assign([TopicPartition::new(topic.as_str(), 0)]).unwrap();
        let clients = Self { topic, producer, consumer };
        clients.send("before").await.unwrap();
        assert_eq!(clients.next().await, "before");
        clients
    }

    async fn send(&self, value: &str) -> ottla::Result<RecordMetadata> {
        let sending = async { self.producer.send(Record::to(&self.topic).value(value)).await?.await };
        timeout(PATIENCE, sending).await.expect("a record is written, or not, in time")
    }

    async fn next(&self) -> String {
        let batch =
            timeout(PATIENCE, self.consumer.next_batch(1)).await.expect("a record comes in time").unwrap();
        let record = batch.records().next().unwrap().unwrap();
        String::from_utf8(record.value().unwrap().to_vec()).unwrap()
    }
}

#[test]
fn where_the_only_broker_is_gone_the_list_says_where_it_went() {
    on_each_moving(async |broker| {
        let elsewhere = Nobody::new().unwrap();
        let clients =
            Clients::start(broker, &elsewhere, MetadataRecovery::Rebootstrap, Duration::from_secs(300)).await;
        broker.stop();
        broker.start_at(elsewhere);
        clients.send("after").await.unwrap();
        assert_eq!(clients.next().await, "after");
    });
}

#[test]
fn without_that_strategy_it_is_not_found() {
    let mut broker = Moving::ours();
    run(async {
        let elsewhere = Nobody::new().unwrap();
        let clients = Clients::start(&broker, &elsewhere, MetadataRecovery::None, TRIGGER).await;
        broker.stop();
        broker.start_at(elsewhere);
        let error = clients.send("after").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    });
}

#[test]
fn brokers_that_take_connections_and_never_answer_are_given_up_after_a_time() {
    on_each_moving(async |broker| {
        let elsewhere = Nobody::new().unwrap();
        let clients = Clients::start(broker, &elsewhere, MetadataRecovery::Rebootstrap, TRIGGER).await;
        let patient =
            Clients::start(broker, &elsewhere, MetadataRecovery::Rebootstrap, Duration::from_secs(300)).await;
        let before = broker.address();
        broker.stop();
        // Nobody accepts what the system has taken for it.
        let _silent = TcpListener::bind(&before).unwrap();
        broker.start_at(elsewhere);
        clients.send("after").await.unwrap();
        assert_eq!(clients.next().await, "after");
        let asking = patient.producer.send(Record::to(&patient.topic).value("never"));
        let waited = timeout(GIVEN_UP, async { asking.await?.await }).await;
        assert!(waited.is_err(), "the list was looked at before its time: {waited:?}");
    });
}
