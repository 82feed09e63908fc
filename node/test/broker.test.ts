// The program that comes with the package, and brokers for tests.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { Admin } from 'ottla'
import { Broker } from 'ottla/testing'

import { run } from './support.js'

test('a broker is a real one, and goes when it is stopped', async () => {
  const broker = await Broker.start({ 'num.partitions': 3 })
  {
    await using admin = new Admin({ brokers: broker.brokers })
    assert.equal((await admin.createTopics(['orders']))[0]?.partitions, 3)
  }
  await Promise.all([broker.stop(), broker.stop()])
  await using admin = new Admin({ brokers: broker.brokers, defaultApiTimeoutMs: 300, requestTimeoutMs: 200 })
  await assert.rejects(admin.describeCluster())
})

test('a broker that cannot start says why', async () => {
  await assert.rejects(Broker.start({ 'no.such.key': 1 }), /no\.such\.key/)
})

test('a broker ends with the process that started it, and keeps it not alive', async () => {
  for (const end of ["process.kill(process.pid, 'SIGKILL')", '']) {
    const { stdout } = await run(`
      const { Broker } = require('ottla/testing')
      Broker.start().then((broker) => {
        process.stdout.write(broker.brokers + '\\n', () => { ${end} })
      })`)
    const brokers = stdout.trim()
    assert.match(brokers, /^127\.0\.0\.1:\d+$/)
    const deadline = performance.now() + 10_000
    const listens = (): boolean => {
      const port = Number(brokers.split(':')[1]).toString(16).toUpperCase().padStart(4, '0')
      return readFileSync('/proc/net/tcp', 'utf8')
        .split('\n')
        .some((line) => line.includes(`:${port} 00000000:0000 0A`))
    }
    while (listens() && performance.now() < deadline) await sleep(20)
    assert.ok(!listens(), 'the broker is still there')
  }
})

test('npx runs the program, and ends as it does', async () => {
  const bin = join(process.cwd(), 'node_modules', '.bin', 'ottla')
  const help = spawn(bin, ['--version'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface(help.stdout), 'line')) as [string]
  assert.match(line, /^ottla \d/)
  const wrong = spawn(bin, ['no-such-verb'], { stdio: 'ignore' })
  assert.notEqual(((await once(wrong, 'exit')) as [number])[0], 0)
  const dev = spawn(bin, ['dev', '--quiet', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const lines = createInterface(dev.stdout)
  const [brokers] = (await once(lines, 'line')) as [string]
  assert.match(brokers, /:\d+$/)
  dev.kill('SIGTERM')
  const [code, signal] = (await once(dev, 'exit')) as [number | null, string | null]
  assert.ok(code === 0 || signal === 'SIGTERM', `${code} ${signal}`)
})
