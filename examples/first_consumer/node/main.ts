// Reads a topic's partition from its beginning, until nothing has come for two seconds.
//
//     node main.js localhost:9092 greetings

import { Consumer } from 'ottla'

const [brokers = 'localhost:9092', topic = 'greetings'] = process.argv.slice(2)

async function main(): Promise<void> {
  await using consumer = new Consumer({ brokers, startFrom: 'earliest' })
  consumer.assign([{ topic, partition: 0 }])
  for await (const record of consumer.records({ timeout: 2000 })) {
    console.log(`${record.offset}: ${record.value?.toString()}`)
  }
}

void main()
