/**
 * A client of Apache Kafka and its kin.
 *
 * ```ts
 * import { Consumer, Producer } from 'ottla'
 *
 * await using producer = new Producer({ brokers: 'localhost:9092' })
 * await producer.send({ topic: 'orders', key: '42', value: 'two apples' })
 *
 * await using consumer = new Consumer({ brokers: 'localhost:9092', groupId: 'billing', topics: ['orders'], startFrom: 'earliest' })
 * for await (const record of consumer) console.log(record.key, record.value)
 * ```
 *
 * Without a broker at hand, `npx ottla dev` in a terminal starts one; `Broker` of `ottla/testing` does for tests.
 */

export { Admin, type AdminConfig, type Asked, type Trying } from './admin.js'
export {
  Consumer,
  type Asking,
  type AskingBatch,
  type ConsumerConfig,
  type RebalanceListener
} from './consumer.js'
export { RecordMetadata } from './delivery.js'
export * as errors from './errors.js'
export { KafkaError, OttlaError } from './error-base.js'
export { type LogLevel, type Logger, setLog } from './log.js'
export {
  type Closing,
  type NewRecord,
  Producer,
  type ProducerConfig,
  type RecordOf,
  type Serializer,
  type Waiting
} from './producer.js'
export { ConsumerRecord, type Deserializer, RecordBatch } from './record.js'
export * as serde from './serde.js'
export type { Headers, Payload } from './slab.js'
export type { OAuthBearerProvider, OAuthBearerToken } from './tokens.js'
export type {
  BrokerDescription,
  ClusterDescription,
  CommittedOffset,
  ConfigEntry,
  CreatedTopic,
  GroupDescription,
  GroupListing,
  GroupMember,
  ListedOffset,
  NewTopic,
  OffsetPlace,
  OffsetToCommit,
  PartitionDescription,
  PartitionOffset,
  TopicDescription,
  TopicListing,
  TopicPartition
} from './types.js'
export { version } from './version.js'
