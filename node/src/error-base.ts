// The classes that all errors derive from. Those of single codes are in `errors.ts` and `broker-errors.ts`.

/** What an error tells beside its message. */
export interface About {
  code?: string
  errno?: number
  retriable?: boolean
  fatal?: boolean
  abortable?: boolean
  hint?: string | undefined
  cause?: unknown
}

/** The base of all that this package throws itself. */
export class OttlaError extends Error {
  /** Its name in every language: `UNKNOWN_TOPIC_OR_PARTITION`, `TIMEOUT`. */
  readonly code: string
  /** Its number in every language: above zero Kafka's, as a broker gave it; below zero what is local. */
  readonly errno: number
  /** Whether the same call may succeed later, unchanged. */
  readonly retriable: boolean
  /** Whether nothing helps before a person acted. */
  readonly fatal: boolean
  /** Whether the transaction must be aborted; then the producer can go on. */
  readonly abortable: boolean
  /** What to do about it, where that is known. */
  readonly hint: string | undefined

  constructor(message: string, about: About = {}) {
    super(about.hint === undefined ? message : `${message}; ${about.hint}`, 'cause' in about ? { cause: about.cause } : {})
    this.code = about.code ?? ''
    this.errno = about.errno ?? 0
    this.retriable = about.retriable ?? false
    this.fatal = about.fatal ?? false
    this.abortable = about.abortable ?? false
    this.hint = about.hint
  }
}

// On the prototype: a name is its class's, not its own.
Object.defineProperty(OttlaError.prototype, 'name', {
  get(this: OttlaError) {
    return this.constructor.name
  },
  configurable: true
})

/** A broker refused, by a code of Kafka's. */
export class KafkaError extends OttlaError {}
