// How what ends in the native half comes to this thread's promises: one wake for all that has come.

import { makeError } from './errors.js'
import { type EventLoop as NativeEventLoop, type Place, type Token, native } from './native.js'
import { type OAuthBearerProvider, described, givenBy } from './tokens.js'

/** What is told about a producer. */
export interface Delivered {
  /** Deliveries have come. */
  delivered(): void
  /** A record could not be taken. */
  refused(token: Token, error: Error): void
}

/** What is told about a consumer. */
export interface Rebalanced {
  rebalanced(kind: 'assigned' | 'revoked' | 'lost', partitions: Place[]): void | Promise<void>
}

export type Line = (level: number, part: string, text: string) => void

interface Waiter {
  resolve(value: unknown): void
  reject(error: unknown): void
  /** It keeps no process alive. */
  isQuiet?: boolean
}

// What an entry is, as `bindings/node/src/event_loop.rs` numbers it.
const OPERATION = 0
const FAILED = 1
const REFUSED = 2
const DELIVERIES = 3
const REBALANCE = 4
const LINE = 5
const TOKEN_REQUEST = 6

/** Longest that a timer can be set to. */
const FOR_EVER_MS = 0x7fffffff

class EventLoop {
  readonly native: NativeEventLoop
  /** Where the log goes. */
  line: Line | undefined
  #next: Token = 0
  readonly #waiters = new Map<Token, Waiter>()
  readonly #producers = new Registry<Delivered>()
  readonly #consumers = new Registry<Rebalanced>()
  /** Clients that get their tokens from the program, and from whom there. */
  readonly #bearers = new Registry<object>()
  readonly #providers = new WeakMap<object, OAuthBearerProvider>()
  /** What is awaited: as long as there is something, the process lives. */
  #awaited = 0
  readonly #alive = setInterval(() => {}, FOR_EVER_MS).unref()

  constructor() {
    this.native = new (native().EventLoop)(() => this.#drain(), makeError)
  }

  /** Begins something that takes time; the promise ends when it does. */
  run<T>(begin: (token: Token) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.begin(begin, { resolve: resolve as (value: unknown) => void, reject })
    })
  }

  /** As `run`, for who may give it up by its token. */
  begin(begin: (token: Token) => void, waiter: Waiter): Token {
    const token = ++this.#next
    this.#waiters.set(token, waiter)
    if (waiter.isQuiet !== true) this.enter(1)
    try {
      begin(token)
    } catch (error) {
      this.#ended(token)?.reject(error)
    }
    return token
  }

  /** Nobody waits for it any more. */
  forget(token: Token): void {
    this.#ended(token)
  }

  /** So many more are awaited. */
  enter(count: number): void {
    if (this.#awaited === 0) this.#alive.ref()
    this.#awaited += count
  }

  /** So many less. */
  leave(count: number): void {
    this.#awaited -= count
    if (this.#awaited === 0) this.#alive.unref()
  }

  addProducer(producer: Delivered): number {
    return this.#producers.add(producer)
  }

  addConsumer(consumer: Rebalanced): number {
    return this.#consumers.add(consumer)
  }

  /** A number for who gives a client its tokens, if somebody does. */
  addProvider(client: object, provider: OAuthBearerProvider | undefined): number | undefined {
    if (provider === undefined) return undefined
    if (typeof provider !== 'function') throw new TypeError('`oauthBearerProvider` is a function that gives a token')
    this.#providers.set(client, provider)
    return this.#bearers.add(client)
  }

  #ended(token: Token): Waiter | undefined {
    const waiter = this.#waiters.get(token)
    if (waiter !== undefined) {
      this.#waiters.delete(token)
      if (waiter.isQuiet !== true) this.leave(1)
    }
    return waiter
  }

  #drain(): void {
    const told = this.native.drain()
    for (let at = 0; at < told.length; at += 3) {
      const whose = told[at + 1] as number
      const value = told[at + 2]
      switch (told[at]) {
        case OPERATION:
          this.#ended(whose)?.resolve(value)
          break
        case FAILED:
          this.#ended(whose)?.reject(value)
          break
        case REFUSED: {
          const [token, error] = value as [Token, Error]
          this.#producers.get(whose)?.refused(token, error)
          break
        }
        case DELIVERIES:
          this.#producers.get(whose)?.delivered()
          break
        case REBALANCE: {
          const [step, kind, partitions] = value as [number, 'assigned' | 'revoked' | 'lost', Place[]]
          void this.#step(this.#consumers.get(whose), step, kind, partitions)
          break
        }
        case TOKEN_REQUEST:
          void this.#giveToken(this.#bearers.get(whose), value as number)
          break
        case LINE: {
          const [part, text] = value as [string, string]
          this.#log(whose, part, text)
          break
        }
      }
    }
  }

  #log(level: number, part: string, text: string): void {
    try {
      this.line?.(level, part, text)
    } catch (error) {
      // The program's own: as one that is thrown by a listener of its events.
      process.nextTick(() => {
        throw error
      })
    }
  }

  async #giveToken(client: object | undefined, request: number): Promise<void> {
    const provider = client && this.#providers.get(client)
    try {
      if (provider === undefined) throw new Error('the client is gone')
      this.native.giveToken(request, await givenBy(provider))
    } catch (error) {
      this.native.failToken(request, ...described(error))
    }
  }

  async #step(
    consumer: Rebalanced | undefined,
    step: number,
    kind: 'assigned' | 'revoked' | 'lost',
    partitions: Place[]
  ): Promise<void> {
    try {
      await consumer?.rebalanced(kind, partitions)
    } finally {
      // The group waits for this.
      this.native.rebalanced(step)
    }
  }
}

/** Clients by their numbers, which keep none of them alive. */
class Registry<T extends object> {
  #next = 0
  readonly #clients = new Map<number, WeakRef<T>>()
  readonly #gone = new FinalizationRegistry<number>((number) => this.#clients.delete(number))

  add(client: T): number {
    const number = this.#next++
    this.#clients.set(number, new WeakRef(client))
    this.#gone.register(client, number)
    return number
  }

  get(number: number): T | undefined {
    return this.#clients.get(number)?.deref()
  }
}

export type { EventLoop }

let made: EventLoop | undefined

/** This thread's. */
export function eventLoop(): EventLoop {
  made ??= new EventLoop()
  return made
}
