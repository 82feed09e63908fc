// What is plain data.

import type { At, Committed } from './native.js'

/** A partition of a topic. */
export interface TopicPartition {
  topic: string
  partition: number
}

/** An offset in a partition. */
export interface PartitionOffset extends TopicPartition {
  offset: bigint
}

/** An offset as a group commits it: that of the next record to be read. */
export interface OffsetToCommit extends TopicPartition {
  offset: bigint | number
  metadata?: string | undefined
  leaderEpoch?: number | undefined
}

/** An offset as a group has committed it. */
export interface CommittedOffset extends PartitionOffset {
  metadata: string
  leaderEpoch: number | undefined
}

/** A place in a partition: its beginning, its end, or the first record of a time or later. */
export type OffsetPlace = 'earliest' | 'latest' | Date

/** A topic to be created; what is left out is left to the broker. */
export interface NewTopic {
  name: string
  partitions?: number | undefined
  replicationFactor?: number | undefined
  config?: Record<string, string | number | bigint | boolean> | undefined
}

/** A topic that was created. */
export interface CreatedTopic {
  name: string
  id: string
  /** Undefined where the broker does not tell. */
  partitions: number | undefined
  replicationFactor: number | undefined
}

/** A topic, as a list of all has it. */
export interface TopicListing {
  name: string
  id: string
  internal: boolean
}

/** A partition of a topic, and where its replicas are, by the brokers' ids. */
export interface PartitionDescription {
  partition: number
  leader: number | undefined
  replicas: number[]
  inSync: number[]
}

/** A topic and its partitions. */
export interface TopicDescription extends TopicListing {
  partitions: PartitionDescription[]
}

/** A key of a configuration. The value of a sensitive one is undefined. */
export interface ConfigEntry {
  name: string
  value: string | undefined
  source: string
  readOnly: boolean
  sensitive: boolean
}

/** A group, as a list of all has it. */
export interface GroupListing {
  groupId: string
  state: string | undefined
  type: string | undefined
  protocolType: string
}

/** A member of a group. */
export interface GroupMember {
  memberId: string
  instanceId: string | undefined
  clientId: string
  host: string
  assignment: TopicPartition[]
}

/** A group and its members. */
export interface GroupDescription {
  groupId: string
  state: string
  type: string
  assignor: string
  coordinator: number
  members: GroupMember[]
}

/** A broker of the cluster. */
export interface BrokerDescription {
  id: number
  host: string
  port: number
  rack: string | undefined
}

/** The cluster and its brokers. */
export interface ClusterDescription {
  clusterId: string
  controller: number | undefined
  brokers: BrokerDescription[]
}

/** The offset of a place; undefined if there is no record of the time or later. */
export interface ListedOffset extends TopicPartition {
  offset: bigint | undefined
  timestamp: number | undefined
}

// ---- as the native half has them

export function committedOf({ topic, partition, offset, metadata, leaderEpoch }: OffsetToCommit): Committed {
  return { topic, partition, offset: integer(offset), metadata, leaderEpoch }
}

/** A place by its number on the wire. */
export function placeOf(place: OffsetPlace): bigint {
  if (place === 'earliest') return -2n
  if (place === 'latest') return -1n
  if (place instanceof Date && !Number.isNaN(place.getTime())) return BigInt(place.getTime())
  throw new TypeError(`\`${String(place)}\` is neither \`earliest\` nor \`latest\` nor a Date`)
}

export function atTime({ topic, partition, time }: TopicPartition & { time: Date | number | bigint }): At {
  return { topic, partition, offset: integer(Number(time)) }
}

/** An offset. */
export function integer(number: bigint | number): bigint {
  if (typeof number === 'bigint') return number
  if (Number.isSafeInteger(number)) return BigInt(number)
  throw new TypeError(`an offset is a bigint, or a whole number, not \`${String(number)}\``)
}

/** Names: an array, not a name, whose letters would be taken for names. */
export function names(names: readonly string[], of: string): string[] {
  if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names as string[]
  throw new TypeError(`${of} are an array of names`)
}
