import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { Consumer, type ConsumerRecord, Producer, type TopicPartition, errors } from 'ottla'

import { broker, create, fill, first, name } from './support.js'

const own = broker()

test('a loop commits what it has gone past', async () => {
  const [topic, groupId] = [name('loop'), name('group')]
  await fill(own.brokers, topic, 10)
  {
    await using consumer = new Consumer({ brokers: own.brokers, groupId, topics: [topic], startFrom: 'earliest' })
    for await (const record of consumer) if (record.offset === 3n) break
  }
  await using consumer = new Consumer({ brokers: own.brokers, groupId })
  const [committed] = await consumer.committed([{ topic, partition: 0 }])
  assert.equal(committed?.offset, 4n)
})

test('commits are of records, batches and offsets', async () => {
  const topic = name('commits')
  const tp = { topic, partition: 0 }
  await fill(own.brokers, topic, 10)
  await using consumer = new Consumer({
    brokers: own.brokers,
    groupId: name('group'),
    topics: [topic],
    startFrom: 'earliest',
    enableAutoCommit: false
  })
  const committed = async (): Promise<bigint | undefined> => (await consumer.committed([tp]))[0]?.offset
  const record = await consumer.poll({ timeout: 10_000 })
  assert.ok(record)
  await consumer.commit(record)
  assert.equal(await committed(), 1n)
  await consumer.poll()
  await consumer.commit()
  assert.equal(await committed(), 2n)
  const batch = await consumer.nextBatch({ timeout: 10_000 })
  assert.deepEqual(
    [...(batch ?? [])].map(({ offset }) => offset),
    [2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n]
  )
  await consumer.commit(batch)
  assert.equal(await committed(), 10n)
  await consumer.commit([{ ...tp, offset: 5, metadata: 'by hand' }])
  assert.deepEqual(
    (await consumer.committed([tp])).map(({ offset, metadata }) => [offset, metadata]),
    [[5n, 'by hand']]
  )
  await assert.rejects(consumer.commit(5 as never), /a commit is of/)
})

test('a batch has its records and columns, and outlives its consumer', async () => {
  const topic = name('batch')
  await fill(own.brokers, topic, 5)
  const consumer = new Consumer({ brokers: own.brokers, startFrom: 'earliest' })
  consumer.assign([{ topic, partition: 0, offset: 1 }])
  const batch = await consumer.nextBatch({ timeout: 10_000 })
  assert.ok(batch)
  const texts = ['1', '2', '3', '4'].map((text) => Buffer.from(text))
  assert.deepEqual(batch.values(), texts)
  assert.deepEqual(batch.offsets(), [1n, 2n, 3n, 4n])
  assert.deepEqual(batch.keys(), [null, null, null, null])
  assert.equal(batch.nextOffset, 5n)
  assert.equal(batch.highWatermark, 5n)
  assert.equal(batch.at(-1)?.value?.toString(), '4')
  assert.equal(batch.at(4), undefined)
  assert.equal(await consumer.nextBatch({ timeout: 30 }), undefined)
  await consumer.close()
  assert.deepEqual(
    [...batch].map(({ value }) => value),
    texts
  )
})

test('a record that is kept is itself, whatever becomes of the rest', async () => {
  const topic = await create(own.brokers)
  await using producer = new Producer({ brokers: own.brokers, compressionType: 'lz4' })
  await producer.send(
    topic,
    Array.from({ length: 1000 }, (_, number) => ({
      key: `key ${number}`,
      value: `value ${number}`,
      headers: { number: String(number) }
    }))
  )
  const kept: ConsumerRecord[] = []
  for (const record of await first(own.brokers, topic, 1000)) if (record.offset % 100n === 7n) kept.push(record.detach())
  for (const record of kept) {
    const number = String(record.offset)
    assert.equal(record.key?.toString(), `key ${number}`)
    assert.equal(record.value?.toString(), `value ${number}`)
    assert.deepEqual(record.headers, [['number', Buffer.from(number)]])
    assert.ok(record.value !== null && record.value.buffer.byteLength < 200)
  }
  assert.equal(kept.length, 10)
})

test('rebalances are told, and the group waits for the answer', async () => {
  const [topic, told] = [name('rebalances'), [] as unknown[]]
  await fill(own.brokers, topic, 1)
  const mine = [{ topic, partition: 0 }]
  const consumer = new Consumer({
    brokers: own.brokers,
    groupId: name('group'),
    topics: [topic],
    startFrom: 'earliest',
    onAssigned: (_, partitions) => void told.push(['assigned', partitions]),
    onRevoked: async (revoking, partitions) => {
      await sleep(50)
      // The partition is ours until this ends.
      await revoking.commit([{ topic, partition: 0, offset: 1n, metadata: 'at the last moment' }])
      told.push(['revoked', partitions])
    }
  })
  assert.equal((await consumer.poll({ timeout: 10_000 }))?.value?.toString(), '0')
  await consumer.close()
  assert.deepEqual(told, [
    ['assigned', mine],
    ['revoked', mine]
  ])
})

test('what a listener throws is raised where records are asked for', async () => {
  const topic = name('throws')
  await fill(own.brokers, topic, 1)
  await using consumer = new Consumer({
    brokers: own.brokers,
    groupId: name('group'),
    topics: [topic],
    startFrom: 'earliest',
    onAssigned: () => {
      throw new RangeError('not with me')
    }
  })
  await assert.rejects(consumer.poll({ timeout: 10_000 }), /not with me/)
  assert.equal((await consumer.poll({ timeout: 10_000 }))?.value?.toString(), '0')
})

test('members share the partitions', async () => {
  const topic = await create(own.brokers, { partitions: 4 })
  const groupId = name('group')
  const member = (): Consumer => new Consumer({ brokers: own.brokers, groupId, topics: [topic] })
  await using first = member()
  await using second = member()
  const deadline = performance.now() + 20_000
  const counts = (): number[] => [first, second].map((consumer) => consumer.assignment().length)
  while (counts().join() !== '2,2' && performance.now() < deadline) await sleep(20)
  assert.deepEqual(counts(), [2, 2])
  const places = [...first.assignment(), ...second.assignment()].map(({ partition }: TopicPartition) => partition)
  assert.deepEqual(places.sort(), [0, 1, 2, 3])
})

test('a signal ends a wait and a loop with its reason', async () => {
  const topic = name('quiet')
  await fill(own.brokers, topic, 1)
  await using consumer = new Consumer({ brokers: own.brokers })
  consumer.assign([{ topic, partition: 0, offset: 1n }])
  await assert.rejects(consumer.poll({ signal: AbortSignal.timeout(30) }), { name: 'TimeoutError' })
  const controller = new AbortController()
  setTimeout(() => controller.abort(new Error('enough')), 30)
  await assert.rejects(async () => {
    for await (const _ of consumer.batches({ signal: controller.signal })) assert.fail('there is nothing')
  }, /enough/)
  await assert.rejects(consumer.poll({ signal: controller.signal }), /enough/)
})

test('waits that are over cost nothing afterwards', async () => {
  const topic = name('waits')
  await fill(own.brokers, topic, 1)
  await using consumer = new Consumer({ brokers: own.brokers })
  consumer.assign([{ topic, partition: 0, offset: 1n }])
  const waits = Array.from({ length: 500 }, () => consumer.poll({ timeout: 5 }))
  assert.ok((await Promise.all(waits)).every((record) => record === undefined))
  const waiting = consumer.poll({ timeout: 10_000 })
  await using producer = new Producer({ brokers: own.brokers })
  await producer.send({ topic, value: 'at last' })
  assert.equal((await waiting)?.value?.toString(), 'at last')
})

test('closing ends a loop, and a closed consumer says so', async () => {
  const topic = name('closing')
  await fill(own.brokers, topic, 2)
  const consumer = new Consumer({ brokers: own.brokers, startFrom: 'earliest' })
  consumer.assign([{ topic, partition: 0 }])
  let count = 0
  for await (const _ of consumer) if (++count === 2) setTimeout(() => void consumer.close(), 30)
  assert.equal(count, 2)
  await consumer.close()
  await assert.rejects(consumer.poll(), errors.ClosedError)
  await assert.rejects(consumer.nextBatch(), errors.ClosedError)
})

test('positions, pauses and places', async () => {
  const topic = name('places')
  const tp = { topic, partition: 0 }
  await fill(own.brokers, topic, 10)
  await using consumer = new Consumer({ brokers: own.brokers, startFrom: 'earliest' })
  consumer.assign([tp])
  assert.equal((await consumer.poll({ timeout: 10_000 }))?.offset, 0n)
  assert.equal(consumer.position(tp), 1n)
  consumer.seek(tp, 8)
  assert.equal((await consumer.poll({ timeout: 10_000 }))?.offset, 8n)
  consumer.pause([tp])
  assert.deepEqual(consumer.paused(), [tp])
  consumer.seek(tp, 'earliest')
  assert.equal(await consumer.poll({ timeout: 50 }), undefined)
  consumer.resume([tp])
  assert.equal((await consumer.poll({ timeout: 10_000 }))?.offset, 0n)
  assert.deepEqual(await consumer.endOffsets([tp]), [{ ...tp, offset: 10n }])
  assert.deepEqual(await consumer.beginningOffsets([tp]), [{ ...tp, offset: 0n }])
  assert.deepEqual(await consumer.offsetsForTimes([{ ...tp, time: new Date(0) }]), [{ ...tp, offset: 0n }])
  assert.throws(() => consumer.seek(tp, 'first' as never), /neither `earliest` nor `latest`/)
  assert.throws(() => consumer.seek({ topic: 'other', partition: 3 }, 0), errors.InvalidArgumentError)
})

test('a deserializer that fails names the record, and only there', async () => {
  const topic = name('damaged')
  await fill(own.brokers, topic, 1)
  await using consumer = new Consumer({
    brokers: own.brokers,
    startFrom: 'earliest',
    valueDeserializer: () => {
      throw new RangeError('cannot read it')
    }
  })
  consumer.assign([{ topic, partition: 0 }])
  const record = await consumer.poll({ timeout: 10_000 })
  assert.equal(record?.key, null)
  assert.throws(
    () => record?.value,
    (error: Error) =>
      error instanceof errors.CorruptError &&
      error.message.includes(`offset 0 of \`${topic}-0\``) &&
      error.cause instanceof RangeError
  )
})

test('a stream gives records as they are taken, and ends when it is left', async () => {
  const topic = name('stream')
  await fill(own.brokers, topic, 2000)
  await using consumer = new Consumer({ brokers: own.brokers, startFrom: 'earliest' })
  consumer.assign([{ topic, partition: 0 }])
  const stream = consumer.stream()
  const offsets: bigint[] = []
  for await (const record of stream as AsyncIterable<ConsumerRecord>) {
    offsets.push(record.offset)
    if (offsets.length === 2000) break
  }
  assert.deepEqual(offsets, Array.from({ length: 2000 }, (_, number) => BigInt(number)))
  const quiet = consumer.stream()
  quiet.on('data', () => assert.fail('there is nothing'))
  await sleep(20)
  const closed = once(quiet, 'close')
  quiet.destroy()
  await closed
})

test('what makes no sense is refused', async () => {
  const { brokers } = own
  assert.throws(() => new Consumer({ brokers, groupId: 'g', topics: 'orders' as never }), /topics are an array/)
  await using consumer = new Consumer({ brokers })
  assert.throws(() => consumer.subscribe(['no-group']), errors.ConfigError)
  assert.throws(() => consumer.assign([{ topic: 'x', partition: 0, offset: 1.5 }]), /whole number/)
})
