// What became of records: told in tables, looked at when the program does.

import { inspect } from 'node:util'

import type { Deliveries, Token } from './native.js'

const CELLS = 3

/** Records that were delivered together. */
class Batch {
  constructor(
    readonly topic: string,
    readonly partition: number,
    readonly offsets: BigInt64Array,
    readonly numbers: Float64Array
  ) {}
}

/** Where a record was written. */
export class RecordMetadata {
  readonly #batch: Batch
  readonly #at: number

  /** @internal */
  constructor(batch: Batch, at: number) {
    this.#batch = batch
    this.#at = at
  }

  /** The topic. */
  get topic(): string {
    return this.#batch.topic
  }

  /** The partition's number. */
  get partition(): number {
    return this.#batch.partition
  }

  /** The record's offset; -1 where the broker did not tell, as with `acks=0`. */
  get offset(): bigint {
    return this.#batch.offsets[this.#at + 1]!
  }

  /** The record's timestamp, in milliseconds since the epoch. */
  get timestamp(): number {
    return this.#batch.numbers[this.#at + 2]!
  }

  [inspect.custom](): object {
    const { topic, partition, offset, timestamp } = this
    return { topic, partition, offset, timestamp }
  }
}

/** Who waits for deliveries. */
export interface Waiter {
  delivered(metadata: RecordMetadata, token: Token): void
  failed(error: Error, token: Token): void
}

/** Waits for one record. */
export class One implements Waiter {
  constructor(
    readonly resolve: (metadata: RecordMetadata) => void,
    readonly reject: (error: Error) => void
  ) {}

  delivered(metadata: RecordMetadata): void {
    this.resolve(metadata)
  }

  failed(error: Error): void {
    this.reject(error)
  }
}

/** Waits for many, whose tokens follow each other; they fail with the first failure, when all have ended. */
export class Many implements Waiter {
  readonly #written: RecordMetadata[]
  #left: number
  #failed = Number.POSITIVE_INFINITY
  #error: Error | undefined

  constructor(
    count: number,
    readonly first: Token,
    readonly resolve: (metadata: RecordMetadata[]) => void,
    readonly reject: (error: Error) => void
  ) {
    this.#written = new Array<RecordMetadata>(count)
    this.#left = count
  }

  delivered(metadata: RecordMetadata, token: Token): void {
    this.#written[token - this.first] = metadata
    this.#ended()
  }

  failed(error: Error, token: Token): void {
    if (token < this.#failed) {
      this.#failed = token
      this.#error = error
    }
    this.#ended()
  }

  #ended(): void {
    if (--this.#left > 0) return
    if (this.#error === undefined) this.resolve(this.#written)
    else this.reject(this.#error)
  }
}

const CHUNK = 1024

interface Chunk {
  readonly waiters: (Waiter | undefined)[]
  left: number
}

/** Who waits for which token: tokens count up, and end nearly in order. */
export class Waiters {
  #next: Token = 0
  #count = 0
  readonly #chunks = new Map<number, Chunk>()
  /** The chunk that was last looked at. */
  #number = -1
  #chunk: Chunk = { waiters: [], left: 0 }

  /** The token of the next to be added. */
  get next(): Token {
    return this.#next
  }

  get count(): number {
    return this.#count
  }

  add(waiter: Waiter): void {
    const token = this.#next++
    const within = token % CHUNK
    if (within === 0) this.#chunks.set(token / CHUNK, { waiters: new Array<undefined>(CHUNK), left: CHUNK })
    this.#look(Math.floor(token / CHUNK)).waiters[within] = waiter
    this.#count++
  }

  /** Takes who waits for a token. */
  take(token: Token): Waiter | undefined {
    const number = Math.floor(token / CHUNK)
    const chunk = this.#look(number)
    const within = token % CHUNK
    const waiter = chunk.waiters[within]
    if (waiter === undefined) return undefined
    chunk.waiters[within] = undefined
    this.#count--
    if (--chunk.left === 0) {
      this.#chunks.delete(number)
      this.#number = -1
    }
    return waiter
  }

  /** Ends those that a table of deliveries tells of; answers how many. */
  deliver({ topics, errors, table }: Deliveries): number {
    const numbers = new Float64Array(table.buffer, table.byteOffset, table.length)
    const before = this.#count
    let at = 0
    for (const topic of topics) {
      const partition = numbers[at]!
      const count = numbers[at + 1]!
      const failure = numbers[at + 2]!
      at += CELLS
      const end = at + count * CELLS
      if (failure < 0) {
        const batch = new Batch(topic, partition, table, numbers)
        for (; at < end; at += CELLS) {
          const token = numbers[at]!
          this.take(token)?.delivered(new RecordMetadata(batch, at), token)
        }
      } else {
        const error = errors[failure]!
        for (; at < end; at += CELLS) {
          const token = numbers[at]!
          this.take(token)?.failed(error, token)
        }
      }
    }
    return before - this.#count
  }

  #look(number: number): Chunk {
    if (number !== this.#number) {
      const chunk = this.#chunks.get(number)
      if (chunk === undefined) return NOBODY
      this.#number = number
      this.#chunk = chunk
    }
    return this.#chunk
  }
}

const NOBODY: Chunk = { waiters: [], left: 0 }
