import { Writable } from 'node:stream'

import type { ProducerConfig as Keys } from './config.js'
import { Many, One, RecordMetadata, Waiters } from './delivery.js'
import { type EventLoop, eventLoop } from './event-loop.js'
import { closed, invalid } from './errors.js'
import { watch } from './exit.js'
import { type Producer as NativeProducer, type Token, native } from './native.js'
import { settings } from './settings.js'
import { within } from './signal.js'
import { type Headers, type Payload, Slab, bytesMax, checked } from './slab.js'
import type { WithTokens } from './tokens.js'

/** Makes bytes of a key or value. */
export type Serializer<T> = (value: T, topic: string) => Payload

/** The settings of a producer: Kafka's keys, as they are or in camel case. */
export interface ProducerConfig<K = Payload, V = Payload> extends Omit<Keys, 'keySerializer' | 'valueSerializer'>, WithTokens {
  /** Where the cluster is: `bootstrap.servers`. */
  brokers?: string | readonly string[] | undefined
  keySerializer?: Serializer<K> | undefined
  valueSerializer?: Serializer<V> | undefined
}

/** A record to be sent. */
export interface NewRecord<K = Payload, V = Payload> {
  topic: string
  key?: K | null | undefined
  /** Null is a tombstone: it deletes its key where the topic is compacted. */
  value?: V | null | undefined
  headers?: Headers | undefined
  /** Its partition; else the key's, or one with little to do. */
  partition?: number | undefined
  /** Milliseconds since the epoch, or a `Date`; else now. */
  timestamp?: number | bigint | Date | undefined
}

/** A record of many for one topic. */
export type RecordOf<K = Payload, V = Payload> = Omit<NewRecord<K, V>, 'topic'>

/** For how long something is waited for. */
export interface Waiting {
  /** Gives up waiting. What was begun goes on. */
  signal?: AbortSignal | undefined
}

export interface Closing {
  /** Milliseconds after which what is not acknowledged fails. By default `delivery.timeout.ms` decides. */
  timeout?: number | undefined
}

const OWN = ['keySerializer', 'valueSerializer']
/** How long closing waits where nobody says: until `delivery.timeout.ms` has decided on every record. */
const CLOSE_MAX_MS = 24 * 3600 * 1000

/**
 * Sends records. Its I/O is done on a thread of its own, and there is nothing to poll.
 *
 * ```ts
 * await using producer = new Producer({ brokers: 'localhost:9092', compressionType: 'zstd' })
 * const { offset } = await producer.send({ topic: 'orders', key: '42', value: 'two apples' })
 * ```
 *
 * `acks=all` and idempotence are the defaults. Closing sends what was taken and waits for it.
 */
export class Producer<K = Payload, V = Payload> implements AsyncDisposable {
  readonly #native: NativeProducer
  readonly #loop: EventLoop
  readonly #keySerializer: Serializer<K> | undefined
  readonly #valueSerializer: Serializer<V> | undefined
  readonly #slab = new Slab()
  readonly #waiters = new Waiters()
  readonly #topics = new Map<string, number>()
  #topic = ''
  #topicNumber = -1
  /** The token of the slab's first record; below zero, nobody waits for those in it. */
  #first: Token = -1
  /** The slab will be handed over in this turn. */
  #isDue = false
  /** Records wait in the native half for room. */
  #isFull = false
  #closing: Promise<void> | undefined
  /** Closing has ended, and the native half is let go. */
  #isGone = false
  /** Records were sent that nobody waits for, since they were last flushed. */
  #hasUnasked = false

  constructor(config: ProducerConfig<K, V>) {
    this.#loop = eventLoop()
    this.#keySerializer = config.keySerializer
    this.#valueSerializer = config.valueSerializer
    const number = this.#loop.addProducer(this)
    const provider = this.#loop.addProvider(this, config.oauthBearerProvider)
    this.#native = new (native().Producer)(this.#loop.native, number, settings(config, OWN), provider)
    watch(this)
  }

  /**
   * Sends a record; the promise tells where it was written, or why not.
   *
   * All that is sent in a turn goes to the native half together. Where there is no room in `buffer.memory`, records wait their turn.
   */
  send(record: NewRecord<K, V>): Promise<RecordMetadata>
  /** Sends many records for a topic; they fail together, with the first failure, when all have ended. */
  send(topic: string, records: readonly RecordOf<K, V>[]): Promise<RecordMetadata[]>
  send(
    what: NewRecord<K, V> | string,
    records?: readonly RecordOf<K, V>[]
  ): Promise<RecordMetadata> | Promise<RecordMetadata[]> {
    try {
      if (typeof what === 'string') return this.#sendMany(what, records ?? [])
      return this.#sendOne(what)
    } catch (error) {
      return Promise.reject<never>(error as Error)
    }
  }

  /**
   * Sends a record whose fate nobody asks for: failures are logged and counted. Says whether there is room for more: if not, await
   * `ready()`, so that records do not pile up.
   */
  sendNoWait(record: NewRecord<K, V>): boolean {
    if (this.#closing !== undefined) throw closed()
    const key = this.#serialized(record.topic, 'key', record.key, this.#keySerializer)
    const value = this.#serialized(record.topic, 'value', record.value, this.#valueSerializer)
    this.#ask(false)
    this.#pack(record.topic, key, value, record)
    this.#hasUnasked = true
    this.#handOverSoon()
    return !this.#isFull
  }

  /** Ends when no record waits for room any more. */
  async ready({ signal }: Waiting = {}): Promise<void> {
    this.#handOver()
    if (this.#isFull) await within(this.#loop, (token) => this.#native.caughtUp(token), signal)
    this.#isFull = false
  }

  /** Sends what was taken without further linger; ends when each record is acknowledged or has failed. */
  async flush({ signal }: Waiting = {}): Promise<void> {
    this.#handOver()
    this.#hasUnasked = false
    await within(this.#loop, (token) => this.#native.flush(token), signal)
  }

  /** A stream that sends what is written to it, of records or, with a topic, of values; it is written to no faster than records go. */
  writable(options?: { topic?: undefined; signal?: AbortSignal }): Writable
  writable(options: { topic: string; signal?: AbortSignal }): Writable
  writable({ topic, signal }: { topic?: string | undefined; signal?: AbortSignal } = {}): Writable {
    const stream: Writable = new Writable({
      objectMode: true,
      ...(signal === undefined ? {} : { signal }),
      write: (chunk: unknown, _, done) => {
        const record = topic === undefined ? (chunk as NewRecord<K, V>) : { topic, value: chunk as V }
        this.send(record).catch((error: Error) => stream.destroy(error))
        if (this.#isFull) this.ready().then(() => done(), done)
        else done()
      },
      final: (done) => {
        this.flush().then(() => done(), done)
      }
    })
    return stream
  }

  /** How many partitions a topic has. */
  partitionCount(topic: string, { signal }: Waiting = {}): Promise<number> {
    return within(this.#loop, (token) => this.#native.partitionCount(token, topic), signal)
  }

  /** What it has counted, by Kafka's names; null where there is nothing yet. */
  metrics(): Record<string, number | null> {
    return this.#native.metrics()
  }

  /** Sends what was taken, waits for it, and ends. Closing again does nothing more. */
  close({ timeout = CLOSE_MAX_MS }: Closing = {}): Promise<void> {
    this.#closing ??= this.#close(timeout)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- sending

  #sendOne(record: NewRecord<K, V>): Promise<RecordMetadata> {
    if (this.#closing !== undefined) throw closed()
    // The program's own code, which may send, too, is done with before the slab is touched.
    const key = this.#serialized(record.topic, 'key', record.key, this.#keySerializer)
    const value = this.#serialized(record.topic, 'value', record.value, this.#valueSerializer)
    this.#ask(true)
    this.#pack(record.topic, key, value, record)
    const promise = new Promise<RecordMetadata>(take)
    this.#wait(new One(resolveTaken as (metadata: RecordMetadata) => void, rejectTaken))
    this.#handOverSoon()
    return promise
  }

  #sendMany(topic: string, records: readonly RecordOf<K, V>[]): Promise<RecordMetadata[]> {
    if (this.#closing !== undefined) throw closed()
    if (!Array.isArray(records)) throw new TypeError('records are an array')
    if (records.length === 0) return Promise.resolve([])
    const prepared = records.map((record) => this.#prepared(topic, record))
    this.#ask(true)
    const promise = new Promise<RecordMetadata[]>(take)
    const many = new Many(
      records.length,
      this.#waiters.next,
      resolveTaken as (metadata: RecordMetadata[]) => void,
      rejectTaken
    )
    for (const record of prepared) {
      try {
        if (record instanceof Unsuitable) throw record.error
        this.#pack(topic, record.key, record.value, record)
      } catch (error) {
        // Those before it are on their way; it has a place among them all the same.
        this.#handOver()
        this.#ask(true)
        const token = this.#waiters.next
        this.#wait(many)
        this.#first = -1
        this.refused(token, error as Error)
        this.#ask(true)
        continue
      }
      this.#wait(many)
    }
    this.#handOverSoon()
    return promise
  }

  /** From now on the slab's records are awaited, or not. */
  #ask(isAwaited: boolean): void {
    if (this.#first >= 0 !== isAwaited || this.#slab.words === 0) {
      this.#handOver()
      this.#first = isAwaited ? this.#waiters.next : -1
    }
  }

  #wait(waiter: One | Many): void {
    if (this.#waiters.count === 0) unfinished.add(this)
    this.#waiters.add(waiter)
    this.#loop.enter(1)
  }

  /** A record with its payloads; without serializers, itself. */
  #prepared(topic: string, record: RecordOf<K, V>): RecordOf | Unsuitable {
    try {
      const key = this.#serialized(topic, 'key', record.key, this.#keySerializer)
      const value = this.#serialized(topic, 'value', record.value, this.#valueSerializer)
      const isPlain = this.#keySerializer === undefined && this.#valueSerializer === undefined
      return isPlain ? (record as RecordOf) : { ...record, key, value }
    } catch (error) {
      return new Unsuitable(error)
    }
  }

  #pack(topic: string, key: Payload, value: Payload, { partition, timestamp, headers }: RecordOf<unknown, unknown>): void {
    const number = topic === this.#topic ? this.#topicNumber : this.#intern(topic)
    const when = timestamp === undefined ? undefined : milliseconds(timestamp)
    if (this.#slab.add(number, partition, key, value, headers, when)) return
    this.#handOver()
    if (this.#slab.add(number, partition, key, value, headers, when)) return
    this.#slab.reserve(bytesMax(key, value, headers))
    this.#slab.add(number, partition, key, value, headers, when)
  }

  #intern(topic: string): number {
    if (typeof topic !== 'string') throw new TypeError('a topic is a string')
    let number = this.#topics.get(topic)
    if (number === undefined) {
      number = this.#native.intern(topic)
      this.#topics.set(topic, number)
    }
    this.#topic = topic
    this.#topicNumber = number
    return number
  }

  #serialized<T>(
    topic: string,
    what: string,
    value: T | null | undefined,
    serializer: Serializer<T> | undefined
  ): Payload {
    if (serializer === undefined || value === null || value === undefined) {
      if (typeof value === 'string' || value instanceof Uint8Array) return value
      return checked(value, what)
    }
    let payload: unknown
    try {
      payload = serializer(value, topic)
    } catch (cause) {
      throw invalid(`the ${what} of a record for \`${topic}\` could not be serialized`, cause)
    }
    return checked(payload, what)
  }

  #handOverSoon(): void {
    if (this.#isDue) return
    this.#isDue = true
    // Behind all that runs in this turn, promises that end in it among them.
    queueMicrotask(() => {
      this.#isDue = false
      this.#handOver()
    })
  }

  #handOver(): void {
    const slab = this.#slab
    if (slab.words === 0) return
    const first = this.#first
    const { records } = slab
    try {
      this.#isFull = this.#native.send(slab.data, slab.bytes, slab.table, slab.words, first) > 0
    } catch (error) {
      if (first < 0) this.#loop.line?.(WARN, 'ottla.node', `records that nobody asks about were not taken: ${error}`)
      for (let token = first; first >= 0 && token < first + records; token++) this.refused(token, error as Error)
    }
    slab.clear()
    slab.shrink()
    this.#first = first < 0 ? -1 : first + records
  }

  async #close(timeout: number): Promise<void> {
    const began = Date.now()
    this.#handOver()
    if (this.#isFull && timeout > 0) {
      const waiting = this.#loop.run<void>((token) => this.#native.caughtUp(token))
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, Math.min(timeout, 0x7fffffff))
      })
      await Promise.race([waiting, late])
      clearTimeout(timer)
    }
    const left = Math.max(0, timeout - (Date.now() - began))
    try {
      await this.#loop.run((token) => this.#native.close(token, left))
    } finally {
      this.#hasUnasked = false
      // What failed at the last moment was told before.
      this.delivered()
      this.#isGone = true
      this.#native.letGo()
    }
  }

  // ---- what the event loop tells

  /** @internal */
  delivered(): void {
    // There may have been a wake for what was taken when it closed.
    if (this.#isGone) return
    let count = 0
    try {
      count = this.#waiters.deliver(this.#native.takeDeliveries())
    } finally {
      this.#left(count)
    }
  }

  /** @internal */
  refused(token: Token, error: Error): void {
    const waiter = this.#waiters.take(token)
    if (waiter === undefined) return
    waiter.failed(error, token)
    this.#left(1)
  }

  #left(count: number): void {
    if (count === 0) return
    this.#loop.leave(count)
    if (this.#waiters.count === 0) unfinished.delete(this)
  }

  // ---- the program's end

  /** @internal Sends what nobody waits for; says whether there was any. */
  flushUnasked(): Promise<void> | undefined {
    return this.#hasUnasked && this.#closing === undefined ? this.flush() : undefined
  }

  /** @internal As `flush`, holding up the program, which is ending. */
  flushNow(timeoutMs: number): void {
    if (!this.#hasUnasked && this.#waiters.count === 0) return
    this.#handOver()
    this.#native.flushNow(timeoutMs)
  }
}

/** A record that cannot be sent. */
class Unsuitable {
  constructor(readonly error: unknown) {}
}

/** Level of the log. */
const WARN = 2

/** Producers with records that somebody waits for: they live until these have ended. */
const unfinished = new Set<object>()

/** Takes the two functions of a promise without a closure for each. */
let resolveTaken: (value: never) => void
let rejectTaken: (error: Error) => void

function take(resolve: (value: never) => void, reject: (error: Error) => void): void {
  resolveTaken = resolve
  rejectTaken = reject
}

function milliseconds(timestamp: number | bigint | Date): number {
  const ms = Number(timestamp)
  if (Number.isSafeInteger(ms) && ms >= 0) return ms
  throw new TypeError('a timestamp is whole milliseconds since the epoch, or a Date')
}
