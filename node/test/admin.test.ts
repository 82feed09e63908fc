import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Admin, Consumer, errors } from 'ottla'

import { broker, fill, name } from './support.js'

const own = broker()

test('topics are made, looked at, changed and deleted', async () => {
  const topic = name('admin')
  await using admin = new Admin({ brokers: own.brokers })
  const [created] = await admin.createTopics([
    { name: topic, partitions: 2, config: { 'cleanup.policy': 'compact', 'retention.ms': 60_000 } }
  ])
  assert.deepEqual([created?.name, created?.partitions], [topic, 2])
  await assert.rejects(admin.createTopics([topic]), errors.TopicAlreadyExistsError)
  assert.ok((await admin.listTopics()).some(({ name }) => name === topic))
  await admin.createPartitions({ [topic]: 3 })
  const [described] = await admin.describeTopics([topic])
  assert.deepEqual(
    described?.partitions.map(({ partition }) => partition),
    [0, 1, 2]
  )
  await admin.alterTopicConfig(topic, { 'retention.ms': 90_000, 'cleanup.policy': null })
  const config = await admin.topicConfig(topic)
  assert.equal(config.get('retention.ms')?.value, '90000')
  assert.equal(config.get('cleanup.policy')?.value, 'delete')
  await admin.deleteTopics([topic])
  await assert.rejects(admin.describeTopics([topic]), errors.UnknownTopicOrPartitionError)
})

test('a call about several things tells of each', async () => {
  const topic = name('several')
  await using admin = new Admin({ brokers: own.brokers })
  await admin.createTopics([topic])
  await assert.rejects(
    admin.describeTopics([topic, 'missing']),
    (error: errors.KafkaError & { outcomes: [{ name: string }, Error] }) => {
      assert.ok(error instanceof errors.UnknownTopicOrPartitionError)
      assert.equal(error.outcomes[0].name, topic)
      assert.equal(error.outcomes[1], error)
      return true
    }
  )
})

test('groups are listed, described, and their offsets set', async () => {
  const [topic, groupId] = [name('groups'), name('group')]
  await fill(own.brokers, topic, 3)
  await using admin = new Admin({ brokers: own.brokers })
  {
    await using consumer = new Consumer({ brokers: own.brokers, groupId, topics: [topic], startFrom: 'earliest' })
    await consumer.poll({ timeout: 10_000 })
    const [group] = await admin.describeGroups([groupId])
    assert.deepEqual([group?.state, group?.members.length], ['Stable', 1])
    assert.deepEqual(group?.members[0]?.assignment, [{ topic, partition: 0 }])
  }
  assert.ok((await admin.listGroups()).some((group) => group.groupId === groupId))
  await admin.alterGroupOffsets(groupId, [{ topic, partition: 0, offset: 2n }])
  const [committed] = await admin.groupOffsets(groupId)
  assert.deepEqual([committed?.topic, committed?.partition, committed?.offset], [topic, 0, 2n])
  await admin.deleteGroupOffsets(groupId, [{ topic, partition: 0 }])
  assert.deepEqual(await admin.groupOffsets(groupId), [])
  await admin.deleteGroups([groupId])
})

test('the cluster and places in it', async () => {
  const topic = name('cluster')
  await fill(own.brokers, topic, 3)
  await using admin = new Admin({ brokers: own.brokers })
  const cluster = await admin.describeCluster()
  assert.equal(cluster.brokers.length, 1)
  const [node] = cluster.brokers
  assert.equal(`${node?.host}:${node?.port}`, own.brokers)
  assert.ok((await admin.brokerConfig(node?.id ?? 0)).has('log.segment.bytes'))
  const tp = { topic, partition: 0 }
  const found: (bigint | undefined)[] = []
  for (const at of ['earliest', 'latest', new Date('2100-01-01')] as const) {
    const [listed] = await admin.listOffsets([{ ...tp, at }])
    found.push(listed?.offset)
  }
  assert.deepEqual(found, [0n, 3n, undefined])
  await admin.close()
  await assert.rejects(admin.listTopics(), errors.ClosedError)
})
