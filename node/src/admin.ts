import type { AdminConfig as Keys } from './config.js'
import { type EventLoop, eventLoop } from './event-loop.js'
import { closed } from './errors.js'
import { type Admin as NativeAdmin, type Token, native } from './native.js'
import { settings, textOf } from './settings.js'
import type { WithTokens } from './tokens.js'
import { within } from './signal.js'
import {
  type ClusterDescription,
  type CommittedOffset,
  type ConfigEntry,
  type CreatedTopic,
  type GroupDescription,
  type GroupListing,
  type ListedOffset,
  type NewTopic,
  type OffsetPlace,
  type OffsetToCommit,
  type TopicDescription,
  type TopicListing,
  type TopicPartition,
  committedOf,
  names,
  placeOf
} from './types.js'

/** The settings of an admin client: Kafka's keys, as they are or in camel case. */
export interface AdminConfig extends Keys, WithTokens {
  /** Where the cluster is: `bootstrap.servers`. */
  brokers?: string | readonly string[] | undefined
}

export interface Asked {
  /** Gives up waiting. What was begun goes on. */
  signal?: AbortSignal | undefined
}

export interface Trying extends Asked {
  /** Says only whether it could be done. */
  validateOnly?: boolean | undefined
}

/** Whether each thing went well, and its value or error. */
type Pairs = [boolean, unknown][]

/**
 * Looks at a cluster and changes it: topics, configurations, groups, offsets.
 *
 * ```ts
 * await using admin = new Admin({ brokers: 'localhost:9092' })
 * await admin.createTopics([{ name: 'orders', partitions: 6 }])
 * ```
 *
 * A call about several things ends with a value for each, in their order, or fails with the first failure, of which `outcomes` has
 * what became of each.
 */
export class Admin implements AsyncDisposable {
  readonly #loop: EventLoop
  #native: NativeAdmin | undefined

  constructor(config: AdminConfig) {
    this.#loop = eventLoop()
    const provider = this.#loop.addProvider(this, config.oauthBearerProvider)
    this.#native = new (native().Admin)(this.#loop.native, settings(config, []), provider)
  }

  // ---- topics

  /** Creates topics: as described, or by name with the broker's defaults. */
  createTopics(
    topics: readonly (NewTopic | string)[],
    { signal, validateOnly = false }: Trying = {}
  ): Promise<CreatedTopic[]> {
    const wanted = topics.map((topic) => (typeof topic === 'string' ? { name: topic } : topic))
    const converted = wanted.map(({ config = {}, ...topic }) => ({ ...topic, config: texts(config) }))
    return this.#each((native, token) => native.createTopics(token, converted, validateOnly), signal)
  }

  /** Deletes topics with all their records. */
  async deleteTopics(topics: readonly string[], { signal }: Asked = {}): Promise<void> {
    await this.#each((native, token) => native.deleteTopics(token, names(topics, 'topics')), signal)
  }

  /** Raises the number of partitions of topics to these totals. */
  async createPartitions(
    totals: Record<string, number>,
    { signal, validateOnly = false }: Trying = {}
  ): Promise<void> {
    await this.#each((native, token) => native.createPartitions(token, Object.entries(totals), validateOnly), signal)
  }

  /** Topics with their partitions. */
  describeTopics(topics: readonly string[], { signal }: Asked = {}): Promise<TopicDescription[]> {
    return this.#each((native, token) => native.describeTopics(token, names(topics, 'topics')), signal)
  }

  /** All topics; with `internal`, Kafka's own among them. */
  async listTopics({ signal, internal = false }: Asked & { internal?: boolean } = {}): Promise<TopicListing[]> {
    const all = await this.#run<TopicListing[]>((native, token) => native.listTopics(token), signal)
    return internal ? all : all.filter((topic) => !topic.internal)
  }

  // ---- configurations

  /** A topic's configuration, by key. */
  async topicConfig(topic: string, { signal }: Asked = {}): Promise<Map<string, ConfigEntry>> {
    return byName(await this.#each((native, token) => native.topicConfig(token, topic), signal))
  }

  /** A broker's configuration, by key. */
  async brokerConfig(broker: number, { signal }: Asked = {}): Promise<Map<string, ConfigEntry>> {
    return byName(await this.#each((native, token) => native.brokerConfig(token, broker), signal))
  }

  /** Changes single keys of a topic; null takes a key back to its default. */
  async alterTopicConfig(
    topic: string,
    changes: Record<string, string | number | bigint | boolean | null>,
    { signal, validateOnly = false }: Trying = {}
  ): Promise<void> {
    const pairs = Object.entries(changes)
    const converted = pairs.map(([key, value]): [string, string | null] => [key, value === null ? null : textOf(key, value)])
    await this.#each((native, token) => native.alterTopicConfig(token, topic, converted, validateOnly), signal)
  }

  // ---- groups

  /** All groups of the cluster. */
  listGroups({ signal }: Asked = {}): Promise<GroupListing[]> {
    return this.#run((native, token) => native.listGroups(token), signal)
  }

  /** Groups with their members. */
  describeGroups(groups: readonly string[], { signal }: Asked = {}): Promise<GroupDescription[]> {
    return this.#each((native, token) => native.describeGroups(token, names(groups, 'groups')), signal)
  }

  /** Deletes groups without members, with the offsets they have committed. */
  async deleteGroups(groups: readonly string[], { signal }: Asked = {}): Promise<void> {
    await this.#each((native, token) => native.deleteGroups(token, names(groups, 'groups')), signal)
  }

  /** All offsets that a group has committed. */
  async groupOffsets(group: string, { signal }: Asked = {}): Promise<CommittedOffset[]> {
    const [offsets] = await this.#each<CommittedOffset[]>((native, token) => native.groupOffsets(token, group), signal)
    return offsets ?? []
  }

  /** Commits offsets in the name of a group that has no members. */
  async alterGroupOffsets(group: string, offsets: readonly OffsetToCommit[], { signal }: Asked = {}): Promise<void> {
    await this.#each((native, token) => native.alterGroupOffsets(token, group, offsets.map(committedOf)), signal)
  }

  /** Forgets offsets that a group has committed, of topics that no member of it reads. */
  async deleteGroupOffsets(
    group: string,
    partitions: readonly TopicPartition[],
    { signal }: Asked = {}
  ): Promise<void> {
    await this.#each((native, token) => native.deleteGroupOffsets(token, group, [...partitions]), signal)
  }

  // ---- the cluster

  /** Offsets by place: "earliest", "latest" or a `Date`. */
  listOffsets(
    places: readonly (TopicPartition & { at: OffsetPlace })[],
    { signal }: Asked = {}
  ): Promise<ListedOffset[]> {
    const converted = places.map(({ topic, partition, at }) => ({ topic, partition, offset: placeOf(at) }))
    return this.#each((native, token) => native.listOffsets(token, converted), signal)
  }

  /** The cluster's id, controller and brokers. */
  describeCluster({ signal }: Asked = {}): Promise<ClusterDescription> {
    return this.#run((native, token) => native.describeCluster(token), signal)
  }

  /** Lets it go. Closing again does nothing. */
  async close(): Promise<void> {
    this.#native?.letGo()
    this.#native = undefined
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- helpers

  async #run<T>(begin: (native: NativeAdmin, token: Token) => void, signal: AbortSignal | undefined): Promise<T> {
    const native = this.#native
    if (native === undefined) throw closed()
    return within<T>(this.#loop, (token) => begin(native, token), signal)
  }

  async #each<T>(begin: (native: NativeAdmin, token: Token) => void, signal: AbortSignal | undefined): Promise<T[]> {
    const outcomes = await this.#run<Pairs>(begin, signal)
    const failed = outcomes.find(([isOk]) => !isOk)
    if (failed !== undefined) {
      throw Object.assign(failed[1] as Error, { outcomes: outcomes.map(([, outcome]) => outcome) })
    }
    return outcomes.map(([, value]) => value as T)
  }
}

function texts(config: Record<string, string | number | bigint | boolean>): [string, string][] {
  return Object.entries(config).map(([key, value]) => [key, textOf(key, value)])
}

function byName(resources: ConfigEntry[][]): Map<string, ConfigEntry> {
  return new Map((resources[0] ?? []).map((entry) => [entry.name, entry]))
}
