// Keeps totals: reads orders in a group, and writes for each what its customer has ordered by then.
//
//     node original.js localhost:9092 billing orders totals
//
// SIGTERM and Ctrl-C end it: what is in hand is written and committed first.

'use strict'

const { Kafka, logLevel } = require('kafkajs')

const [broker, group, orders, totals] = process.argv.slice(2)

const kafka = new Kafka({ clientId: 'billing', brokers: [broker], logLevel: logLevel.ERROR })
const producer = kafka.producer({ idempotent: true })
const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000 })

// What customers have ordered, by partition: whoever loses a partition forgets its customers.
const ordered = new Map()
let done = 0

async function write({ partition, message }) {
  const customer = message.key.toString()
  const { cents } = JSON.parse(message.value.toString())
  const sums = ordered.get(partition) ?? new Map()
  const total = (sums.get(customer) ?? 0) + cents
  ordered.set(partition, sums.set(customer, total))
  await producer.send({
    topic: totals,
    messages: [{ key: customer, value: String(total), headers: message.headers }]
  })
  console.log(`${++done} orders so far`)
}

async function end() {
  await consumer.disconnect()
  await producer.disconnect()
  console.log(`${done} orders`)
}

async function main() {
  await producer.connect()
  await consumer.connect()
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const assigned = payload.memberAssignment[orders] ?? []
    console.log('assigned:', assigned)
    for (const partition of ordered.keys()) {
      if (!assigned.includes(partition)) ordered.delete(partition)
    }
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    console.error(`cannot go on: ${payload.error}`)
    process.exitCode = 1
  })
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, end)
  await consumer.subscribe({ topic: orders, fromBeginning: true })
  await consumer.run({ eachMessage: write })
}

main().catch((error) => {
  console.error(`cannot go on: ${error}`)
  process.exit(1)
})
