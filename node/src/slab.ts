// Records on their way to the native half: packed one behind the other, handed over many at a time.
//
// `bindings/common/src/packed.rs` says how they lie: their bytes in one buffer, and eight words for each in a table.

/** A key or value as it is sent: text is UTF-8. */
export type Payload = Uint8Array | string | null | undefined

/** Headers to be sent: an object, or pairs of which a name may occur again. */
export type Headers = Record<string, Payload> | Iterable<readonly [string, Payload]>

const WORDS = 8
const NONE = 0xffffffff
/** Bytes that a slab begins with, and that it grows to where records come in larger numbers; one that is larger has its own. */
const BYTES_MIN = 16 * 1024
const BYTES_MAX = 1024 * 1024
const RECORDS_MIN = 128
const RECORDS_MAX = 8 * 1024
/** Most bytes that a character of JavaScript takes in UTF-8. */
const CHARACTER_BYTES_MAX = 3

export class Slab {
  data: Buffer = Buffer.allocUnsafeSlow(BYTES_MIN)
  table = new Uint32Array(RECORDS_MIN * WORDS)
  /** How much of both is used. */
  bytes = 0
  words = 0

  /** Adds a record; says whether there was room. */
  add(
    topic: number,
    partition: number | undefined,
    key: Payload,
    value: Payload,
    headers: Headers | undefined,
    timestamp: number | undefined
  ): boolean {
    if (this.words === this.table.length) return false
    const began = this.bytes
    const { table } = this
    const at = this.words
    const keyBytes = this.#payload(key)
    if (keyBytes === undefined) return false
    const valueBytes = this.#payload(value)
    if (valueBytes === undefined) {
      this.bytes = began
      return false
    }
    table[at] = topic
    table[at + 1] = partition ?? NONE
    table[at + 2] = keyBytes
    table[at + 3] = valueBytes
    table[at + 4] = 0
    table[at + 5] = 0
    if (headers !== undefined) {
      const behind = this.bytes
      const count = this.#headers(headers)
      if (count === undefined) {
        this.bytes = began
        return false
      }
      table[at + 4] = count
      table[at + 5] = this.bytes - behind
    }
    if (timestamp === undefined) {
      table[at + 6] = NONE
      table[at + 7] = NONE
    } else {
      table[at + 6] = timestamp % 2 ** 32
      table[at + 7] = Math.floor(timestamp / 2 ** 32)
    }
    this.words = at + WORDS
    return true
  }

  get records(): number {
    return this.words / WORDS
  }

  /** Its records were handed over; it grows if they filled it. */
  clear(): void {
    if (this.words === this.table.length && this.words < RECORDS_MAX * WORDS) {
      this.table = new Uint32Array(this.table.length * 2)
    }
    if (this.bytes * 2 > this.data.length && this.data.length < BYTES_MAX) {
      this.data = Buffer.allocUnsafeSlow(this.data.length * 2)
    }
    this.bytes = 0
    this.words = 0
  }

  /** Makes room for so many bytes, while it is empty. */
  reserve(bytes: number): void {
    this.data = Buffer.allocUnsafeSlow(bytes)
  }

  /** Gives memory back that an unusually large record has taken. */
  shrink(): void {
    if (this.data.length > BYTES_MAX) this.data = Buffer.allocUnsafeSlow(BYTES_MAX)
  }

  /** How many bytes it took; `NONE` for null, nothing if there is no room. */
  #payload(payload: Payload): number | undefined {
    if (payload === null || payload === undefined) return NONE
    const { data, bytes: at } = this
    if (typeof payload === 'string') {
      if (payload.length * CHARACTER_BYTES_MAX > data.length - at) return undefined
      const length = data.write(payload, at)
      this.bytes = at + length
      return length
    }
    const { length } = payload
    if (length > data.length - at) return undefined
    data.set(payload, at)
    this.bytes = at + length
    return length
  }

  /** How many there are. */
  #headers(headers: Headers): number | undefined {
    let count = 0
    for (const [name, value] of pairs(headers)) {
      if (!this.#sized(name) || !this.#sized(checked(value, 'value of a header'))) return undefined
      count++
    }
    return count
  }

  /** A length of 32 bits, and as many bytes. */
  #sized(payload: Payload): boolean {
    const at = this.bytes
    if (this.data.length - at < 4) return false
    this.bytes = at + 4
    const length = this.#payload(payload)
    if (length === undefined) return false
    this.data.writeUInt32LE(length, at)
    return true
  }
}

/** Most bytes that a record can take in a slab. */
export function bytesMax(key: Payload, value: Payload, headers: Headers | undefined): number {
  let bytes = payloadMax(key) + payloadMax(value)
  if (headers !== undefined) {
    for (const [name, of] of pairs(headers)) bytes += 8 + payloadMax(name) + payloadMax(of)
  }
  return bytes
}

function payloadMax(payload: Payload): number {
  if (payload === null || payload === undefined) return 0
  return typeof payload === 'string' ? payload.length * CHARACTER_BYTES_MAX : payload.length
}

function pairs(headers: Headers): Iterable<readonly [string, Payload]> {
  return Symbol.iterator in headers ? (headers as Iterable<readonly [string, Payload]>) : Object.entries(headers)
}

/** Refuses what is no payload. */
export function checked(payload: unknown, what: string): Payload {
  if (payload === null || payload === undefined || typeof payload === 'string' || payload instanceof Uint8Array) {
    return payload
  }
  const kind = typeof payload === 'object' ? payload.constructor?.name ?? 'Object' : typeof payload
  throw new TypeError(
    `a ${what} is a Buffer, a Uint8Array, a string or null, not \`${kind}\`; a serializer makes bytes of other types`
  )
}
