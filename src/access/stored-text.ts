/** Marks the middle of a text that was left out. */
const gap = '…'

/**
 * Text from outside in a form that a column can hold: a replacement character stands for data that
 * Postgres cannot hold (U+0000, a lone surrogate), and a long text keeps its beginning and its end.
 * The event on the log gets the text as it came.
 */
export function storedText(text: string, lengthMax: number): string {
  const storable = text.toWellFormed().replaceAll('\0', '\ufffd')
  if (storable.length <= lengthMax) return storable
  const tail = Math.floor((lengthMax - gap.length) / 2)
  const head = lengthMax - gap.length - tail
  // A cut may fall into the middle of a character.
  return `${storable.slice(0, head)}${gap}${storable.slice(-tail)}`.toWellFormed()
}
