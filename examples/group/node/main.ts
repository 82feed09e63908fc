// A member of a group: reads what the group gives it, commits what it is done with, and is told of rebalances.
//
//     node main.js localhost:9092 greetings

import { Consumer } from 'ottla'

const [brokers = 'localhost:9092', topic = 'greetings'] = process.argv.slice(2)

async function main(): Promise<void> {
  await using consumer = new Consumer({
    brokers,
    groupId: topic,
    topics: [topic],
    startFrom: 'earliest',
    enableAutoCommit: false,
    onAssigned: (_, partitions) => {
      for (const { topic, partition } of partitions) console.log(`assigned: ${topic}-${partition}`)
    }
  })
  const batch = await consumer.nextBatch({ timeout: 10_000 })
  if (batch !== undefined) {
    for (const record of batch) console.log(record.value?.toString())
    await consumer.commit(batch)
  }
}

void main()
