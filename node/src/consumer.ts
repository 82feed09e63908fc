import { Readable } from 'node:stream'

import type { ConsumerConfig as Keys } from './config.js'
import { closed } from './errors.js'
import { type EventLoop, eventLoop } from './event-loop.js'
import { type Consumer as NativeConsumer, type Token, native } from './native.js'
import { ConsumerRecord, type Deserializer, type Deserializers, RecordBatch } from './record.js'
import { settings } from './settings.js'
import type { WithTokens } from './tokens.js'
import { within } from './signal.js'
import {
  type CommittedOffset,
  type OffsetPlace,
  type OffsetToCommit,
  type PartitionOffset,
  type TopicPartition,
  atTime,
  committedOf,
  integer,
  names,
  placeOf
} from './types.js'

/** Told of a step of a rebalance. The group waits for the promise. */
export type RebalanceListener<K, V> = (
  consumer: Consumer<K, V>,
  partitions: TopicPartition[]
) => void | Promise<void>

/** The settings of a consumer: Kafka's keys, as they are or in camel case. */
export interface ConsumerConfig<K = Buffer, V = Buffer> extends Omit<Keys, 'keyDeserializer' | 'valueDeserializer'>, WithTokens {
  /** Where the cluster is: `bootstrap.servers`. */
  brokers?: string | readonly string[] | undefined
  /** What to subscribe to, with the other members of `groupId`. */
  topics?: readonly string[] | undefined
  /** Where to begin when there is no position: `auto.offset.reset`. */
  startFrom?: 'earliest' | 'latest' | 'none' | undefined
  keyDeserializer?: Deserializer<K> | undefined
  valueDeserializer?: Deserializer<V> | undefined
  onAssigned?: RebalanceListener<K, V> | undefined
  /** Commit here what is done: when it ends, the partitions go to others. */
  onRevoked?: RebalanceListener<K, V> | undefined
  /** The partitions are others' already. */
  onLost?: RebalanceListener<K, V> | undefined
}

/** How records are asked for. */
export interface Asking {
  /** Milliseconds after which nothing has come. By default there is no end to it. */
  timeout?: number | undefined
  /** Gives up. */
  signal?: AbortSignal | undefined
}

export interface AskingBatch extends Asking {
  /** Most records of one batch. */
  maxRecords?: number | undefined
}

const OWN = ['topics', 'keyDeserializer', 'valueDeserializer', 'onAssigned', 'onRevoked', 'onLost']
/** Records of one batch, where nobody says. */
const RECORDS_MAX = 500
/** How long closing waits where nobody says. */
const CLOSE_TIMEOUT_MS = 30_000

/**
 * Reads records. Heartbeats and fetches are done on a thread of its own.
 *
 * ```ts
 * await using consumer = new Consumer({ brokers: 'localhost:9092', groupId: 'billing', topics: ['orders'], startFrom: 'earliest' })
 * for await (const record of consumer) console.log(record.offset, record.value)
 * ```
 *
 * In a group what the program is done with is committed by itself: a record when the loop goes on to the next.
 */
export class Consumer<K = Buffer, V = Buffer> implements AsyncIterable<ConsumerRecord<K, V>>, AsyncDisposable {
  readonly #native: NativeConsumer
  readonly #loop: EventLoop
  readonly #deserializers: Deserializers<K, V>
  readonly #listeners: Record<'assigned' | 'revoked' | 'lost', RebalanceListener<K, V> | undefined>
  /** The batch that a loop over records is in, and which record is next. */
  #batch: RecordBatch<K, V> | undefined
  #next = 0
  /** Those who wait for records, and whether the native half was asked to say when there are some. */
  readonly #waiting = new Set<(error?: unknown) => void>()
  #isAsked = false
  /** What a listener threw, for who asks next. */
  #failure: { error: unknown } | undefined
  #closing: Promise<void> | undefined

  constructor(config: ConsumerConfig<K, V>) {
    this.#loop = eventLoop()
    this.#deserializers = { key: config.keyDeserializer, value: config.valueDeserializer }
    this.#listeners = { assigned: config.onAssigned, revoked: config.onRevoked, lost: config.onLost }
    const listens = Object.values(this.#listeners).some((listener) => listener !== undefined)
    const number = this.#loop.addConsumer(this)
    const provider = this.#loop.addProvider(this, config.oauthBearerProvider)
    this.#native = new (native().Consumer)(this.#loop.native, number, settings(config, OWN), listens, provider)
    if (config.topics !== undefined) this.subscribe(config.topics)
  }

  // ---- what is read

  /** Reads these topics and no others, with the other members of the group. */
  subscribe(topics: readonly string[]): void {
    this.#native.subscribe(names(topics, 'topics'))
  }

  /** Reads all topics whose whole name matches a regular expression, those that come later too. */
  subscribePattern(pattern: string | RegExp): void {
    this.#native.subscribePattern(typeof pattern === 'string' ? pattern : pattern.source)
  }

  /** Leaves the group, with what the program is done with committed; or reads no partitions any more. */
  async unsubscribe(): Promise<void> {
    this.#letGo()
    await this.#loop.run((token) => this.#native.unsubscribe(token))
  }

  /** Reads these partitions and no others, each from its offset, or from where the group or `startFrom` says. */
  assign(partitions: readonly (TopicPartition & { offset?: bigint | number | undefined })[]): void {
    this.#letGo()
    this.#native.assign([...partitions])
    for (const { topic, partition, offset } of partitions) {
      if (offset !== undefined) this.#native.seek(topic, partition, integer(offset))
    }
  }

  /** The partitions that are assigned, in no order. */
  assignment(): TopicPartition[] {
    return this.#native.assignment()
  }

  /** Goes to an offset, to "earliest" or "latest", or to the first record of a `Date`. */
  seek({ topic, partition }: TopicPartition, to: bigint | number | OffsetPlace): void {
    if (typeof to === 'bigint' || typeof to === 'number') this.#native.seek(topic, partition, integer(to))
    else this.#native.seekTo(topic, partition, placeOf(to))
    // What a loop has in hand of the partition is from elsewhere.
    if (this.#batch?.topic === topic && this.#batch.partition === partition) this.#batch = undefined
  }

  /** Holds partitions: nothing of them is given, and what is buffered stays. */
  pause(partitions: readonly TopicPartition[]): void {
    this.#native.pause([...partitions])
  }

  /** Lets partitions that are held go on. */
  resume(partitions: readonly TopicPartition[]): void {
    this.#native.resume([...partitions])
  }

  /** The partitions that are held. */
  paused(): TopicPartition[] {
    return this.#native.paused()
  }

  /** Offset of the next record to be given; undefined as long as it is being looked for. */
  position({ topic, partition }: TopicPartition): bigint | undefined {
    const batch = this.#batch
    if (batch?.topic === topic && batch.partition === partition && this.#next < batch.length) {
      return batch.at(this.#next)?.offset
    }
    return this.#native.position(topic, partition) ?? undefined
  }

  // ---- records

  /** The next record; undefined if none comes in time. */
  async poll(asking: Asking = {}): Promise<ConsumerRecord<K, V> | undefined> {
    return this.#tryNext() ?? (await this.#within(asking, () => this.#tryNext()))
  }

  /** The next records of one partition; undefined if none come in time. */
  async nextBatch({ maxRecords = RECORDS_MAX, ...asking }: AskingBatch = {}): Promise<RecordBatch<K, V> | undefined> {
    const look = (): RecordBatch<K, V> | undefined => this.#tryNextBatch(maxRecords)
    return look() ?? (await this.#within(asking, look))
  }

  /** Goes through records, until the consumer is closed; with a timeout, until none has come for so long. */
  records(asking: Asking = {}): AsyncIterableIterator<ConsumerRecord<K, V>> {
    return new Reading(
      () => this.#tryNext(),
      (asking, look) => this.#within(asking, look),
      () => this.#closing !== undefined,
      asking
    )
  }

  /** Goes through batches, until the consumer is closed; with a timeout, until none has come for so long. */
  batches({ maxRecords = RECORDS_MAX, ...asking }: AskingBatch = {}): AsyncIterableIterator<RecordBatch<K, V>> {
    return new Reading(
      () => this.#tryNextBatch(maxRecords),
      (asking, look) => this.#within(asking, look),
      () => this.#closing !== undefined,
      asking
    )
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<ConsumerRecord<K, V>> {
    return this.records()
  }

  /** A stream of records; it is read no faster than it is taken. */
  stream(asking: Asking = {}): Readable {
    return Readable.from(this.records(asking), { objectMode: true })
  }

  // ---- commits

  /**
   * Commits what the program has been given: without an argument, all; a record and all before it in its partition; a batch; or
   * offsets of partitions. Ends when the group has it.
   */
  async commit(
    what?: ConsumerRecord<K, V> | RecordBatch<K, V> | readonly OffsetToCommit[],
    { signal }: { signal?: AbortSignal | undefined } = {}
  ): Promise<void> {
    await within(this.#loop, this.#committing(what), signal)
  }

  /** What the group has committed of these partitions; those of which nothing is are left out. */
  committed(partitions: readonly TopicPartition[]): Promise<CommittedOffset[]> {
    return this.#loop.run((token) => this.#native.committed(token, [...partitions]))
  }

  // ---- questions

  /** The first offsets that are still there. */
  beginningOffsets(partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    return this.#loop.run((token) => this.#native.beginningOffsets(token, [...partitions]))
  }

  /** The offsets behind the last records. */
  endOffsets(partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    return this.#loop.run((token) => this.#native.endOffsets(token, [...partitions]))
  }

  /** The offsets of the first records of these times or later; partitions without one are left out. */
  offsetsForTimes(times: readonly (TopicPartition & { time: Date | number | bigint })[]): Promise<PartitionOffset[]> {
    return this.#loop.run((token) => this.#native.offsetsForTimes(token, times.map(atTime)))
  }

  /** What it has counted, by Kafka's names; null where there is nothing yet. */
  metrics(): Record<string, number | null> {
    return this.#native.metrics()
  }

  // ---- the end

  /** Leaves the group, with what the program is done with committed, and ends. Closing again does nothing more. */
  close({ timeout = CLOSE_TIMEOUT_MS }: { timeout?: number | undefined } = {}): Promise<void> {
    if (this.#closing === undefined) {
      this.#letGo()
      const closing = this.#loop.run<void>((token) => this.#native.close(token, timeout))
      this.#closing = closing.finally(() => this.#native.letGo())
      for (const told of this.#waiting) told()
    }
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @internal */
  async rebalanced(kind: 'assigned' | 'revoked' | 'lost', partitions: TopicPartition[]): Promise<void> {
    try {
      await this.#listeners[kind]?.(this, partitions)
    } catch (error) {
      this.#failure ??= { error }
      for (const told of this.#waiting) told()
    }
  }

  // ---- helpers

  #tryNext(): ConsumerRecord<K, V> | undefined {
    if (this.#batch !== undefined && this.#failure === undefined) {
      const record = this.#batch.at(this.#next)
      if (record !== undefined) {
        this.#next++
        return record
      }
    }
    const batch = this.#tryTake(RECORDS_MAX)
    if (batch === undefined) return undefined
    this.#batch = batch
    this.#next = 1
    return batch.at(0)
  }

  #tryNextBatch(maxRecords: number): RecordBatch<K, V> | undefined {
    // What a loop has left of its batch comes first.
    const batch = this.#batch
    this.#batch = undefined
    if (batch !== undefined && this.#next < batch.length) return batch.from(this.#next)
    return this.#tryTake(maxRecords)
  }

  #tryTake(maxRecords: number): RecordBatch<K, V> | undefined {
    if (this.#failure !== undefined) {
      const { error } = this.#failure
      this.#failure = undefined
      throw error
    }
    if (this.#closing !== undefined) throw closed()
    const batch = this.#native.tryNext(maxRecords)
    return batch === null ? undefined : RecordBatch.of(batch, this.#deserializers)
  }

  /** Looks again and again, whenever there may be something. */
  async #within<T>({ timeout, signal }: Asking, look: () => T | undefined): Promise<T | undefined> {
    const deadline = timeout === undefined ? undefined : performance.now() + timeout
    for (;;) {
      const left = deadline === undefined ? undefined : deadline - performance.now()
      if (left !== undefined && left <= 0) return undefined
      await this.#ready(left, signal)
      const found = look()
      if (found !== undefined) return found
    }
  }

  /** Ends when there may be something, or the time is over. */
  #ready(timeout: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error)
      let timer: NodeJS.Timeout | undefined
      const aborted = (): void => told(signal?.reason)
      const told = (error?: unknown): void => {
        this.#waiting.delete(told)
        this.#loop.leave(1)
        clearTimeout(timer)
        signal?.removeEventListener('abort', aborted)
        if (error === undefined) resolve()
        else reject(error as Error)
      }
      this.#waiting.add(told)
      this.#loop.enter(1)
      if (timeout !== undefined) timer = setTimeout(told, Math.min(Math.ceil(timeout), 0x7fffffff))
      signal?.addEventListener('abort', aborted, { once: true })
      this.#ask()
    })
  }

  /** Once for all who wait, and for those who wait no more: so that short waits do not pile up. */
  #ask(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    const told = (error?: unknown): void => {
      this.#isAsked = false
      for (const waiting of this.#waiting) waiting(error)
    }
    const waiter = { resolve: () => told(), reject: told, isQuiet: true }
    this.#loop.begin((token) => this.#native.ready(token), waiter)
  }

  #committing(
    what: ConsumerRecord<K, V> | RecordBatch<K, V> | readonly OffsetToCommit[] | undefined
  ): (token: Token) => void {
    if (what === undefined) {
      this.#keepBack()
      return (token) => this.#native.commit(token)
    }
    if (what instanceof ConsumerRecord || what instanceof RecordBatch) {
      const { topic, partition, tenure, next } = what.place()
      return (token) => this.#native.commitAt(token, topic, partition, tenure, next)
    }
    if (Array.isArray(what)) {
      const offsets = (what as readonly OffsetToCommit[]).map(committedOf)
      return (token) => this.#native.commitOffsets(token, offsets)
    }
    throw new TypeError('a commit is of a record, a batch, or an array of offsets')
  }

  /** What a loop has not come to is not done. */
  #keepBack(): void {
    const batch = this.#batch
    const next = batch?.at(this.#next)
    if (batch === undefined || next === undefined) return
    const { topic, partition, tenure } = batch.place()
    this.#native.keepBack(topic, partition, tenure, next.offset)
  }

  #letGo(): void {
    this.#keepBack()
    this.#batch = undefined
  }
}

/** Goes through what is read. */
class Reading<T> implements AsyncIterableIterator<T> {
  readonly #look: () => T | undefined
  readonly #wait: (asking: Asking, look: () => T | undefined) => Promise<T | undefined>
  readonly #isClosed: () => boolean
  readonly #asking: Asking
  /** Ends a wait when the loop is left. */
  readonly #left = new AbortController()

  constructor(
    look: () => T | undefined,
    wait: (asking: Asking, look: () => T | undefined) => Promise<T | undefined>,
    isClosed: () => boolean,
    { timeout, signal }: Asking
  ) {
    this.#look = look
    this.#wait = wait
    this.#isClosed = isClosed
    const left = this.#left.signal
    this.#asking = { timeout, signal: signal === undefined ? left : AbortSignal.any([signal, left]) }
  }

  next(): Promise<IteratorResult<T>> {
    try {
      this.#asking.signal?.throwIfAborted()
      const value = this.#look()
      return value === undefined ? this.#waiting() : Promise.resolve({ value, done: false })
    } catch (error) {
      return this.#failed(error)
    }
  }

  return(): Promise<IteratorResult<T>> {
    this.#left.abort()
    return Promise.resolve({ value: undefined, done: true })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #waiting(): Promise<IteratorResult<T>> {
    try {
      const value = await this.#wait(this.#asking, this.#look)
      return value === undefined ? { value: undefined, done: true } : { value, done: false }
    } catch (error) {
      return this.#failed(error)
    }
  }

  async #failed(error: unknown): Promise<IteratorResult<T>> {
    if (this.#left.signal.aborted || this.#isClosed()) return { value: undefined, done: true }
    throw error
  }
}
