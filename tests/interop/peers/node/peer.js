// kafkajs behind the verbs `member` and `echo` of ../README.md.
//
//     peer.js member BOOTSTRAP TOPIC GROUP
//     peer.js echo BOOTSTRAP TOPIC TEXT

const fs = require('node:fs')
const { Kafka, logLevel } = require('kafkajs')

// As short as a broker takes by default, so that a dead member is soon known.
const SESSION_MS = 6000

const microseconds = () => Math.round((performance.timeOrigin + performance.now()) * 1000)

// How to connect, if that is not by plain text: the keys of kafka-clients, with PEM files.
function security() {
  if (process.env.PEER_PROPERTIES === undefined) return {}
  const lines = fs.readFileSync(process.env.PEER_PROPERTIES, 'utf8').trim().split('\n')
  const known = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
  const read = (key) => known[key] && fs.readFileSync(known[key])
  const config = {}
  if (known['security.protocol'].endsWith('SSL')) {
    const store = read('ssl.keystore.location')
    config.ssl = { ca: [read('ssl.truststore.location')], cert: store, key: store }
  }
  if (known['sasl.mechanism'] === 'OAUTHBEARER') {
    config.sasl = { mechanism: 'oauthbearer', oauthBearerProvider: () => token(known) }
  } else if (known['sasl.mechanism']) {
    const [username, password] = [known['sasl.username'], known['sasl.password']]
    config.sasl = { mechanism: known['sasl.mechanism'].toLowerCase(), username, password }
  }
  return config
}

// A token by the client credentials grant.
async function token(known) {
  const [id, secret] = ['id', 'secret'].map((name) => known[`sasl.oauthbearer.client.credentials.client.${name}`])
  const answer = await fetch(known['sasl.oauthbearer.token.endpoint.url'], {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  })
  return { value: (await answer.json()).access_token }
}

// Writes a record, and reads it.
async function echo(bootstrap, topic, text) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR, retry: { retries: 2 }, ...security() })
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic, messages: [{ value: text }] })
  await producer.disconnect()
  const consumer = kafka.consumer({ groupId: `echo-${process.pid}-${Date.now()}` })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const read = await new Promise((resolve) => {
    consumer.run({ eachMessage: async ({ message }) => resolve(message.value.toString()) })
  })
  console.log(read)
  await consumer.disconnect()
}

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
const verbs = { member, echo }
if (!(verb in verbs) || args.length !== 3) {
  console.error('usage: peer.js member BOOTSTRAP TOPIC GROUP | echo BOOTSTRAP TOPIC TEXT')
  process.exit(1)
}
verbs[verb](...args).catch((error) => {
  console.error(error)
  process.exit(1)
})
