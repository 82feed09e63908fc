// The installed package works: its own broker takes a record and gives it back.

import assert from 'node:assert/strict'

import { Consumer, Producer } from 'ottla'
import { Broker } from 'ottla/testing'

const broker = await Broker.start()
const producer = new Producer({ brokers: broker.brokers })
const written = await producer.send({ topic: 'smoke', key: '42', value: 'two apples' })
await producer.close()
const consumer = new Consumer({ brokers: broker.brokers, startFrom: 'earliest' })
consumer.assign([{ topic: 'smoke', partition: 0 }])
const record = await consumer.poll({ timeout: 30_000 })
assert.equal(record?.value?.toString(), 'two apples')
await consumer.close()
await broker.stop()
console.log(`Node: offset ${written.offset} read back`)
