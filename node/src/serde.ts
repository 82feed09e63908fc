/** Serializers and deserializers: any function is one. These are the usual ones. */

/** Text as UTF-8: needs no serializer, and is one for generic code. */
export const string = (text: string): string => text

/** Text of UTF-8. */
export const fromString = (data: Buffer): string => data.toString()

/** JSON without spaces. */
export const json = (value: unknown): string => {
  const text = JSON.stringify(value) as string | undefined
  if (text === undefined) throw new TypeError(`\`${typeof value}\` is nothing that JSON has`)
  return text
}

/** What is in JSON. */
export const fromJson = <T = unknown>(data: Buffer): T => JSON.parse(data.toString()) as T
