/**
 * What goes wrong, as errors.
 *
 * `OttlaError` is the base of all. `KafkaError` is what a broker refused, with a class for each of Kafka's codes; what is local to
 * the client has classes of its own. Each tells `code`, `errno`, whether the same call may succeed later (`retriable`), whether
 * nothing helps before a person acted (`fatal`), whether the transaction must be aborted (`abortable`), and, where it is known, what
 * to do (`hint`).
 */

import { byErrno } from './broker-errors.js'
import { type About, KafkaError, OttlaError } from './error-base.js'

export * from './broker-errors.js'
export { type About, KafkaError, OttlaError }

/** A setting is wrong. */
export class ConfigError extends OttlaError {}

/** An argument is wrong, or the call makes no sense now. */
export class InvalidArgumentError extends OttlaError {}

/** It was not done in its time. */
export class TimeoutError extends OttlaError {}

/** There is no room in `buffer.memory`. */
export class BufferFullError extends OttlaError {}

/** The client was closed. */
export class ClosedError extends OttlaError {}

/** A connection could not be made, or ended before the answer came. */
export class TransportError extends OttlaError {}

/** No secure connection could be made: a certificate is not good, or the two sides have nothing in common. */
export class TlsError extends OttlaError {}

/** The broker does not let this client log in, or not in this way. */
export class AuthenticationError extends OttlaError {}

/** The client was let go before the operation ended. */
export class CancelledError extends OttlaError {}

/** The client was made by a parent of this process. */
export class ForkedClientError extends OttlaError {}

/** The record is larger than `max.request.size`, or than the protocol can carry. */
export class RecordTooLargeError extends OttlaError {}

/** The partition has no position, and `auto.offset.reset` is `none`. */
export class NoOffsetError extends OttlaError {}

/** The partition's log was truncated below the position: what was read there is not in it any more. */
export class LogTruncatedError extends OttlaError {}

/** Offsets were not committed: the partitions are no longer this consumer's. */
export class CommitFailedError extends OttlaError {}

/** No records were asked for within `max.poll.interval.ms`, and the consumer left its group. */
export class MaxPollExceededError extends OttlaError {}

/** The broker does not have the API, or no version that both sides know. */
export class UnsupportedError extends OttlaError {}

/** Bytes that are not what the protocol says, or that a deserializer does not understand. */
export class CorruptError extends OttlaError {}

/** A bug in this library. The client it was met at is of no more use. */
export class InternalError extends OttlaError {}

const local: Record<string, typeof OttlaError> = {
  INVALID_ARG: InvalidArgumentError,
  TIMEOUT: TimeoutError,
  QUEUE_FULL: BufferFullError,
  CLOSED: ClosedError,
  TRANSPORT: TransportError,
  TLS: TlsError,
  AUTHENTICATION: AuthenticationError,
  CANCELLED: CancelledError,
  FORKED: ForkedClientError,
  CONFIG: ConfigError,
  RECORD_TOO_LARGE: RecordTooLargeError,
  NO_OFFSET: NoOffsetError,
  LOG_TRUNCATED: LogTruncatedError,
  COMMIT_FAILED: CommitFailedError,
  MAX_POLL_EXCEEDED: MaxPollExceededError,
  UNSUPPORTED: UnsupportedError,
  CORRUPT: CorruptError,
  PANIC: InternalError
}

const RETRIABLE = 1
const FATAL = 2
const ABORTABLE = 4

/** Called by the native half. */
export function makeError(errno: number, code: string, message: string, flags: number, hint: string | null): OttlaError {
  const kind = errno > 0 ? (byErrno.get(errno) ?? KafkaError) : (local[code] ?? OttlaError)
  return new kind(message, {
    code,
    errno,
    retriable: (flags & RETRIABLE) !== 0,
    fatal: (flags & FATAL) !== 0,
    abortable: (flags & ABORTABLE) !== 0,
    hint: hint ?? undefined
  })
}

// What this half says itself, with the numbers of `core/src/error.table`.

export function closed(): ClosedError {
  return new ClosedError('the client is closed', { code: 'CLOSED', errno: -4 })
}

export function timedOut(message: string): TimeoutError {
  return new TimeoutError(message, { code: 'TIMEOUT', errno: -2, retriable: true })
}

export function invalid(message: string, cause: unknown): InvalidArgumentError {
  return new InvalidArgumentError(message, { code: 'INVALID_ARG', errno: -1, cause })
}

export function corrupt(message: string, cause: unknown): CorruptError {
  return new CorruptError(message, { code: 'CORRUPT', errno: -17, cause })
}
