// What the documents show, run as it is written there.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'

import { Broker } from 'ottla/testing'

const built = join(__dirname, '..', 'snippets')
const snippets = readdirSync(built).filter((name) => name.endsWith('.mjs') && !name.startsWith('run-'))

/** Patience with a snippet that reads for ever. */
const PATIENCE_MS = 3000

for (const snippet of snippets) {
  test(`${snippet} does something, and complains of nothing`, async () => {
    await using broker = await Broker.start()
    const program = join(built, `run-${snippet}`)
    writeFileSync(program, readFileSync(join(built, snippet), 'utf8').replaceAll('localhost:9092', broker.brokers))
    const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'pipe'] })
    const [lines, errors]: [string[], string[]] = [[], []]
    createInterface(child.stdout).on('line', (line) => lines.push(line))
    createInterface(child.stderr).on('line', (line) => errors.push(line))
    const timer = setTimeout(() => child.kill(), PATIENCE_MS)
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
    clearTimeout(timer)
    assert.deepEqual(errors, [])
    assert.ok(code === 0 || code === null, `it ended with ${code}`)
  })
}

test('there are snippets', () => assert.ok(snippets.length >= 5, snippets.join()))
