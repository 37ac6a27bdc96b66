import { createHash } from 'node:crypto'

/** A text to be stored. What was left out of it is told by the size and SHA-256 of the whole. */
export type Cut<Field extends string> = { readonly [F in Field]: string } & {
  readonly [F in `${Field}Bytes` | `${Field}Sha256`]?: string
}

/** Stands in a text where its middle was left out. */
const gap = '…'

/**
 * Text from outside, so that it can be stored: with a replacement character for what Postgres cannot
 * hold (U+0000, a lone surrogate), and with its beginning and its end where it is too long.
 */
export function storedText(text: string, lengthMax: number): string {
  const storable = text.toWellFormed().replaceAll('\0', '\ufffd')
  if (storable.length <= lengthMax) return storable
  const tail = Math.floor((lengthMax - gap.length) / 2)
  const head = lengthMax - gap.length - tail
  // A cut may fall into the middle of a character.
  return `${storable.slice(0, head)}${gap}${storable.slice(-tail)}`.toWellFormed()
}

/**
 * The same, under the name of its field. Where the stored text is not exactly what came, the number of
 * its bytes and their SHA-256, in hex, stand in `<field>Bytes` and `<field>Sha256`.
 */
export function keepBoth<Field extends string>(
  field: Field,
  whole: string | Buffer,
  lengthMax: number,
  show: (text: string) => string = (text) => text,
): Cut<Field> {
  const bytes = typeof whole === 'string' ? Buffer.from(whole, 'utf8') : whole
  const text = storedText(show(bytes.toString('utf8')), lengthMax)
  const isWhole = Buffer.from(text, 'utf8').equals(bytes)
  const digest = isWhole
    ? {}
    : {
        [`${field}Bytes`]: String(bytes.length),
        [`${field}Sha256`]: createHash('sha256').update(bytes).digest('hex'),
      }
  return { [field]: text, ...digest } as Cut<Field>
}
