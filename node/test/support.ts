// What the tests have in common.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before } from 'node:test'

import { Admin, Consumer, type ConsumerRecord, type NewTopic, Producer } from 'ottla'
import { Broker } from 'ottla/testing'

/** A broker for all tests of a file. */
export function broker(): { readonly brokers: string } {
  let started: Broker | undefined
  before(async () => {
    // Rebalances at the pace of tests.
    started = await Broker.start({
      'group.consumer.min.heartbeat.interval.ms': 100,
      'group.consumer.heartbeat.interval.ms': 100,
      'group.consumer.assignment.interval.ms': 0
    })
  })
  after(() => started?.stop())
  return {
    get brokers() {
      if (started === undefined) throw new Error('the broker is there in tests only')
      return started.brokers
    }
  }
}

/** Where tokens are that tests log in with. */
export const tokens = process.env['OTTLA_TEST_TOKENS'] ?? '../tests/tokens'

let number = 0

/** A name that no other test has. */
export function name(stem: string): string {
  return `${stem}-${process.pid}-${number++}`
}

/**
 * Writes so many records, whose values are their numbers, as one batch. A producer with nothing under way sends what is there: if
 * that was not all yet, the topic is made anew.
 */
export async function fill(brokers: string, topic: string, count: number): Promise<void> {
  for (;;) {
    await using producer = new Producer({ brokers, batchSize: 1_000_000 })
    await producer.send(topic, Array.from({ length: count }, (_, number) => ({ value: String(number) })))
    if (producer.metrics()['batch-send-total'] === 1) return
    await using admin = new Admin({ brokers })
    await admin.deleteTopics([topic])
  }
}

/** A topic of a name of its own. */
export async function create(brokers: string, topic: Omit<NewTopic, 'name'> = {}): Promise<string> {
  const own = name('topic')
  await using admin = new Admin({ brokers })
  await admin.createTopics([{ name: own, ...topic }])
  return own
}

/** The first records of partition 0. */
export async function first(brokers: string, topic: string, count: number): Promise<ConsumerRecord[]> {
  await using consumer = new Consumer({ brokers, startFrom: 'earliest' })
  consumer.assign([{ topic, partition: 0 }])
  const records: ConsumerRecord[] = []
  for await (const record of consumer.records({ timeout: 10_000 })) {
    records.push(record)
    if (records.length === count) break
  }
  return records
}

/** How a program of its own ended. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Runs a program of CommonJS, or of ES modules, beside the tests. */
export async function run(source: string, type: 'commonjs' | 'module' = 'commonjs'): Promise<Ended> {
  const child = spawn(process.execPath, [`--input-type=${type}`, '--eval', source], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { code, signal, stdout, stderr }
}
