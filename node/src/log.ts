// The library's log, handed to a function or a logger of the program.

import { eventLoop } from './event-loop.js'

/** How much is worth a line. */
export type LogLevel = 'off' | 'error' | 'warn' | 'info' | 'debug' | 'trace'

/** What the program's loggers have in common: `console`, pino, winston. */
export interface Logger {
  error(text: string): void
  warn(text: string): void
  info(text: string): void
  debug(text: string): void
  trace?(text: string): void
}

const LEVELS: readonly LogLevel[] = ['off', 'error', 'warn', 'info', 'debug', 'trace']

/**
 * Has each line of the library's log, up to a level, handed to a logger or a function. There is one log for the process: the last
 * that was set has it. By default nothing is logged.
 */
export function setLog(
  level: LogLevel,
  logger: Logger | ((level: LogLevel, part: string, text: string) => void) = console
): void {
  const loop = eventLoop()
  const number = LEVELS.indexOf(level)
  if (number < 0) throw new TypeError(`\`${level}\` is not a level of the log; there are ${LEVELS.join(', ')}`)
  loop.line = (number, part, text) => {
    const of = LEVELS[number] ?? 'trace'
    if (typeof logger === 'function') logger(of, part, text)
    else if (of === 'trace') (logger.trace ?? logger.debug).call(logger, `${part}: ${text}`)
    else if (of !== 'off') logger[of](`${part}: ${text}`)
  }
  loop.native.setLogLevel(number)
}
