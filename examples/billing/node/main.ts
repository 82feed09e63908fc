// Adds up what customers order, and writes each new total to another topic: a program of kafkajs (`../kafkajs/main.js`), ported.
//
//     node main.js localhost:9092 orders totals

import { Admin, Consumer, Producer, serde } from 'ottla'

const [brokers = 'localhost:9092', orders = 'orders', totals = 'totals'] = process.argv.slice(2)

interface Order {
  cents: number
}

async function main(): Promise<void> {
  await using admin = new Admin({ brokers, clientId: 'billing' })
  await admin.createTopics([
    { name: orders, partitions: 3 },
    { name: totals, partitions: 1, config: { 'cleanup.policy': 'compact' } }
  ])

  await using producer = new Producer({ brokers, clientId: 'billing' })
  await producer.send(orders, [
    { key: 'ada', value: JSON.stringify({ cents: 250 }), headers: { source: 'shop' } },
    { key: 'grace', value: JSON.stringify({ cents: 1000 }), headers: { source: 'shop' } },
    { key: 'ada', value: JSON.stringify({ cents: 50 }), headers: { source: 'phone' } }
  ])

  await using consumer = new Consumer<string, Order>({
    brokers,
    clientId: 'billing',
    groupId: `${orders}-billing`,
    topics: [orders],
    startFrom: 'earliest',
    keyDeserializer: serde.fromString,
    valueDeserializer: serde.fromJson<Order>
  })
  const sums = new Map<string, number>()
  let seen = 0
  for await (const { key, value, headers } of consumer) {
    const customer = key ?? ''
    const total = (sums.get(customer) ?? 0) + (value?.cents ?? 0)
    sums.set(customer, total)
    const { offset } = await producer.send({ topic: totals, key: customer, value: String(total), headers })
    console.log(`${customer}: ${total} (${headers[0]?.[1]?.toString()}), at offset ${offset}`)
    if (++seen === 3) break
  }
}

void main()
