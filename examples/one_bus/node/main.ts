// The gateway: takes customers' orders, so many a second, and writes them.
//
//     node main.js localhost:9092 1000 500

import { setTimeout } from 'node:timers/promises'
import { crc32 } from 'node:zlib'

import { Producer } from 'ottla'

const FRUITS = ['apples', 'bananas', 'cherries', 'dates', 'figs', 'grapes']
const CUSTOMERS = 500
/** How often orders are taken. */
const TURN_MS = 50
/** Orders that are on their way at once. */
const UNDERWAY_MAX = 1_000

const [brokers = 'localhost:9092', orders = '1000', perSecond = '500'] = process.argv.slice(2)

async function main(): Promise<void> {
  await using producer = new Producer({ brokers })
  const began = performance.now()
  let [count, checksum] = [0, 0]
  while (count < Number(orders)) {
    const due = Math.ceil(((performance.now() - began + TURN_MS) / 1000) * Number(perSecond))
    const until = Math.min(due, count + UNDERWAY_MAX, Number(orders))
    const sends = []
    for (; count < until; count++) {
      const customer = `customer-${(count * 7) % CUSTOMERS}`
      const value = `${count} ${((count * 5) % 12) + 1} ${FRUITS[count % FRUITS.length]}`
      sends.push(producer.send({ topic: 'orders', key: customer, value }))
      checksum += crc32(value)
    }
    await Promise.all(sends)
    console.log(`wrote orders ${count} ${checksum}`)
    if (until === due) await setTimeout(TURN_MS)
  }
}

void main()
