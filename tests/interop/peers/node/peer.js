// kafkajs behind the verb `member` of ../README.md.
//
//     peer.js member BOOTSTRAP TOPIC GROUP

const { Kafka, logLevel } = require('kafkajs')

// As short as a broker takes by default, so that a dead member is soon known.
const SESSION_MS = 6000

const microseconds = () => Math.round((performance.timeOrigin + performance.now()) * 1000)

async function member(bootstrap, topic, groupId) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 30, maxRetryTime: 500 } })
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: SESSION_MS,
    heartbeatInterval: SESSION_MS / 10,
    maxWaitTimeInMs: 100,
    metadataMaxAge: 5000,
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isStale, isRunning }) => {
      if (isStale() || !isRunning()) return
      const now = microseconds()
      const lines = batch.messages.map((m) => `${batch.partition} ${m.offset} ${now}\n`)
      process.stdout.write(lines.join(''))
      const offset = (BigInt(batch.lastOffset()) + 1n).toString()
      try {
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset }])
        process.stdout.write(`committed ${microseconds()}\n`)
      } catch (error) {
        // The group rebalances: whoever gets the partition reads the records again.
        process.stdout.write('uncommitted\n')
        await heartbeat()
        return
      }
      resolveOffset(batch.lastOffset())
      await heartbeat()
    },
  })
  process.stdin.resume()
  process.stdin.on('end', async () => {
    await consumer.disconnect()
    process.exit(0)
  })
}

const [verb, ...args] = process.argv.slice(2)
if (verb !== 'member' || args.length !== 3) {
  console.error('usage: peer.js member BOOTSTRAP TOPIC GROUP')
  process.exit(1)
}
member(...args).catch((error) => {
  console.error(error)
  process.exit(1)
})
