#!/usr/bin/env node
// `npx ottla`: the program that came with this package, with the arguments, streams, signals and end of this one.
'use strict'

const { spawn } = require('node:child_process')
const { program } = require('../dist/native.js')

const child = spawn(program(), process.argv.slice(2), { stdio: 'inherit' })
// The program decides when to end. A terminal sends Ctrl-C to both.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  })
}
child.on('error', (error) => {
  console.error(`error: ${error.message}`)
  process.exitCode = 1
})
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code)
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
})
