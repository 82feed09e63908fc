// Waiting that can be given up.

import type { EventLoop } from './event-loop.js'
import type { Token } from './native.js'

/** As `EventLoop.run`; a signal ends the wait with its reason, and what was begun goes on. */
export function within<T>(loop: EventLoop, begin: (token: Token) => void, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return loop.run<T>(begin)
  return new Promise<T>((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const aborted = (): void => {
      loop.forget(token)
      reject(signal.reason as Error)
    }
    const token = loop.begin(begin, {
      resolve: (value) => {
        signal.removeEventListener('abort', aborted)
        resolve(value as T)
      },
      reject: (error) => {
        signal.removeEventListener('abort', aborted)
        reject(error as Error)
      }
    })
    signal.addEventListener('abort', aborted, { once: true })
  })
}
