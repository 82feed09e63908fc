// Node's clients as loads: ours in each of its ways, kafkajs and @platformatic/kafka. `../README.md` says how a load and its driver
// talk. Run where the packages are installed.

import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'

// Records of one call, where a client takes several.
const BATCH = 500
// Records whose promises are waited for together.
const WINDOW = 20_000
const VALUE_COUNT = 1_000
// Calls that are under way at once, where the caller makes the batches.
const CALLS_MAX = 5

const numbers = { partitions: 6, records: 0, passes: 1, 'value-bytes': 100, 'batch-bytes': 128 * 1024, 'linger-ms': 5 }
const texts = { bootstrap: '', topic: '', codec: 'none', group: '' }
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: Object.fromEntries(
    Object.entries({ ...numbers, ...texts }).map(([name, value]) => [name, { type: 'string', default: String(value) }])
  )
})
const job = Object.fromEntries(
  Object.entries(flags).map(([name, text]) => [
    name.replace(/-./, (letters) => letters[1].toUpperCase()),
    name in numbers ? Number(text) : text
  ])
)

const input = createInterface({ input: process.stdin })

async function mark(line) {
  process.stdout.write(`${line}\n`)
  await once(input, 'line')
}

/** Lines like a service's log: the same in every run. */
function values() {
  const mask = (1n << 64n) - 1n
  return Array.from({ length: VALUE_COUNT }, (_, number) => {
    let trace = (BigInt(number) * 0x9e3779b97f4a7c15n) & mask
    const hex = (value, digits) => value.toString(16).padStart(digits, '0')
    let line = `${1_760_000_000_000 + 7 * number} INFO billing trace=${hex(trace, 16)} GET /v1/orders/${trace % 999_983n} `
    while (line.length < job.valueBytes) {
      line += `accepted v${trace % 97n}=${hex(trace % 0xffffffn, 8)} upstream cached `
      trace = (trace * 31n + 7n) & mask
    }
    return Buffer.from(line.slice(0, job.valueBytes))
  })
}

async function timed(records, work) {
  await mark('ready')
  const began = performance.now()
  await work()
  await mark(JSON.stringify({ records, wall_s: (performance.now() - began) / 1000 }))
}

const partitions = Array.from({ length: job.partitions }, (_, partition) => ({ topic: job.topic, partition }))

function check(value) {
  if (value.length !== job.valueBytes) throw new Error(`a value of ${value.length} bytes`)
}

/** Has batches of records sent, some at once. */
async function pump(perCall, send) {
  const lines = values()
  const running = new Set()
  for (let first = 0; first < job.records; first += perCall) {
    const count = Math.min(perCall, job.records - first)
    const sent = send(Array.from({ length: count }, (_, at) => lines[(first + at) % VALUE_COUNT])).finally(() =>
      running.delete(sent)
    )
    running.add(sent)
    if (running.size >= CALLS_MAX) await Promise.race(running)
  }
  await Promise.all(running)
}

// ---- ours

const ours = {
  brokers: job.bootstrap,
  lingerMs: job.lingerMs,
  batchSize: job.batchBytes,
  compressionType: job.codec
}

/** Sends one by one, many at once; reads record by record. */
const ottla = {
  async produce() {
    const { Producer } = await import('ottla')
    const [lines, { topic }] = [values(), job]
    const producer = new Producer(ours)
    await producer.partitionCount(topic)
    await timed(job.records, async () => {
      for (let first = 0; first < job.records; first += WINDOW) {
        const sent = []
        const end = Math.min(first + WINDOW, job.records)
        for (let number = first; number < end; number++) {
          sent.push(producer.send({ topic, value: lines[number % VALUE_COUNT] }))
        }
        await Promise.all(sent)
      }
    })
    await producer.close()
  },

  async consume() {
    const { Consumer } = await import('ottla')
    await timed(job.records * job.passes, async () => {
      for (let pass = 0; pass < job.passes; pass++) {
        const consumer = new Consumer({ brokers: job.bootstrap, startFrom: 'earliest' })
        consumer.assign(partitions)
        let read = 0
        for await (const record of consumer) {
          check(record.value)
          if (++read === job.records) break
        }
        await consumer.close()
      }
    })
  }
}

/** Sends and reads batches. */
const ottlaBatch = {
  async produce() {
    const { Producer } = await import('ottla')
    const producer = new Producer(ours)
    await producer.partitionCount(job.topic)
    await timed(job.records, () =>
      pump(BATCH, (lines) =>
        producer.send(
          job.topic,
          lines.map((value) => ({ value }))
        )
      )
    )
    await producer.close()
  },

  async consume() {
    const { Consumer } = await import('ottla')
    await timed(job.records * job.passes, async () => {
      for (let pass = 0; pass < job.passes; pass++) {
        const consumer = new Consumer({ brokers: job.bootstrap, startFrom: 'earliest' })
        consumer.assign(partitions)
        let read = 0
        for await (const batch of consumer.batches({ maxRecords: 5000 })) {
          for (const value of batch.values()) check(value)
          read += batch.length
          if (read >= job.records) break
        }
        await consumer.close()
      }
    })
  }
}

// ---- peers: they have no linger, so the caller makes batches of about the size that ours makes

const perCall = Math.max(1, Math.floor((job.batchBytes * job.partitions) / job.valueBytes))

const kafkajs = {
  async client() {
    const { default: kafkajs } = await import('kafkajs')
    const { Kafka, logLevel } = kafkajs
    return [new Kafka({ brokers: job.bootstrap.split(','), logLevel: logLevel.ERROR }), kafkajs]
  },

  async produce() {
    const [kafka, { CompressionTypes, Partitioners }] = await this.client()
    const compression = { none: CompressionTypes.None, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD }[job.codec]
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
    await producer.connect()
    const { topic } = job
    await timed(job.records, () =>
      pump(perCall, (lines) =>
        producer.send({ topic, messages: lines.map((value) => ({ value })), acks: -1, compression })
      )
    )
    await producer.disconnect()
  },

  async consume() {
    const [kafka] = await this.client()
    await timed(job.records * job.passes, async () => {
      for (let pass = 0; pass < job.passes; pass++) {
        // It has groups only.
        const consumer = kafka.consumer({ groupId: `${job.topic}-kafkajs-${process.pid}-${pass}` })
        await consumer.connect()
        await consumer.subscribe({ topic: job.topic, fromBeginning: true })
        let read = 0
        await new Promise((resolve, reject) => {
          consumer
            .run({
              autoCommit: false,
              eachBatch: async ({ batch }) => {
                for (const { value } of batch.messages) check(value)
                read += batch.messages.length
                if (read >= job.records) resolve()
              }
            })
            .catch(reject)
        })
        await consumer.disconnect()
      }
    })
  }
}

const platformatic = {
  async produce() {
    const { Producer, ProduceAcks } = await import('@platformatic/kafka')
    const compression = job.codec
    const options = { clientId: 'load', bootstrapBrokers: job.bootstrap.split(','), autocreateTopics: false }
    const producer = new Producer({ ...options, acks: ProduceAcks.ALL, compression })
    const { topic } = job
    await timed(job.records, () =>
      pump(perCall, (lines) => producer.send({ messages: lines.map((value) => ({ topic, value })) }))
    )
    await producer.close()
  },

  async consume() {
    const { Consumer, MessagesStreamModes } = await import('@platformatic/kafka')
    await timed(job.records * job.passes, async () => {
      for (let pass = 0; pass < job.passes; pass++) {
        const groupId = `${job.topic}-platformatic-${process.pid}-${pass}`
        const consumer = new Consumer({ clientId: 'load', groupId, bootstrapBrokers: job.bootstrap.split(',') })
        const stream = await consumer.consume({
          topics: [job.topic],
          mode: MessagesStreamModes.EARLIEST,
          autocommit: false,
          maxBytes: 8 << 20
        })
        let read = 0
        await new Promise((resolve, reject) => {
          stream.on('error', reject)
          stream.on('data', ({ value }) => {
            check(value)
            if (++read === job.records) resolve()
          })
        })
        await consumer.close(true)
      }
    })
  }
}

const loads = { ottla, 'ottla-batch': ottlaBatch, kafkajs, platformatic }
const [client, verb] = positionals
await loads[client][verb]()
process.exit(0)
