/**
 * A real broker for tests.
 *
 * ```ts
 * await using broker = await Broker.start()
 * await using producer = new Producer({ brokers: broker.brokers })
 * ```
 */

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

import { program } from './native.js'

export { program }

/** Longest that the broker may take to stop. */
const STOP_PATIENCE_MS = 30_000
/** How much of its log is kept. */
const LOG_CHARACTERS_MAX = 64 * 1024

type Child = ChildProcessByStdio<Writable, Readable, Readable>

/** A broker on a free port, whose data goes with it. It ends when it is stopped, or with this process, however that ends. */
export class Broker implements AsyncDisposable {
  /** Where it listens, for clients. */
  readonly brokers: string
  readonly #child: Child
  readonly #log: () => string
  #stopping: Promise<void> | undefined

  private constructor(brokers: string, child: Child, log: () => string) {
    this.brokers = brokers
    this.#child = child
    this.#log = log
  }

  /** Starts one, with these of the broker's keys. */
  static async start(config: Record<string, string | number | boolean> = {}): Promise<Broker> {
    const args = ['dev', '--quiet', '--until-stdin-ends', '--listen', '127.0.0.1:0']
    for (const [key, value] of Object.entries(config)) args.push('--set', `${key}=${value}`)
    // Variables that are settings are for brokers that somebody starts, not for this one.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('OTTLA_')))
    const child: Child = spawn(program(), args, { env, stdio: ['pipe', 'pipe', 'pipe'] })
    let log = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-LOG_CHARACTERS_MAX)
    })
    // It prints where it listens, once it does; or it ends, and has said why.
    const lines = createInterface(child.stdout)
    const ended = once(child, 'close').then(() => undefined)
    const line = await Promise.race([once(lines, 'line') as Promise<[string]>, ended])
    if (line === undefined) throw new Error(`the broker did not start:\n${log}`)
    lines.close()
    child.stdout.resume()
    // It does not keep this process alive.
    child.unref()
    for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as { unref(): void }).unref()
    return new Broker(line[0].trim(), child, () => log)
  }

  /** What it has logged last. */
  get log(): string {
    return this.#log()
  }

  /** Stops it, in order. Stopping again does nothing more. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #stop(): Promise<void> {
    const child = this.#child
    if (child.exitCode !== null || child.signalCode !== null) return
    child.ref()
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS)
    const ended = once(child, 'exit')
    child.stdin.end()
    await ended
    clearTimeout(timer)
  }
}
