/**
 * Text from outside, so that it can be stored: cut where it is too long, and with a replacement
 * character for what Postgres cannot hold (U+0000, a lone surrogate).
 */
export function storedText(text: string, lengthMax: number): string {
  return text.slice(0, lengthMax).toWellFormed().replaceAll('\0', '\ufffd')
}
