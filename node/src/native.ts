// The native half: the addon of this platform, and the types of its interface (`bindings/node`).

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Numbers what takes time, so that its end can be told. */
export type Token = number

export interface Place {
  topic: string
  partition: number
}

export interface At extends Place {
  offset: bigint
}

export interface Committed extends At {
  metadata?: string | undefined
  leaderEpoch?: number | undefined
}

/** Of each that has come: what it is, whose it is, its value. */
export type Told = unknown[]

export interface GivenToken {
  value: string
  endMs?: number | undefined
  principal?: string | undefined
  extensions: [string, string][]
}

export interface EventLoop {
  drain(): Told
  rebalanced(step: number): void
  setLogLevel(level: number): void
  giveToken(request: number, given: GivenToken): void
  failToken(request: number, why: string, passes: boolean): void
}

export interface Deliveries {
  topics: string[]
  errors: Error[]
  table: BigInt64Array
}

export interface Producer {
  intern(topic: string): number
  send(data: Uint8Array, bytes: number, table: Uint32Array, words: number, firstToken: Token): number
  takeDeliveries(): Deliveries
  caughtUp(token: Token): void
  flush(token: Token): void
  flushNow(timeoutMs: number): void
  close(token: Token, timeoutMs: number): void
  letGo(): void
  partitionCount(token: Token, topic: string): void
  metrics(): Record<string, number | null>
}

export interface Batch {
  topic: string
  partition: number
  tenure: number
  count: number
  nextOffset: bigint
  highWatermark?: bigint | undefined
  data: Buffer
  base: number
}

export interface Consumer {
  assign(partitions: Place[]): void
  assignment(): Place[]
  subscribe(topics: string[]): void
  subscribePattern(pattern: string): void
  unsubscribe(token: Token): void
  seek(topic: string, partition: number, offset: bigint): void
  seekTo(topic: string, partition: number, place: bigint): void
  pause(partitions: Place[]): void
  resume(partitions: Place[]): void
  paused(): Place[]
  position(topic: string, partition: number): bigint | null
  tryNext(max: number): Batch | null
  ready(token: Token): void
  commit(token: Token): void
  commitAt(token: Token, topic: string, partition: number, tenure: number, offset: bigint): void
  commitOffsets(token: Token, offsets: Committed[]): void
  keepBack(topic: string, partition: number, tenure: number, offset: bigint): void
  committed(token: Token, partitions: Place[]): void
  beginningOffsets(token: Token, partitions: Place[]): void
  endOffsets(token: Token, partitions: Place[]): void
  offsetsForTimes(token: Token, times: At[]): void
  metrics(): Record<string, number | null>
  close(token: Token, timeoutMs: number): void
  letGo(): void
}

export interface NewTopic {
  name: string
  partitions?: number | undefined
  replicationFactor?: number | undefined
  config: [string, string][]
}

export interface Admin {
  letGo(): void
  createTopics(token: Token, topics: NewTopic[], validateOnly: boolean): void
  deleteTopics(token: Token, topics: string[]): void
  createPartitions(token: Token, totals: [string, number][], validateOnly: boolean): void
  describeTopics(token: Token, topics: string[]): void
  listTopics(token: Token): void
  topicConfig(token: Token, topic: string): void
  brokerConfig(token: Token, broker: number): void
  alterTopicConfig(token: Token, topic: string, changes: [string, string | null][], validateOnly: boolean): void
  listGroups(token: Token): void
  describeGroups(token: Token, groups: string[]): void
  deleteGroups(token: Token, groups: string[]): void
  groupOffsets(token: Token, group: string): void
  alterGroupOffsets(token: Token, group: string, offsets: Committed[]): void
  deleteGroupOffsets(token: Token, group: string, partitions: Place[]): void
  listOffsets(token: Token, places: At[]): void
  describeCluster(token: Token): void
}

type MakeError = (code: number, name: string, message: string, flags: number, hint: string | null) => Error
type Settings = [string, string][]

export interface Native {
  EventLoop: new (wake: () => void, makeError: MakeError) => EventLoop
  Producer: new (loop: EventLoop, number: number, settings: Settings, provider: number | undefined) => Producer
  Consumer: new (
    loop: EventLoop,
    number: number,
    settings: Settings,
    listens: boolean,
    provider: number | undefined
  ) => Consumer
  Admin: new (loop: EventLoop, settings: Settings, provider: number | undefined) => Admin
}

/** The packages that may hold the native half for this machine, the likeliest first. */
function candidates(): string[] {
  const system = `@ottla/lib-${process.platform}-${process.arch}`
  if (process.platform === 'win32') return [`${system}-msvc`]
  if (process.platform !== 'linux') return [system]
  return isGlibc() ? [`${system}-gnu`, `${system}-musl`] : [`${system}-musl`, `${system}-gnu`]
}

function isGlibc(): boolean {
  const report = process.report as (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined
  if (report === undefined) return true
  // Reports on the network look names up, which can take seconds.
  const before = report.excludeNetwork ?? false
  report.excludeNetwork = true
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
  report.excludeNetwork = before
  return header.glibcVersionRuntime !== undefined
}

/** The folder of the package that holds the native half for this machine. */
function home(): string {
  for (const name of candidates()) {
    try {
      return dirname(require.resolve(`${name}/package.json`))
    } catch {
      // Not this one.
    }
  }
  throw new Error(
    `ottla has no package for ${process.platform}-${process.arch} installed: one of ${candidates().join(', ')} ` +
      'comes with `npm install ottla`, unless optional dependencies are left out'
  )
}

/** Where the program `ottla` is: `OTTLA_PROGRAM`, or the one that came with this package. */
export function program(): string {
  const named = process.env['OTTLA_PROGRAM']
  if (named !== undefined && named !== '') return named
  const found = join(home(), 'bin', process.platform === 'win32' ? 'ottla.exe' : 'ottla')
  if (!existsSync(found)) throw new Error(`the program \`ottla\` is not at ${found}: install the package again`)
  return found
}

let loaded: Native | undefined

/** The native half, loaded when it is first needed. */
export function native(): Native {
  loaded ??= require(join(home(), 'ottla.node')) as Native
  return loaded
}
