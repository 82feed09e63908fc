// What the types promise, and what they refuse.

import { expectAssignable, expectError, expectType } from 'tsd'

import {
  Admin,
  Consumer,
  type ConsumerConfig,
  ConsumerRecord,
  KafkaError,
  OttlaError,
  Producer,
  type ProducerConfig,
  RecordBatch,
  RecordMetadata,
  type TopicDescription,
  errors,
  serde
} from '../dist/index.js'

// ---- settings: every key of Kafka's, in two styles, with the values that it takes

expectAssignable<ProducerConfig>({ brokers: 'localhost:9092', lingerMs: 5, 'compression.type': 'zstd', acks: 'all' })
expectAssignable<ProducerConfig>({ 'bootstrap.servers': ['a:1', 'b:2'], maxRequestSize: '2MiB' })
expectAssignable<ConsumerConfig>({ brokers: ['a:1'], groupId: 'g', topics: ['t'], startFrom: 'earliest' })
expectError<ProducerConfig>({ lingerSm: 5 })
expectError<ProducerConfig>({ compressionType: 'zip' })
expectError<ConsumerConfig>({ startFrom: 'first' })
expectError<ConsumerConfig>({ topics: 'orders' })

// ---- sending

const producer = new Producer({ brokers: 'localhost:9092' })
expectType<Promise<RecordMetadata>>(producer.send({ topic: 'orders', key: 'k', value: Buffer.from('v') }))
expectType<Promise<RecordMetadata[]>>(producer.send('orders', [{ value: 'a' }, { value: null }]))
expectType<boolean>(producer.sendNoWait({ topic: 'orders', value: 'a', headers: { trace: '1' } }))
expectError(producer.send({ value: 'no topic' }))
expectError(producer.send({ topic: 'orders', value: 5 }))
expectError(producer.send({ topic: 'orders', offset: 5n }))
void producer.send({ topic: 'orders', value: 'a' }).then(({ offset, timestamp }) => {
  expectType<bigint>(offset)
  expectType<number>(timestamp)
})

type Order = { fruit: string }
const orders = new Producer<string, Order>({ valueSerializer: serde.json })
expectType<Promise<RecordMetadata>>(orders.send({ topic: 'orders', key: 'k', value: { fruit: 'apple' } }))
expectError(orders.send({ topic: 'orders', value: 'text' }))

// ---- reading

const consumer = new Consumer({ brokers: 'localhost:9092' })
void (async () => {
  for await (const record of consumer) {
    expectType<ConsumerRecord<Buffer, Buffer>>(record)
    expectType<Buffer | null>(record.value)
    expectType<bigint>(record.offset)
    expectType<[string, Buffer | null][]>(record.headers)
    expectType<Promise<void>>(consumer.commit(record))
  }
  for await (const batch of consumer.batches({ maxRecords: 500, timeout: 1000 })) {
    expectType<RecordBatch<Buffer, Buffer>>(batch)
    expectType<(Buffer | null)[]>(batch.values())
    expectType<Promise<void>>(consumer.commit(batch))
  }
})()
const typed = new Consumer({ keyDeserializer: serde.fromString, valueDeserializer: serde.fromJson<Order> })
expectType<Promise<ConsumerRecord<string, Order> | undefined>>(typed.poll({ timeout: 5 }))
expectType<bigint | undefined>(consumer.position({ topic: 'orders', partition: 0 }))
consumer.assign([{ topic: 'orders', partition: 0, offset: 42n }])
expectError(consumer.assign([{ topic: 'orders' }]))
expectError(consumer.seek({ topic: 'orders', partition: 0 }, 'first'))
expectError(consumer.commit(5))

// ---- the rest

const admin = new Admin({ brokers: 'localhost:9092' })
expectType<Promise<TopicDescription[]>>(admin.describeTopics(['orders']))
expectError(admin.createTopics([{ partitions: 6 }]))
expectAssignable<AsyncDisposable>(admin)
expectAssignable<AsyncDisposable>(producer)
expectAssignable<AsyncDisposable>(consumer)

const error: unknown = new errors.MessageTooLargeError('too large')
if (error instanceof KafkaError) {
  expectAssignable<OttlaError>(error)
  expectType<string>(error.code)
  expectType<number>(error.errno)
  expectType<boolean>(error.retriable)
  expectType<string | undefined>(error.hint)
}
