// The runner of Node: the package `ottla`, as a program would use it.
'use strict'

const { createInterface } = require('node:readline')
const { setTimeout: sleep } = require('node:timers/promises')

const { Admin, Consumer, OttlaError, Producer, errors } = require('ottla')

// How long is waited where a step does not say.
const PATIENCE_MS = 30_000
const LOOK_INTERVAL_MS = 10

class UnknownVerb extends Error {}

/** A line: a verb and pairs. */
class Step {
  constructor(text) {
    const [verb, ...pairs] = text.split(' ')
    this.verb = verb
    this.pairs = new Map()
    for (const pair of pairs.filter((pair) => pair !== '')) {
      const at = pair.indexOf('=')
      this.pairs.set(decode(pair.slice(0, at)).toString(), decode(pair.slice(at + 1)))
    }
  }

  text(name) {
    return this.pairs.get(name)?.toString()
  }

  number(name) {
    const text = this.text(name)
    return text === undefined ? undefined : Number(text)
  }

  prefixed(prefix) {
    const found = [...this.pairs].filter(([name]) => name.startsWith(prefix))
    return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value.toString()]))
  }

  partition() {
    return partitionAt(this.text('partition'))
  }

  partitions() {
    return this.text('partitions').split(',').map(partitionAt)
  }

  get patience() {
    return this.number('timeout_ms') ?? PATIENCE_MS
  }

  headers() {
    return Object.values(this.prefixed('header.')).map((header) => {
      const colon = header.indexOf(':')
      if (colon < 0) return [decode(header).toString(), null]
      return [decode(header.slice(0, colon)).toString(), decode(header.slice(colon + 1))]
    })
  }

  record() {
    return {
      topic: this.text('topic'),
      value: this.pairs.get('value') ?? null,
      key: this.pairs.get('key') ?? null,
      headers: this.headers(),
      partition: this.number('partition'),
      timestamp: this.number('timestamp')
    }
  }
}

/** `orders-0`, or `orders-0@5`. */
function partitionAt(text) {
  const [place, offset] = text.split('@')
  const dash = place.lastIndexOf('-')
  const tp = { topic: place.slice(0, dash), partition: Number(place.slice(dash + 1)) }
  return offset === undefined ? tp : { ...tp, offset: BigInt(offset) }
}

function decode(text) {
  const bytes = []
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '%') {
      bytes.push(Number.parseInt(text.slice(at + 1, at + 3), 16))
      at += 2
    } else {
      bytes.push(text.charCodeAt(at))
    }
  }
  return Buffer.from(bytes)
}

function encode(data) {
  let text = ''
  for (const byte of Buffer.from(data)) {
    const letter = String.fromCharCode(byte)
    text += /[A-Za-z0-9._-]/.test(letter) ? letter : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`
  }
  return text
}

function line(word, pairs) {
  const parts = [word]
  for (const [name, value] of Object.entries(pairs)) {
    if (value === undefined || value === null) continue
    parts.push(`${name}=${encode(value instanceof Uint8Array ? value : String(value))}`)
  }
  return parts.join(' ')
}

function told(record) {
  const { topic, partition, offset, timestamp, key, value } = record
  const pairs = { topic, partition, offset, timestamp, key, value }
  record.headers.forEach(([name, value], number) => {
    pairs[`header.${number}`] = value === null ? encode(name) : `${encode(name)}:${encode(value)}`
  })
  return line('record', pairs)
}

function refused(error) {
  if (error instanceof OttlaError) {
    const { code, errno, retriable, fatal, message } = error
    return line('error', { name: code, code: errno, retriable, fatal, message })
  }
  return line('error', { name: error instanceof UnknownVerb ? 'UNKNOWN_VERB' : 'RUNNER', message: `${error.stack}` })
}

async function until(patience, look) {
  const deadline = performance.now() + patience
  for (;;) {
    const found = look()
    if (found !== undefined) return found
    if (performance.now() >= deadline) throw new Error('it did not come about')
    await sleep(LOOK_INTERVAL_MS)
  }
}

async function outcomes(promises) {
  const settled = await Promise.allSettled(promises)
  const failed = settled.filter(({ status }) => status === 'rejected')
  return { acknowledged: settled.length - failed.length, failed: failed.length, error: failed[0]?.reason.code }
}

/** Fails when one of them was not even taken; where a thread can wait, its send would. */
function notTaken(promises) {
  return new Promise((_, reject) => {
    for (const promise of promises) {
      promise.catch((error) => {
        if (error instanceof errors.BufferFullError) reject(error)
      })
    }
  })
}

const makers = { producer: Producer, consumer: Consumer, admin: Admin }
const clients = new Map()
const later = new Map()

async function run(step) {
  const name = step.text('client')
  const Maker = makers[step.verb]
  if (Maker !== undefined) {
    clients.set(name, new Maker(step.prefixed('set.')))
    later.set(name, [])
    return [line('ok', {})]
  }
  const client = clients.get(name)
  if (client instanceof Producer) return [line('ok', await produce(client, later.get(name), step))]
  if (client instanceof Admin) return [line('ok', await administer(client, step))]
  if (step.verb !== 'poll') return [line('ok', await consume(client, step))]
  const deadline = performance.now() + step.patience
  const count = step.number('count')
  const lines = []
  while (count === undefined || lines.length < count) {
    const record = await client.poll({ timeout: Math.max(0, deadline - performance.now()) })
    if (record === undefined) break
    lines.push(told(record))
  }
  return [...lines, line('ok', { count: lines.length })]
}

async function produce(producer, later, step) {
  switch (step.verb) {
    case 'send': {
      const { partition, offset, timestamp } = await producer.send(step.record())
      return { partition, offset, timestamp }
    }
    case 'send_later': {
      const sent = producer.send(step.record())
      sent.catch(() => {})
      later.push(sent)
      return {}
    }
    case 'send_many': {
      const [count, keys, size] = ['count', 'keys', 'value_bytes'].map((name) => step.number(name) ?? 0)
      const sent = Array.from({ length: count }, (_, number) =>
        producer.send({
          topic: step.text('topic'),
          value: String(number).padStart(10, '0').padEnd(size, 'x'),
          key: keys > 0 ? `key-${number % keys}` : null,
          partition: step.number('partition')
        })
      )
      return Promise.race([outcomes(sent), notTaken(sent)])
    }
    case 'outcomes':
      return outcomes(later.splice(0))
    case 'flush':
      await producer.flush({ signal: AbortSignal.timeout(step.patience) })
      return {}
    case 'close':
      await producer.close({ timeout: step.patience })
      return {}
  }
  throw new UnknownVerb(`there is no verb \`${step.verb}\``)
}

async function consume(consumer, step) {
  switch (step.verb) {
    case 'assign':
      consumer.assign(step.partitions())
      return {}
    case 'subscribe':
      consumer.subscribe(step.text('topics').split(','))
      return {}
    case 'subscribe_pattern':
      consumer.subscribePattern(step.text('pattern'))
      return {}
    case 'unsubscribe':
      await consumer.unsubscribe()
      return {}
    case 'seek': {
      const offset = step.text('offset')
      consumer.seek(step.partition(), ['earliest', 'latest'].includes(offset) ? offset : BigInt(offset))
      return {}
    }
    case 'pause':
      consumer.pause(step.partitions())
      return {}
    case 'resume':
      consumer.resume(step.partitions())
      return {}
    case 'position':
      return { offset: await until(step.patience, () => consumer.position(step.partition())) }
    case 'commit': {
      const offset = step.number('offset')
      await consumer.commit(offset === undefined ? undefined : [{ ...step.partition(), offset }])
      return {}
    }
    case 'committed':
      return { offset: (await consumer.committed([step.partition()]))[0]?.offset }
    case 'await_assignment': {
      const count = step.number('count') ?? 0
      const look = () => {
        const assigned = consumer.assignment().map(({ topic, partition }) => `${topic}-${partition}`)
        return assigned.length === count ? assigned.sort().join(',') : undefined
      }
      return { partitions: await until(step.patience, look) }
    }
    case 'offset_for_time': {
      const found = await consumer.offsetsForTimes([{ ...step.partition(), time: step.number('timestamp') }])
      return { offset: found[0]?.offset }
    }
    case 'watermarks': {
      const [low] = await consumer.beginningOffsets([step.partition()])
      const [high] = await consumer.endOffsets([step.partition()])
      return { low: low.offset, high: high.offset }
    }
    case 'close':
      await consumer.close({ timeout: step.patience })
      return {}
  }
  throw new UnknownVerb(`there is no verb \`${step.verb}\``)
}

async function administer(admin, step) {
  const topic = step.text('topic')
  switch (step.verb) {
    case 'create_topic':
      await admin.createTopics([
        { name: topic, partitions: step.number('partitions') ?? 1, config: step.prefixed('config.') }
      ])
      return {}
    case 'delete_topic':
      await admin.deleteTopics([topic])
      return {}
    case 'describe_topic': {
      const [described] = await admin.describeTopics([topic])
      return { partitions: described.partitions.length }
    }
    case 'list_topics': {
      const topics = await admin.listTopics()
      return { topics: topics.map(({ name }) => name).sort().join(',') }
    }
    case 'create_partitions':
      await admin.createPartitions({ [topic]: step.number('partitions') })
      return {}
    case 'topic_config':
      return { value: (await admin.topicConfig(topic)).get(step.text('key')).value }
    case 'alter_topic_config':
      await admin.alterTopicConfig(topic, { [step.text('key')]: step.text('value') ?? null })
      return {}
    case 'list_groups': {
      const groups = await admin.listGroups()
      return { groups: groups.map(({ groupId }) => groupId).sort().join(',') }
    }
    case 'describe_group': {
      const [{ state, members }] = await admin.describeGroups([step.text('group')])
      return { state, members: members.length }
    }
    case 'delete_group':
      await admin.deleteGroups([step.text('group')])
      return {}
  }
  throw new UnknownVerb(`there is no verb \`${step.verb}\``)
}

async function main() {
  for await (const text of createInterface({ input: process.stdin })) {
    const answer = await run(new Step(text)).catch((error) => [refused(error)])
    process.stdout.write(`${answer.join('\n')}\n`)
  }
  // What is still awaited would keep this alive.
  await Promise.allSettled([...clients.values()].map((client) => client.close({ timeout: 0 })))
}

main()
