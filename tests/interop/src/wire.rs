//! A client that does exactly what a test says, byte for byte: a blocking socket and the codec, nothing between.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use ottla_protocol::{
    Bytes,
    api::Api,
    compression::{Compressor, Decompressor, Limits},
    error_code::ErrorCode,
    frame,
    messages::{
        CreateTopicsRequest, FetchRequest, ProduceRequest, ProduceResponse,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        fetch::{FetchPartition, FetchTopic, PartitionData},
        produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData},
    },
    record::{Batch, BatchBuilder, Headers, Seal},
    types::{BrokerId, ProducerId, Str},
    wire::Records,
};

use crate::program::PATIENCE;

/// The newest Produce that names topics.
pub const PRODUCE_BY_NAME: i16 = 12;
/// The newest Fetch that names topics.
pub const FETCH_BY_NAME: i16 = 12;
/// The time of the records that are made here: past, so that no clock is needed.
pub const TIMESTAMP: i64 = 1_760_000_000_000;
/// Bytes of a batch that [`batch`] may make.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    next_id: i32,
    client_id: Str,
}

impl Wire {
    /// Connects to `address`.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker takes a connection");
        stream.set_nodelay(true).expect("a socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes options");
        Self { stream, next_id: 1, client_id: "wire".into() }
    }

    /// Calls itself so from now on.
    #[must_use]
    pub fn named(mut self, client_id: &str) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Asks and waits for the answer.
    pub fn call<R: Api>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request);
        self.receive::<R>(version, id)
    }

    /// Asks; gives the correlation id.
    pub fn send<R: Api>(&mut self, version: i16, request: &R) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let pieces =
            frame::request(request, version, id, Some(&self.client_id)).expect("the version can say it");
        self.send_raw(&pieces.concat());
        id
    }

    /// Waits for the answer to the request of correlation id `id`, which must be the next.
    pub fn receive<R: Api>(&mut self, version: i16, id: i32) -> R::Response {
        let frame = self.frame().expect("the broker answers");
        frame::read_response::<R>(frame, version, id).expect("the answer is as its schema says")
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// The next answer, its size taken off; `None` if the broker has closed the connection.
    pub fn frame(&mut self) -> Option<Bytes> {
        let mut size = [0; frame::SIZE_BYTES];
        match self.stream.read_exact(&mut size) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("neither an answer nor a closed connection: {error}"),
        }
        let size = usize::try_from(i32::from_be_bytes(size)).expect("an answer has a size");
        let mut bytes = vec![0; size];
        self.stream.read_exact(&mut bytes).expect("an answer is whole");
        Some(Bytes::from(bytes))
    }

    /// Checks that the broker closes the connection and says nothing before.
    #[track_caller]
    pub fn expect_closed(mut self) {
        let frame = self.frame();
        assert!(frame.is_none(), "the connection was to be closed, and this came: {frame:?}");
    }

    /// Creates a topic with `configs`.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs
            .iter()
            .map(|&(name, value)| CreatableTopicConfig { name: name.into(), value: Some(value.into()) });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = self.call(7, &request).topics.swap_remove(0);
        assert_eq!(answer.error_code, ErrorCode::NONE, "{:?}", answer.error_message);
    }

    /// Writes one batch to a partition, acks=all.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: &Bytes) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, -1, batch);
        produced(self.call(PRODUCE_BY_NAME, &request))
    }

    /// Reads a partition from `offset` on, without waiting.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let request = fetch_request(topic, &[(partition, offset)]);
        let mut answer = self.call(FETCH_BY_NAME, &request);
        assert_eq!(answer.error_code, ErrorCode::NONE);
        answer.responses.swap_remove(0).partitions.swap_remove(0)
    }

    /// All values of a partition, from its beginning.
    pub fn values(&mut self, topic: &str, partition: i32) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        loop {
            let data = self.fetch(topic, partition, values.len() as i64);
            assert_eq!(data.error_code, ErrorCode::NONE, "{topic}-{partition} at {}", values.len());
            if values.len() as i64 == data.high_watermark {
                return values;
            }
            for batch in batches(data.records) {
                values.extend(records(&batch).into_iter().map(|(_, value)| value));
            }
        }
    }
}

/// A request that writes one batch.
pub fn produce_request(topic: &str, partition: i32, acks: i16, batch: &Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(Records::from(batch.clone())) };
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What became of the one batch of a request.
pub fn produced(mut answer: ProduceResponse) -> PartitionProduceResponse {
    answer.responses.swap_remove(0).partition_responses.swap_remove(0)
}

/// A consumer's request for partitions of a topic, each from an offset on; it does not wait, and wants no session.
pub fn fetch_request(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|&(partition, fetch_offset)| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        ..Default::default()
    });
    FetchRequest {
        replica_id: BrokerId(-1),
        max_bytes: i32::MAX,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A batch of `values` by no producer in particular.
pub fn batch(values: &[&[u8]]) -> Bytes {
    seal(values, &Seal::default())
}

/// A batch by an idempotent producer.
pub fn numbered_batch(producer: ProducerId, epoch: i16, base_sequence: i32, values: &[&[u8]]) -> Bytes {
    let seal_with =
        Seal { producer_id: producer, producer_epoch: epoch, base_sequence, ..Default::default() };
    seal(values, &seal_with)
}

fn seal(values: &[&[u8]], seal: &Seal) -> Bytes {
    let mut builder = BatchBuilder::new(Vec::new(), BATCH_BYTES_MAX);
    for (i, value) in values.iter().enumerate() {
        let pushed = builder.push(TIMESTAMP + i as i64, None, Some(value), Headers::NONE);
        pushed.expect("the batch has room");
    }
    builder.seal(seal, &mut Compressor::new()).expect("there are records").into_bytes()
}

/// The whole batches of a fetch's answer.
pub fn batches(records: Option<Records>) -> Vec<Batch> {
    let mut bytes = records.map(Records::into_bytes).unwrap_or_default();
    let mut batches = Vec::new();
    while let Some(batch) = Batch::split_from(&mut bytes).expect("the broker sends batches") {
        batch.check_crc().expect("a batch comes as it was sent");
        batches.push(batch);
    }
    batches
}

/// Offset and value of every record.
pub fn records(batch: &Batch) -> Vec<(i64, Vec<u8>)> {
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("it inflates");
    let records = records.iter().map(|record| {
        let record = record.expect("a record is whole");
        (record.offset, record.value.unwrap_or_default().to_vec())
    });
    records.collect()
}
