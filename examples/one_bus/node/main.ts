// A shop: sends its orders to a topic, and reads every shop's orders in a group of its own.
//
//     node main.js localhost:9092 orders node 20000 20000

import { crc32 } from 'node:zlib'

import { Consumer, Producer } from 'ottla'

/** Orders that are on their way at once. */
const UNDERWAY_MAX = 1_000

const [brokers = 'localhost:9092', topic = 'orders', name = 'node', toSend = '0', toRead = '0'] = process.argv.slice(2)

interface Total {
  count: number
  checksum: number
}

function add(total: Total, value: Buffer | string): void {
  total.count++
  total.checksum += crc32(value)
}

async function send(orders: number): Promise<Total> {
  const total = { count: 0, checksum: 0 }
  await using producer = new Producer({ brokers })
  while (total.count < orders) {
    const underway = []
    while (underway.length < UNDERWAY_MAX && total.count < orders) {
      const key = `${name}-${total.count}`
      const value = `${key}: ${(total.count % 12) + 1} apples`
      underway.push(producer.send({ topic, key, value }))
      add(total, value)
    }
    await Promise.all(underway)
    console.log(`sent ${total.count}`)
  }
  return total
}

async function read(orders: number): Promise<Total> {
  const total = { count: 0, checksum: 0 }
  await using consumer = new Consumer({ brokers, groupId: name, topics: [topic], startFrom: 'earliest' })
  while (total.count < orders) {
    const batch = await consumer.nextBatch()
    if (batch === undefined) break
    for (const record of batch) add(total, record.value ?? '')
    console.log(`read ${total.count}`)
  }
  return total
}

async function main(): Promise<void> {
  const [sent, taken] = await Promise.all([send(Number(toSend)), read(Number(toRead))])
  console.log(`total sent ${sent.count} ${sent.checksum}`)
  console.log(`total read ${taken.count} ${taken.checksum}`)
}

void main()
