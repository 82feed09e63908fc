// What happens to producers that nobody has closed when the program ends: what they have taken is sent.

import { ClosedError, ForkedClientError } from './errors.js'

interface Watched {
  flushUnasked(): Promise<void> | undefined
  flushNow(timeoutMs: number): void
}

/** Longest that the program's end waits for records that were not flushed. */
const FLUSH_AT_EXIT_MS = 5000

const watched = new Set<WeakRef<Watched>>()
const gone = new FinalizationRegistry<WeakRef<Watched>>((reference) => watched.delete(reference))
let isRegistered = false

export function watch(producer: Watched): void {
  const reference = new WeakRef(producer)
  watched.add(reference)
  gone.register(producer, reference)
  if (isRegistered) return
  isRegistered = true
  // Nothing is left to do: records that somebody waits for are done, others may not be.
  process.on('beforeExit', () => {
    for (const reference of watched) reference.deref()?.flushUnasked()?.catch(tell)
  })
  // `process.exit()`, or an error that nobody caught.
  process.on('exit', () => {
    for (const reference of watched) {
      try {
        reference.deref()?.flushNow(FLUSH_AT_EXIT_MS)
      } catch (error) {
        // It was closed in order; or it is a parent's, who flushes it.
        if (!(error instanceof ClosedError || error instanceof ForkedClientError)) tell(error)
      }
    }
  })
}

function tell(error: unknown): void {
  process.emitWarning(`records were not delivered when the program ended: ${String(error)}`, 'OttlaWarning')
}
