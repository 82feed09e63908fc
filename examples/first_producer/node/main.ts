// Writes a few records and says where they are.
//
//     node main.js localhost:9092 greetings

import { Producer } from 'ottla'

const [brokers = 'localhost:9092', topic = 'greetings'] = process.argv.slice(2)

async function main(): Promise<void> {
  await using producer = new Producer({ brokers })
  const sent = ['Ada', 'Grace', 'Barbara'].map((name) =>
    producer.send({ topic, key: name, value: `hello, ${name}`, headers: { language: 'node' } })
  )
  for (const written of await Promise.all(sent)) {
    console.log(`written to ${written.topic}-${written.partition} at offset ${written.offset}`)
  }
}

void main()
