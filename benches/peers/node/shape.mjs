// The shape of the benchmark that @platformatic/kafka publishes of itself: small records of one partition, nobody acknowledges, one call is
// awaited before the next begins; reading by fetches of 2 KiB. It tells what a call costs where nothing can be done together.
//
//     node shape.mjs localhost:9092 [calls]
//
// Run where the packages are installed, on a machine that has nothing else to do. Prints calls, or records read, each second.

import { randomUUID } from 'node:crypto'

const [bootstrap = 'localhost:9092', calls = '100000'] = process.argv.slice(2)
const COUNT = Number(calls)
const BATCH = 100
const FETCH_BYTES = 2048
const FETCH_WAIT_MS = 10
const topic = `shape-${randomUUID()}`

const record = (number) => ({ key: `111-${number}`, value: '222', headers: { a: '123', b: '456' }, partition: 0 })
const batch = (number) => Array.from({ length: BATCH }, (_, at) => record(number * BATCH + at))

async function each(calls, call) {
  const began = performance.now()
  for (let number = 0; number < calls; number++) await call(number)
  return (calls / (performance.now() - began)) * 1000
}

/** Until so many records were read, from the first on. */
function reading() {
  let [began, read] = [0, 0]
  let end
  const rate = new Promise((resolve) => (end = resolve))
  const count = (records = 1) => {
    began ||= performance.now()
    const isBefore = read < COUNT
    read += records
    if (isBefore && read >= COUNT) end((read / (performance.now() - began)) * 1000)
    return read >= COUNT
  }
  return { rate, count }
}

const clients = {
  async ottla() {
    const { Consumer, Producer } = await import('ottla')
    const producer = new Producer({ brokers: bootstrap, acks: 0, enableIdempotence: false })
    const single = await each(COUNT, (number) => producer.send({ topic, ...record(number) }))
    const batches = await each(COUNT / BATCH, (number) => producer.send(topic, batch(number)))
    await producer.close()
    const consumer = new Consumer({
      brokers: bootstrap,
      groupId: randomUUID(),
      topics: [topic],
      startFrom: 'earliest',
      enableAutoCommit: false,
      fetchMaxBytes: FETCH_BYTES,
      fetchMaxWaitMs: FETCH_WAIT_MS
    })
    const { rate, count } = reading()
    for await (const _ of consumer) if (count()) break
    await consumer.close()
    return [single, batches, await rate]
  },

  async kafkajs() {
    const { default: kafkajs } = await import('kafkajs')
    process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
    const client = new kafkajs.Kafka({ brokers: [bootstrap], logLevel: kafkajs.logLevel.ERROR })
    const producer = client.producer({ maxInFlightRequests: BATCH })
    await producer.connect()
    const single = await each(COUNT, (number) => producer.send({ topic, messages: [record(number)], acks: 0 }))
    const batches = await each(COUNT / BATCH, (number) => producer.send({ topic, messages: batch(number), acks: 0 }))
    await producer.disconnect()
    const consumer = client.consumer({ groupId: randomUUID(), maxWaitTimeInMs: FETCH_WAIT_MS, maxBytes: FETCH_BYTES })
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    const { rate, count } = reading()
    await consumer.run({ autoCommit: false, eachMessage: async () => void count() })
    const read = await rate
    await consumer.disconnect()
    return [single, batches, read]
  },

  async platformatic() {
    const { Consumer, MessagesStreamModes, ProduceAcks, Producer, stringSerializers } = await import('@platformatic/kafka')
    const base = { clientId: 'shape', bootstrapBrokers: [bootstrap] }
    const producer = new Producer({ ...base, serializers: stringSerializers, autocreateTopics: true })
    const acks = ProduceAcks.NO_RESPONSE
    const single = await each(COUNT, (number) => producer.send({ messages: [{ topic, ...record(number) }], acks }))
    const send = (number) => producer.send({ messages: batch(number).map((one) => ({ topic, ...one })), acks })
    const batches = await each(COUNT / BATCH, send)
    await producer.close()
    const consumer = new Consumer({
      ...base,
      groupId: randomUUID(),
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      maxWaitTime: FETCH_WAIT_MS,
      autocommit: false
    })
    const { rate, count } = reading()
    const stream = await consumer.consume({ topics: [topic], mode: MessagesStreamModes.EARLIEST })
    stream.on('data', () => void count())
    const read = await rate
    await consumer.close(true)
    return [single, batches, read]
  }
}

for (const [name, run] of Object.entries(clients)) {
  const [single, batches, read] = (await run()).map(Math.round)
  console.log(JSON.stringify({ client: name, single_per_s: single, batches_of_100_per_s: batches, read_per_s: read }))
}
process.exit(0)
