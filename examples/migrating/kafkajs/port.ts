// Keeps totals: reads orders in a group, and writes for each what its customer has ordered by then.
//
//     node port.js localhost:9092 billing orders totals
//
// SIGTERM and Ctrl-C end it: what is in hand is written and committed first.

import { Consumer, Producer, serde } from 'ottla'

const [brokers = '', group = '', orders = '', totals = ''] = process.argv.slice(2)

interface Order {
  cents: number
}

// What customers have ordered, by partition: whoever loses a partition forgets its customers.
const ordered = new Map<number, Map<string, number>>()
const stop = new AbortController()
let done = 0

async function main(): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort())
  await using producer = new Producer({ brokers, clientId: 'billing' })
  await using consumer = new Consumer<string, Order>({
    brokers,
    clientId: 'billing',
    groupId: group,
    topics: [orders],
    startFrom: 'earliest',
    sessionTimeoutMs: 10_000,
    keyDeserializer: serde.fromString,
    valueDeserializer: serde.fromJson<Order>,
    onAssigned: (_, partitions) => console.log('assigned:', partitions.map(({ partition }) => partition)),
    onRevoked: (_, partitions) => {
      for (const { partition } of partitions) ordered.delete(partition)
    }
  })
  for await (const { partition, key, value, headers } of consumer.records({ signal: stop.signal })) {
    const customer = key ?? ''
    const sums = ordered.get(partition) ?? new Map<string, number>()
    const total = (sums.get(customer) ?? 0) + (value?.cents ?? 0)
    ordered.set(partition, sums.set(customer, total))
    await producer.send({ topic: totals, key: customer, value: String(total), headers })
    console.log(`${++done} orders so far`)
  }
}

main()
  .catch((error: unknown) => {
    // What ends the loop when it is told to stop.
    if (error === stop.signal.reason) return
    console.error(`cannot go on: ${error}`)
    process.exitCode = 1
  })
  .finally(() => console.log(`${done} orders`))
