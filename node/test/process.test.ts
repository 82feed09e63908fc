// What happens to the process around: its end, its threads, its loop.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

import { Consumer, Producer, setLog, version } from 'ottla'

import { broker, create, fill, first, name, run } from './support.js'

const own = broker()

test('the package is one for programs of both kinds', async () => {
  const both = await run(
    `import { createRequire } from 'node:module'
     import * as imported from 'ottla'
     import { Broker } from 'ottla/testing'
     const required = createRequire(process.cwd() + '/')('ottla')
     console.log(imported.Producer === required.Producer, typeof Broker.start, imported.version)`,
    'module'
  )
  assert.deepEqual([both.code, both.stdout, both.stderr], [0, `true function ${version}\n`, ''])
})

test('a client that does nothing keeps no process alive', async () => {
  const { code, stderr } = await run(`
    const { Consumer, Producer } = require('ottla')
    new Producer({ brokers: '${own.brokers}' })
    new Consumer({ brokers: '${own.brokers}' })`)
  assert.deepEqual([code, stderr], [0, ''])
})

test('what is awaited keeps it alive', async () => {
  const topic = name('awaited')
  const { code, stdout } = await run(`
    const { Producer } = require('ottla')
    new Producer({ brokers: '${own.brokers}' }).send({ topic: '${topic}', value: 'x' }).then(({ offset }) => console.log(offset))`)
  assert.deepEqual([code, stdout], [0, '0n\n'])
})

test('what was sent is delivered when the program ends', async () => {
  for (const end of ['', 'process.exit(3)', "setImmediate(() => { throw new Error('as it should') })"]) {
    const topic = await create(own.brokers)
    const { code } = await run(`
      const { Producer } = require('ottla')
      const producer = new Producer({ brokers: '${own.brokers}', lingerMs: 20000 })
      producer.partitionCount('${topic}').then(() => {
        producer.sendNoWait({ topic: '${topic}', value: 'nobody flushes' })
        ${end}
      })`)
    assert.equal(code, end === '' ? 0 : end.startsWith('process') ? 3 : 1)
    const [record] = await first(own.brokers, topic, 1)
    assert.equal(record?.value?.toString(), 'nobody flushes')
  }
})

test('ctrl-c ends a program that waits within a tenth of a second', async () => {
  const topic = name('ctrl-c')
  await fill(own.brokers, topic, 1)
  const source = `
    const { Consumer } = require('ottla')
    const consumer = new Consumer({ brokers: '${own.brokers}', startFrom: 'earliest' })
    consumer.assign([{ topic: '${topic}', partition: 0 }])
    ;(async () => { for await (const record of consumer) console.log('reading') })()`
  const took = async (): Promise<number> => {
    const child = spawn(process.execPath, ['--eval', source], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(createInterface(child.stdout), 'line')
    const began = performance.now()
    child.kill('SIGINT')
    const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    assert.equal(signal, 'SIGINT')
    return performance.now() - began
  }
  // A machine that is busy with something else may be slow once.
  assert.ok(Math.min(await took(), await took(), await took()) < 100)
})

test('threads have clients of their own, and may be ended at any time', async () => {
  const topic = await create(own.brokers)
  const source = `
    const { parentPort, workerData } = require('node:worker_threads')
    const { Consumer, Producer } = require('ottla')
    const producer = new Producer({ brokers: workerData.brokers })
    const consumer = new Consumer({ brokers: workerData.brokers, startFrom: 'earliest' })
    consumer.assign([{ topic: workerData.topic, partition: 0 }])
    Promise.all(Array.from({ length: 1000 }, () => producer.send({ topic: workerData.topic, value: 'x' })))
      .then((written) => parentPort.postMessage(written.length))
    ;(async () => { for await (const _ of consumer); })()`
  const workers = Array.from(
    { length: 4 },
    () => new Worker(source, { eval: true, workerData: { brokers: own.brokers, topic } })
  )
  const counts = await Promise.all(workers.map(async (worker) => ((await once(worker, 'message')) as [number])[0]))
  assert.deepEqual(counts, [1000, 1000, 1000, 1000])
  await Promise.all(workers.map((worker) => worker.terminate()))
  assert.equal((await first(own.brokers, topic, 4000)).length, 4000)
})

test('clients come and go a thousand times, a hundred at once, and leave nothing', async () => {
  const topic = await create(own.brokers)
  const threads = async (): Promise<number> => {
    const status = await readFile('/proc/self/status', 'utf8').catch(() => 'Threads:\t0')
    return Number(/Threads:\t(\d+)/.exec(status)?.[1])
  }
  const before = await threads()
  for (let round = 0; round < 10; round++) {
    const clients = Array.from({ length: 50 }, () => [
      new Producer({ brokers: own.brokers }),
      new Consumer({ brokers: own.brokers })
    ]).flat()
    const written = clients.map((client) => (client instanceof Producer ? client.send({ topic, value: 'x' }) : undefined))
    await Promise.all(written)
    await Promise.all(clients.map((client) => client.close()))
  }
  const deadline = performance.now() + 20_000
  while ((await threads()) > before + 5 && performance.now() < deadline) await sleep(20)
  assert.ok((await threads()) <= before + 5, `${before} threads before, ${await threads()} after`)
})

test('memory stays as it is, however many records go through', async () => {
  const records = Number(process.env['OTTLA_ENDURANCE_RECORDS'] ?? 300_000)
  const topic = await create(own.brokers, { config: { 'retention.bytes': 64 << 20, 'segment.bytes': 16 << 20 } })
  await using producer = new Producer({ brokers: own.brokers })
  await using consumer = new Consumer({ brokers: own.brokers, startFrom: 'earliest' })
  consumer.assign([{ topic, partition: 0 }])
  const batch = Array.from({ length: 1000 }, () => ({ value: 'x'.repeat(100) }))
  const rss: number[] = []
  let read = 0
  for (let sent = 0; sent < records; sent += batch.length) {
    await producer.send(topic, batch)
    while (read < sent) {
      const found = await consumer.nextBatch({ maxRecords: 5000, timeout: 10_000 })
      assert.ok(found)
      for (const value of found.values()) assert.equal(value?.length, 100)
      read += found.length
    }
    rss.push(process.memoryUsage.rss())
  }
  const half = rss.slice(rss.length / 2)
  const grown = Math.max(...half) - Math.max(...rss.slice(rss.length / 4, rss.length / 2))
  assert.ok(grown < 64 << 20, `it grew by ${grown} bytes`)
})

test('the log comes to a function or a logger', async () => {
  const lines: [string, string, string][] = []
  setLog('info', (level, part, text) => lines.push([level, part, text]))
  const producer = new Producer({ brokers: 'localhost:1' })
  const deadline = performance.now() + 10_000
  producer.sendNoWait({ topic: 'orders', value: 'x' })
  while (lines.length === 0 && performance.now() < deadline) await sleep(10)
  setLog('off')
  await producer.close({ timeout: 0 }).catch(() => {})
  assert.ok(lines.some(([level, part]) => level === 'warn' && part.startsWith('ottla')), JSON.stringify(lines))
  assert.throws(() => setLog('loud' as never), /is not a level/)
})
