import { type Cut, keepBoth } from './stored-text.ts'

const pathMax = 1024

/**
 * A path as people read it: without the parts of it that lead nowhere. `..` stays, for what is in front
 * of it may be a link. Where the text is not the raw bytes, their number and SHA-256 stand beside it.
 */
export function shownPath<Field extends string>(field: Field, raw: Buffer): Cut<Field> {
  return keepBoth(field, raw, pathMax, normalise)
}

/** `//` and `/./` become `/`; a `./` in front and a `/.` at the end go. */
function normalise(path: string): string {
  const parts = path.split('/')
  const last = parts.length - 1
  const kept = parts.filter(
    (part, at) => (part !== '' && part !== '.') || (at === 0 && part === '') || at === last,
  )
  // The end says whether a directory is meant: `a/` is not `a`, and `a/.` is `a/`.
  if (kept.length > 1 && kept.at(-1) === '.') kept[kept.length - 1] = ''
  const text = kept.join('/')
  return text === '' && path !== '' ? (path.startsWith('/') ? '/' : '.') : text
}
