import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'

import { broker, name } from './support.js'

const own = broker()

const examples = [
  ['first_producer', ['at offset 0', 'at offset 1', 'at offset 2']],
  ['first_consumer', ['0: hello, Ada', '1: hello, Grace', '2: hello, Barbara']],
  ['group', ['assigned: ', 'hello, Ada', 'hello, Grace', 'hello, Barbara']]
] as const

const built = join(__dirname, '..', 'examples')

async function said(program: string, ...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [program, own.brokers, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  const [code] = (await once(child, 'close')) as [number | null]
  assert.equal(code, 0)
  return said
}

for (const [task, lines] of examples) {
  test(`the example ${task} does what it says`, async () => {
    const topic = name('greetings')
    // The one who reads needs somebody who has written.
    const written = await said(join(built, 'first_producer', 'main.js'), topic)
    const all = task === 'first_producer' ? written : await said(join(built, task, 'main.js'), topic)
    for (const line of lines) assert.ok(all.includes(line), `\`${line}\` is not in:\n${all}`)
  })
}
