// Tokens of the program's own, for `sasl.mechanism=OAUTHBEARER`.

import type { GivenToken } from './native.js'

/** A token of OAuth 2 by which a client logs in. A JWT says itself when it ends, and whose it is; of another, this does. */
export interface OAuthBearerToken {
  value: string
  /** When it ends: a date, or milliseconds since 1970. */
  expires?: Date | number | undefined
  /** Whose it is, for logs and errors. */
  principal?: string | undefined
  /** What the broker is told beside it. */
  extensions?: Record<string, string> | undefined
}

/**
 * Gives a token, when a client first connects and before each token ends. It has `sasl.login.read.timeout.ms` for that. What it throws is
 * part of the client's error; with `retriable: true`, or of the network, it is tried again by itself.
 */
export type OAuthBearerProvider = () => OAuthBearerToken | string | Promise<OAuthBearerToken | string>

/** What every client may be given beside Kafka's keys. */
export interface WithTokens {
  /** Gives the tokens of `sasl.mechanism=OAUTHBEARER`, where they do not come of `sasl.oauthbearer.token.endpoint.url`. */
  oauthBearerProvider?: OAuthBearerProvider | undefined
}

/** What a provider gives, as the native half takes it. */
export async function givenBy(provider: OAuthBearerProvider): Promise<GivenToken> {
  const given = await provider()
  const token: OAuthBearerToken = typeof given === 'string' ? { value: given } : given
  if (typeof token?.value !== 'string') throw new TypeError('`oauthBearerProvider` gave no `value`, which is the token')
  return {
    value: token.value,
    endMs: token.expires === undefined ? undefined : Number(token.expires),
    principal: token.principal,
    extensions: Object.entries(token.extensions ?? {})
  }
}

/** An error of a provider in words, and whether it may pass by itself. */
export function described(error: unknown): [why: string, passes: boolean] {
  if (!(error instanceof Error)) return [String(error), false]
  const { retriable, code, cause } = error as Error & { retriable?: unknown; code?: unknown }
  const network = [code, (cause as { code?: unknown } | undefined)?.code].some(
    (code) => typeof code === 'string' && /^(E[A-Z]+|UND_ERR_[A-Z_]+)$/.test(code) && !code.startsWith('ERR_')
  )
  return [error.message === '' ? error.name : error.message, retriable === true || network]
}
