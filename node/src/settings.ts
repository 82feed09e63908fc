// Settings as programs write them, made what the native half takes: Kafka's keys, or the same in camel case, with values as text.

import { inspect } from 'node:util'

/** What a client was given that is no setting of Kafka's. */
export interface Shorthands {
  brokers?: unknown
  startFrom?: unknown
}

const KEYS: Record<string, string> = { brokers: 'bootstrap.servers', startFrom: 'auto.offset.reset' }

/** No setting, but what every client may be given. */
const PROVIDER = 'oauthBearerProvider'

/** Pairs of all settings but those of `own`, which are this half's. What is undefined is as good as not given. */
export function settings(config: object, own: readonly string[]): [string, string][] {
  const given = new Map<string, [string, string]>()
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined || value === null || own.includes(name) || name === PROVIDER) continue
    const key = KEYS[name] ?? name
    const text = textOf(key, value)
    const spelled = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/[.-]/g, '_')
    const before = given.get(spelled)
    if (before !== undefined && before[1] !== text) {
      throw new TypeError(`\`${name}\` is given twice: \`${before[1]}\` and \`${text}\``)
    }
    given.set(spelled, [key, text])
  }
  return [...given.values()]
}

/** A value as Kafka's files have it. */
export function textOf(key: string, value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value
    case 'boolean':
    case 'bigint':
      return String(value)
    case 'number':
      if (Number.isFinite(value)) return String(value)
      break
    case 'object':
      if (Array.isArray(value)) return value.map((part) => textOf(key, part)).join(',')
      break
  }
  throw new TypeError(`\`${key}\` is a string, number, boolean or an array of these, not ${inspect(value)}`)
}
