import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'

import { Consumer, KafkaError, OttlaError, Producer, type RecordMetadata, errors, serde } from 'ottla'

import { broker, create, first, name } from './support.js'

const own = broker()

test('a record is sent and its promise tells where', async () => {
  const topic = name('orders')
  await using producer = new Producer({ brokers: own.brokers })
  const written = await producer.send({
    topic,
    key: '42',
    value: 'two apples',
    headers: { trace: Buffer.from('7f3a'), empty: null }
  })
  assert.deepEqual([written.topic, written.partition, written.offset], [topic, 0, 0n])
  const [record] = await first(own.brokers, topic, 1)
  assert.deepEqual([record?.key?.toString(), record?.value?.toString()], ['42', 'two apples'])
  assert.deepEqual(record?.headers, [
    ['trace', Buffer.from('7f3a')],
    ['empty', null]
  ])
  assert.equal(record?.header('empty'), null)
  assert.equal(record?.header('missing'), undefined)
})

test('payloads are bytes, text or null, and nothing else', async () => {
  const topic = name('payloads')
  await using producer = new Producer({ brokers: own.brokers })
  const values = [Buffer.from('a'), 'größe 😀', new Uint8Array([0, 255]), null, undefined, '', 'x'.repeat(300_000)]
  await Promise.all(values.map((value) => producer.send({ topic, value })))
  await assert.rejects(producer.send({ topic, value: 5 as never }), /a value is a Buffer.*not `number`.*serializer/)
  await assert.rejects(producer.send({ topic: 5 as never, value: 'x' }), /a topic is a string/)
  await assert.rejects(producer.send({ topic, value: 'x', timestamp: -1 }), /a timestamp is/)
  const records = await first(own.brokers, topic, values.length)
  const expected = values.map((value) => (value === null || value === undefined ? null : Buffer.from(value as string)))
  assert.deepEqual(
    records.map((record) => record.value),
    expected
  )
})

test('records of all sizes come as they are, whatever room is left where they are packed', async () => {
  const topic = await create(own.brokers)
  await using producer = new Producer({ brokers: own.brokers })
  const sizes = [0, 1, 127, 5461, 5462, 16_383, 16_384, 16_385, 32_768, 100_000, 300_000].flatMap((size) => [size, 3, size])
  const sent = sizes.flatMap((size, number) => {
    const letter = String.fromCharCode(97 + (number % 26))
    return [
      { key: String(number), value: letter.repeat(size), headers: { text: 'ü'.repeat(size / 3), none: null } },
      { key: String(number), value: Buffer.alloc(size, number), headers: [['bytes', Buffer.alloc(7)]] as const }
    ]
  })
  await Promise.all(sent.map((record) => producer.send({ topic, ...record })))
  const records = await first(own.brokers, topic, sent.length)
  for (const [number, { value, headers }] of sent.entries()) {
    assert.ok(records[number]?.value?.equals(Buffer.from(value as string)), `value ${number}`)
    const pairs = Symbol.iterator in headers ? [...headers] : Object.entries(headers)
    const expected = pairs.map(([name, value]) => [name, value === null ? null : Buffer.from(value as string)])
    assert.deepEqual(records[number]?.headers, expected)
  }
})

test('records of a turn keep their order, however many there are', async () => {
  const topic = await create(own.brokers)
  const count = 50_000
  await using producer = new Producer({ brokers: own.brokers })
  const sent = Array.from({ length: count }, (_, number) => producer.send({ topic, value: `record ${number}` }))
  const written = await Promise.all(sent)
  assert.ok(written.every(({ offset }, number) => offset === BigInt(number)))
  const records = await first(own.brokers, topic, count)
  assert.ok(records.every(({ value }, number) => value?.toString() === `record ${number}`))
})

test('many in one call have a place each, and fail together', async () => {
  const topic = await create(own.brokers, { config: { 'max.message.bytes': 1000 } })
  await using producer = new Producer({ brokers: own.brokers })
  const written = await producer.send(topic, [{ value: 'a' }, { key: '2', value: 'b' }, { value: null }])
  assert.deepEqual(
    written.map(({ offset }) => offset),
    [0n, 1n, 2n]
  )
  assert.deepEqual(await producer.send(topic, []), [])
  await assert.rejects(
    producer.send(topic, [{ value: 'c' }, { value: 7 as never }, { value: 'd' }]),
    /a value is a Buffer/
  )
  await assert.rejects(producer.send(topic, [{ value: 'x'.repeat(5000) }]), errors.MessageTooLargeError)
  // Those beside the one that could not be packed were sent.
  const values = (await first(own.brokers, topic, 5)).map((record) => record.value?.toString())
  assert.deepEqual(values, ['a', 'b', undefined, 'c', 'd'])
})

test('what nobody asks about is sent, counted, and flushed', async () => {
  const topic = await create(own.brokers)
  await using producer = new Producer({ brokers: own.brokers, lingerMs: 20_000 })
  for (let number = 0; number < 1000; number++) producer.sendNoWait({ topic, value: String(number) })
  const awaited = producer.send({ topic, value: 'last' })
  await producer.flush()
  assert.equal((await awaited).offset, 1000n)
  assert.equal(producer.metrics()['record-acknowledged-total'], 1001)
})

test('a full buffer says so, and room is waited for', async () => {
  const topic = await create(own.brokers)
  await using producer = new Producer({ brokers: own.brokers, bufferMemory: 256 * 1024, batchSize: 16 * 1024 })
  const value = 'x'.repeat(1000)
  const count = 20_000
  let [wasFull, sent] = [0, 0]
  while (sent < count) {
    for (let turn = 0; turn < 500; turn++, sent++) {
      if (!producer.sendNoWait({ topic, value })) {
        wasFull++
        await producer.ready()
      }
    }
    await null
  }
  await producer.flush()
  assert.ok(wasFull > 0, 'the buffer was never full')
  assert.equal(producer.metrics()['record-acknowledged-total'], count)
})

test('serializers make bytes, and their failure names the topic', async () => {
  const topic = name('typed')
  type Order = { fruit: string; weight?: bigint }
  await using producer = new Producer<string, Order>({ brokers: own.brokers, valueSerializer: serde.json })
  await producer.send({ topic, key: 'a', value: { fruit: 'apple' } })
  const failing = producer.send({ topic, value: { fruit: 'pear', weight: 5n } })
  await assert.rejects(failing, (error: errors.InvalidArgumentError) => {
    assert.ok(error instanceof errors.InvalidArgumentError && error.message.includes(topic))
    assert.ok(error.cause instanceof TypeError)
    return true
  })
  await using consumer = new Consumer<string, Order>({
    brokers: own.brokers,
    startFrom: 'earliest',
    keyDeserializer: serde.fromString,
    valueDeserializer: serde.fromJson<Order>
  })
  consumer.assign([{ topic, partition: 0 }])
  const record = await consumer.poll({ timeout: 10_000 })
  assert.deepEqual([record?.key, record?.value], ['a', { fruit: 'apple' }])
  assert.equal(record?.value, record?.value)
})

test('a serializer may send, too', async () => {
  const [topic, audit] = [await create(own.brokers), await create(own.brokers)]
  const producer: Producer<never, string> = new Producer<never, string>({
    brokers: own.brokers,
    valueSerializer: (value, of) => {
      if (of === topic) producer.sendNoWait({ topic: audit, value: `audit of ${value}` })
      return value
    }
  })
  const written = await Promise.all([
    producer.send(topic, [{ value: 'a' }, { value: 'b' }]),
    producer.send({ topic, value: 'c' })
  ])
  assert.deepEqual(
    written.flat().map(({ topic, offset }) => [topic, offset]),
    [0n, 1n, 2n].map((offset) => [topic, offset])
  )
  await producer.close()
  assert.equal((await first(own.brokers, audit, 3)).at(-1)?.value?.toString(), 'audit of c')
})

test('a timestamp is a number or a Date', async () => {
  const topic = name('times')
  const when = new Date('2026-01-02T03:04:05.678Z')
  await using producer = new Producer({ brokers: own.brokers })
  assert.equal((await producer.send({ topic, value: 'a', timestamp: when })).timestamp, when.getTime())
  assert.equal((await producer.send({ topic, value: 'b', timestamp: BigInt(when.getTime()) })).timestamp, when.getTime())
  const [record] = await first(own.brokers, topic, 1)
  assert.deepEqual(record?.date, when)
})

test('settings come in either style and are checked', async () => {
  const brokers = 'localhost:1'
  await new Producer({ 'bootstrap.servers': brokers, 'linger.ms': 5, 'compression.type': 'zstd' }).close({ timeout: 0 })
  await new Producer({ brokers: [brokers], lingerMs: 5n, enableIdempotence: false }).close({ timeout: 0 })
  assert.throws(() => new Producer({ brokers, lingerSm: 5 } as never), /did you mean `lingerMs`/)
  assert.throws(() => new Producer({ brokers, 'linger.ms': 5, lingerMs: 6 }), /given twice/)
  assert.throws(() => new Producer({ brokers, lingerMs: {} as never }), /`lingerMs` is a string, number/)
  assert.throws(
    () => new Producer({}),
    (error: errors.ConfigError) =>
      error instanceof errors.ConfigError && error.code === 'CONFIG' && error.message.includes('bootstrap.servers')
  )
})

test('what fails has a class of its own, with all that is known', async () => {
  const topic = await create(own.brokers, { config: { 'max.message.bytes': 1000 } })
  await using producer = new Producer({ brokers: own.brokers })
  await assert.rejects(producer.send({ topic, value: 'x'.repeat(5000) }), (error: KafkaError) => {
    assert.ok(error instanceof errors.MessageTooLargeError && error instanceof KafkaError && error instanceof OttlaError)
    assert.deepEqual([error.code, error.errno, error.retriable], ['MESSAGE_TOO_LARGE', 10, false])
    assert.equal(error.name, 'MessageTooLargeError')
    assert.ok(error.hint !== undefined && error.message.endsWith(error.hint))
    return true
  })
  await assert.rejects(producer.send({ topic, value: 'x'.repeat(3_000_000) }), errors.RecordTooLargeError)
})

test('a signal gives up waiting, and what was sent is sent all the same', async () => {
  const topic = await create(own.brokers)
  await using producer = new Producer({ brokers: own.brokers })
  const lost = new Producer({ brokers: 'localhost:1', maxBlockMs: 60_000 })
  lost.sendNoWait({ topic, value: 'nobody takes it' })
  await assert.rejects(lost.flush({ signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' })
  await assert.rejects(lost.partitionCount(topic, { signal: AbortSignal.abort(new Error('never mind')) }), /never mind/)
  await lost.close({ timeout: 0 })
  const written = producer.send({ topic, value: 'sent' })
  await producer.flush({ signal: new AbortController().signal })
  assert.equal((await written).offset, 0n)
})

test('closing sends what was taken, and a closed producer says so', async () => {
  const topic = await create(own.brokers)
  const producer = new Producer({ brokers: own.brokers, lingerMs: 20_000 })
  const sent: Promise<RecordMetadata>[] = []
  for (let number = 0; number < 10; number++) sent.push(producer.send({ topic, value: 'x' }))
  await Promise.all([producer.close(), producer.close()])
  assert.deepEqual((await Promise.all(sent)).at(-1)?.offset, 9n)
  await assert.rejects(producer.send({ topic, value: 'y' }), errors.ClosedError)
  assert.throws(() => producer.sendNoWait({ topic, value: 'y' }), errors.ClosedError)
  await assert.rejects(producer.flush(), errors.ClosedError)
})

test('records of a broker that is away fail when the producer is closed', async () => {
  const producer = new Producer({ brokers: 'localhost:1' })
  const sent = producer.send({ topic: 'orders', value: 'x' })
  const many = producer.send('orders', [{ value: 'x' }, { value: 'y' }])
  const failed = Promise.all([assert.rejects(sent, OttlaError), assert.rejects(many, OttlaError)])
  await producer.close({ timeout: 100 }).catch(() => {})
  await failed
})

test('a stream is written no faster than records go, and its failure is the stream\'s', async () => {
  const topic = await create(own.brokers, { config: { 'max.message.bytes': 20_000 } })
  await using producer = new Producer({ brokers: own.brokers, bufferMemory: 256 * 1024, batchSize: 16 * 1024 })
  const value = 'x'.repeat(1000)
  await pipeline(
    Readable.from(
      (function* () {
        for (let number = 0; number < 5000; number++) yield value
      })()
    ),
    producer.writable({ topic })
  )
  assert.equal(producer.metrics()['record-acknowledged-total'], 5000)
  const records = Readable.from([{ topic, value: 'fits' }, { topic, value: 'x'.repeat(50_000) }])
  await assert.rejects(pipeline(records, producer.writable()), errors.MessageTooLargeError)
})
