// Records that were read: views on their batch, looked at when the program does.

import { inspect } from 'node:util'

import { corrupt } from './errors.js'
import type { Batch } from './native.js'

/** Makes an object of a key's or value's bytes. */
export type Deserializer<T> = (data: Buffer, topic: string) => T

export interface Deserializers<K, V> {
  key: Deserializer<K> | undefined
  value: Deserializer<V> | undefined
}

// Words of 32 bits of a record's entry in the table, as `ottla_bindings::RecordView` has them.
const WORDS = 16
const TIMESTAMP = 2
const KEY = 4
const VALUE = 5
const HEADERS = 6
const KEY_BYTES = 7
const VALUE_BYTES = 8
const HEADER_COUNT = 9
const LEADER_EPOCH = 10
const HEADERS_BYTES = 13
const ENTRY_BYTES = 4 * WORDS

const EMPTY = Buffer.alloc(0)

/** What a batch and its records share. */
class Shared<K, V> {
  readonly topic: string
  readonly partition: number
  readonly tenure: number
  readonly count: number
  readonly nextOffset: bigint
  readonly highWatermark: bigint | undefined
  readonly deserializers: Deserializers<K, V>
  readonly words: Int32Array
  readonly #data: Buffer
  readonly #base: number
  #offsets: BigInt64Array | undefined

  constructor(batch: Batch, deserializers: Deserializers<K, V>) {
    this.topic = batch.topic
    this.partition = batch.partition
    this.tenure = batch.tenure
    this.count = batch.count
    this.nextOffset = batch.nextOffset
    this.highWatermark = batch.highWatermark ?? undefined
    this.deserializers = deserializers
    // The table must lie where 64 bits may.
    this.#data = batch.data.byteOffset % 8 === 0 ? batch.data : Buffer.from(new Uint8Array(batch.data).buffer)
    this.#base = batch.base
    this.words = new Int32Array(this.#data.buffer, this.#data.byteOffset, this.count * WORDS)
  }

  offset(at: number): bigint {
    this.#offsets ??= new BigInt64Array(this.#data.buffer, this.#data.byteOffset, this.count * (WORDS / 2))
    return this.#offsets[at * (WORDS / 2)]!
  }

  timestamp(at: number): number {
    const word = at * WORDS + TIMESTAMP
    return this.words[word + 1]! * 2 ** 32 + (this.words[word]! >>> 0)
  }

  part(at: number, place: number, bytes: number): Buffer | null {
    const length = this.words[at * WORDS + bytes]!
    if (length <= 0) return length < 0 ? null : EMPTY
    const start = this.#base + (this.words[at * WORDS + place]! >>> 0)
    return this.#data.subarray(start, start + length)
  }

  headers(at: number): [string, Buffer | null][] {
    const headers: [string, Buffer | null][] = []
    const data = this.part(at, HEADERS, HEADERS_BYTES) ?? EMPTY
    let position = 0
    // As they lie in a record on the wire; they were checked as a whole when it was read.
    const part = (): Buffer | null => {
      let value = 0
      for (let shift = 0; ; shift += 7) {
        const byte = data[position++]!
        value |= (byte & 0x7f) << shift
        if (byte < 0x80) break
      }
      const length = (value >>> 1) ^ -(value & 1)
      if (length < 0) return null
      position += length
      return data.subarray(position - length, position)
    }
    for (let left = this.words[at * WORDS + HEADER_COUNT]!; left > 0; left--) {
      headers.push([part()?.toString() ?? '', part()])
    }
    return headers
  }

  /** One record with memory of its own. */
  alone(at: number): Shared<K, V> {
    const entry = Buffer.from(this.#data.subarray(at * ENTRY_BYTES, (at + 1) * ENTRY_BYTES))
    const parts: Buffer[] = [entry]
    let end = ENTRY_BYTES
    for (const [place, bytes] of [
      [KEY, KEY_BYTES],
      [VALUE, VALUE_BYTES],
      [HEADERS, HEADERS_BYTES]
    ] as const) {
      const part = this.part(at, place, bytes)
      entry.writeUInt32LE(end, 4 * place)
      if (part === null) continue
      parts.push(part)
      end += part.length
    }
    const data = Buffer.allocUnsafeSlow(end)
    let position = 0
    for (const part of parts) {
      data.set(part, position)
      position += part.length
    }
    const { topic, partition, tenure, nextOffset, highWatermark } = this
    const batch = { topic, partition, tenure, count: 1, nextOffset, highWatermark, data, base: 0 }
    return new Shared(batch, this.deserializers)
  }
}

/** What of a record says where it can be committed. */
export interface RecordPlace {
  topic: string
  partition: number
  tenure: number
  /** Behind it. */
  next: bigint
}

/**
 * A record that was read.
 *
 * It is a view on its batch, which it keeps in memory, also once the consumer is closed; `detach()` gives one that does not.
 */
export class ConsumerRecord<K = Buffer, V = Buffer> {
  readonly #shared: Shared<K, V>
  readonly #at: number
  /** What the deserializers made, once they were asked. */
  #key: { made: K } | undefined
  #value: { made: V } | undefined

  /** @internal */
  constructor(shared: Shared<K, V>, at: number) {
    this.#shared = shared
    this.#at = at
  }

  /** The topic. */
  get topic(): string {
    return this.#shared.topic
  }

  /** The partition's number. */
  get partition(): number {
    return this.#shared.partition
  }

  /** Its offset in the partition. */
  get offset(): bigint {
    return this.#shared.offset(this.#at)
  }

  /** Milliseconds since the epoch; -1 for none. */
  get timestamp(): number {
    return this.#shared.timestamp(this.#at)
  }

  /** The timestamp as a `Date`; undefined for none. */
  get date(): Date | undefined {
    const ms = this.timestamp
    return ms < 0 ? undefined : new Date(ms)
  }

  /** The key: bytes, or what the deserializer makes of them; null for null. */
  get key(): K | null {
    const { deserializers } = this.#shared
    const data = this.#shared.part(this.#at, KEY, KEY_BYTES)
    if (data === null || deserializers.key === undefined) return data as K | null
    this.#key ??= { made: this.#made('key', data, deserializers.key) }
    return this.#key.made
  }

  /** The value: bytes, or what the deserializer makes of them; null for null. */
  get value(): V | null {
    const { deserializers } = this.#shared
    const data = this.#shared.part(this.#at, VALUE, VALUE_BYTES)
    if (data === null || deserializers.value === undefined) return data as V | null
    this.#value ??= { made: this.#made('value', data, deserializers.value) }
    return this.#value.made
  }

  /** The headers in their order; a name may occur again. */
  get headers(): [string, Buffer | null][] {
    return this.#shared.headers(this.#at)
  }

  /** The value of the last header of a name; undefined if there is none. */
  header(name: string): Buffer | null | undefined {
    return this.headers.findLast(([of]) => of === name)?.[1]
  }

  /** Epoch of the leader that wrote it; undefined where it is not known. */
  get leaderEpoch(): number | undefined {
    const epoch = this.#shared.words[this.#at * WORDS + LEADER_EPOCH]!
    return epoch < 0 ? undefined : epoch
  }

  /** The same record with memory of its own, for those that keep few of many. */
  detach(): ConsumerRecord<K, V> {
    return new ConsumerRecord(this.#shared.alone(this.#at), 0)
  }

  /** @internal */
  place(): RecordPlace {
    const { topic, partition, tenure } = this.#shared
    return { topic, partition, tenure, next: this.offset + 1n }
  }

  [inspect.custom](): object {
    const { topic, partition, offset, timestamp, key, value, headers } = this
    return { topic, partition, offset, timestamp, key, value, headers }
  }

  #made<T>(what: string, data: Buffer, deserializer: Deserializer<T>): T {
    try {
      return deserializer(data, this.topic)
    } catch (cause) {
      const place = `offset ${this.offset} of \`${this.topic}-${this.partition}\``
      throw corrupt(`the ${what} of the record at ${place} could not be deserialized`, cause)
    }
  }
}

/** Records of one partition that follow each other. */
export class RecordBatch<K = Buffer, V = Buffer> implements Iterable<ConsumerRecord<K, V>> {
  readonly #shared: Shared<K, V>
  /** Which of the shared batch's they are. */
  readonly #start: number

  /** @internal */
  constructor(shared: Shared<K, V>, start: number) {
    this.#shared = shared
    this.#start = start
  }

  /** @internal */
  static of<K, V>(batch: Batch, deserializers: Deserializers<K, V>): RecordBatch<K, V> {
    return new RecordBatch(new Shared(batch, deserializers), 0)
  }

  /** The topic. */
  get topic(): string {
    return this.#shared.topic
  }

  /** The partition's number. */
  get partition(): number {
    return this.#shared.partition
  }

  /** How many records there are. */
  get length(): number {
    return this.#shared.count - this.#start
  }

  /** The offset at which the next batch goes on. */
  get nextOffset(): bigint {
    return this.#shared.nextOffset
  }

  /** Offset behind the partition's last record, as of the fetch that brought this batch. */
  get highWatermark(): bigint | undefined {
    return this.#shared.highWatermark
  }

  /** The record of this number; below zero, counted from the end. */
  at(index: number): ConsumerRecord<K, V> | undefined {
    const counted = index < 0 ? this.length + index : index
    if (!Number.isInteger(counted) || counted < 0 || counted >= this.length) return undefined
    return new ConsumerRecord(this.#shared, this.#start + counted)
  }

  /** All values, as bytes or null: quicker than one record after the other. */
  values(): (Buffer | null)[] {
    return this.#column((at) => this.#shared.part(at, VALUE, VALUE_BYTES))
  }

  /** All keys, as bytes or null. */
  keys(): (Buffer | null)[] {
    return this.#column((at) => this.#shared.part(at, KEY, KEY_BYTES))
  }

  /** All offsets. */
  offsets(): bigint[] {
    return this.#column((at) => this.#shared.offset(at))
  }

  /** All timestamps, in milliseconds since the epoch. */
  timestamps(): number[] {
    return this.#column((at) => this.#shared.timestamp(at))
  }

  [Symbol.iterator](): IterableIterator<ConsumerRecord<K, V>> {
    const shared = this.#shared
    let at = this.#start
    return {
      next: () =>
        at < shared.count ? { value: new ConsumerRecord(shared, at++), done: false } : { value: undefined, done: true },
      [Symbol.iterator]() {
        return this
      }
    }
  }

  /** @internal The records from one on. */
  from(index: number): RecordBatch<K, V> {
    return new RecordBatch(this.#shared, this.#start + index)
  }

  /** @internal */
  place(): RecordPlace {
    const { topic, partition, tenure, nextOffset } = this.#shared
    return { topic, partition, tenure, next: nextOffset }
  }

  [inspect.custom](): string {
    return `RecordBatch { ${this.length} records from offset ${this.at(0)?.offset} of ${this.topic}-${this.partition} }`
  }

  #column<T>(part: (at: number) => T): T[] {
    const parts = new Array<T>(this.length)
    for (let index = 0; index < parts.length; index++) parts[index] = part(this.#start + index)
    return parts
  }
}
