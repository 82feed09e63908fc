// What the documents show, run as it is written there.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'

import { Broker } from 'ottla/testing'

import { fill } from './support.js'

const built = join(__dirname, '..', 'snippets')
const snippets = readdirSync(built).filter((name) => name.endsWith('.mjs') && !name.startsWith('run-'))

/** Patience with a snippet that reads for ever. */
const PATIENCE_MS = 3000

describe('snippets', { concurrency: true }, () => {
  for (const snippet of snippets) {
    test(`${snippet} does what it shows, and complains of nothing`, async () => {
      await using broker = await Broker.start()
      await fill(broker.brokers, 'orders', 1)
      const source = readFileSync(join(built, snippet), 'utf8')
      const program = join(built, `run-${snippet}`)
      writeFileSync(program, source.replaceAll('localhost:9092', broker.brokers))
      const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'pipe'] })
      const [lines, errors]: [string[], string[]] = [[], []]
      createInterface(child.stdout).on('line', (line) => lines.push(line))
      createInterface(child.stderr).on('line', (line) => errors.push(line))
      const timer = setTimeout(() => child.kill(), PATIENCE_MS)
      const [code] = (await once(child, 'close')) as [number | null]
      clearTimeout(timer)
      assert.deepEqual(errors, [])
      assert.ok(code === 0 || code === null, `it ended with ${code}`)
      const shown = source.split('console.log').length - 1
      assert.ok(lines.length >= shown, `it has ${shown} lines to say, and said ${lines.join('\n')}`)
    })
  }
})

test('there are snippets', () => assert.ok(snippets.length >= 5, snippets.join()))
