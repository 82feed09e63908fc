// Adds up what customers order, and writes each new total to another topic: as it is written with kafkajs.
// `../node/main.ts` is the same program with ottla.
//
//     node main.js localhost:9092 orders totals

'use strict'

const { Kafka, logLevel } = require('kafkajs')

const [broker = 'localhost:9092', orders = 'orders', totals = 'totals'] = process.argv.slice(2)

const kafka = new Kafka({ clientId: 'billing', brokers: [broker], logLevel: logLevel.NOTHING })

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({
    topics: [
      { topic: orders, numPartitions: 3 },
      { topic: totals, numPartitions: 1, configEntries: [{ name: 'cleanup.policy', value: 'compact' }] }
    ]
  })
  await admin.disconnect()

  const producer = kafka.producer({ idempotent: true })
  await producer.connect()
  await producer.send({
    topic: orders,
    messages: [
      { key: 'ada', value: JSON.stringify({ cents: 250 }), headers: { source: 'shop' } },
      { key: 'grace', value: JSON.stringify({ cents: 1000 }), headers: { source: 'shop' } },
      { key: 'ada', value: JSON.stringify({ cents: 50 }), headers: { source: 'phone' } }
    ]
  })

  const consumer = kafka.consumer({ groupId: `${orders}-billing` })
  await consumer.connect()
  await consumer.subscribe({ topic: orders, fromBeginning: true })
  const sums = new Map()
  let seen = 0
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
    consumer.run({
      eachMessage: async ({ message }) => {
        const customer = message.key.toString()
        const { cents } = JSON.parse(message.value.toString())
        const total = (sums.get(customer) ?? 0) + cents
        sums.set(customer, total)
        const [{ baseOffset }] = await producer.send({
          topic: totals,
          messages: [{ key: customer, value: String(total), headers: { source: message.headers.source } }]
        })
        console.log(`${customer}: ${total} (${message.headers.source}), at offset ${baseOffset}`)
        if (++seen === 3) resolve()
      }
    }).catch(reject)
  })
  await consumer.disconnect()
  await producer.disconnect()
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
