// Tokens of the program's own, by which clients log in at a broker that checks them.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

import { Admin, Consumer, type OAuthBearerProvider, Producer, errors } from 'ottla'
import { Broker } from 'ottla/testing'

import { name, tokens } from './support.js'

const ALICE = readFileSync(`${tokens}/alice.jwt`, 'utf8').trim()

let started: Broker | undefined
before(async () => {
  started = await Broker.start({
    'listener.security.protocol.map': 'PLAINTEXT:SASL_PLAINTEXT',
    'sasl.enabled.mechanisms': 'OAUTHBEARER',
    'sasl.oauthbearer.jwks.endpoint.url': pathToFileURL(`${tokens}/keys.json`).href,
    'sasl.oauthbearer.expected.audience': 'kafka',
    'sasl.oauthbearer.expected.issuer': 'https://issuer.test',
    'ottla.sasl.plain.without.tls': true
  })
})
after(() => started?.stop())

function bearer(oauthBearerProvider?: OAuthBearerProvider): {
  brokers: string
  securityProtocol: 'SASL_PLAINTEXT'
  saslMechanism: string
  'ottla.sasl.plain.without.tls': boolean
  oauthBearerProvider: OAuthBearerProvider | undefined
} {
  return {
    brokers: started?.brokers ?? '',
    securityProtocol: 'SASL_PLAINTEXT',
    saslMechanism: 'OAUTHBEARER',
    'ottla.sasl.plain.without.tls': true,
    oauthBearerProvider
  }
}

test('a client logs in by what the program gives', async () => {
  const later: OAuthBearerProvider = async () => {
    await sleep(10)
    return { value: ALICE, expires: new Date('2100-01-01'), principal: 'alice', extensions: { tenant: 'a' } }
  }
  for (const provider of [() => ALICE, later]) {
    const topic = name('tokens')
    await using producer = new Producer(bearer(provider))
    assert.equal((await producer.send({ topic, value: 'two apples' })).offset, 0n)
    await using consumer = new Consumer({ ...bearer(provider), groupId: name('group'), topics: [topic], startFrom: 'earliest' })
    for await (const record of consumer) {
      assert.equal(String(record.value), 'two apples')
      break
    }
    await using admin = new Admin(bearer(provider))
    assert.equal((await admin.describeCluster()).brokers.length, 1)
  }
})

test('what the function throws is part of the error, and what passes is tried again', async () => {
  await using sealed = new Admin(bearer(() => Promise.reject(new Error('the vault is sealed'))))
  await assert.rejects(sealed.describeCluster(), (error: Error) => {
    assert.ok(error instanceof errors.AuthenticationError)
    assert.match(error.message, /the vault is sealed/)
    return true
  })
  let asked = 0
  await using away = new Admin(
    bearer(() => {
      if (++asked < 3) throw Object.assign(new Error('the vault is away'), { code: 'ECONNREFUSED' })
      return ALICE
    })
  )
  assert.equal((await away.describeCluster()).brokers.length, 1)
  assert.equal(asked, 3)
})

test('a token that is no good is told as such', async () => {
  const forged = `${ALICE.slice(0, -8)}AAAAAAAA`
  await using admin = new Admin(bearer(() => forged))
  await assert.rejects(admin.describeCluster(), (error: Error) => {
    assert.ok(error instanceof errors.AuthenticationError)
    assert.match(error.message, /invalid_token/)
    assert.ok(!error.message.includes(forged))
    return true
  })
})

test('no function and no setting is a mistake', () => {
  assert.throws(() => new Producer(bearer()), /sasl.oauthbearer.token.endpoint.url/)
  assert.throws(() => new Producer(bearer('token' as unknown as OAuthBearerProvider)), /oauthBearerProvider/)
})
