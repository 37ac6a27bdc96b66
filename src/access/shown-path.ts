import type { ShownText } from '../audit/index.ts'

/**
 * A readable path: without parts that have no effect. `..` stays, because the part before it may be
 * a link.
 */
export function shownPath(raw: Buffer): ShownText {
  return { shown: normalise(raw.toString('utf8')), whole: raw }
}

/** `//` and `/./` become `/`; a `./` in front and a `.` at the end go. */
function normalise(path: string): string {
  const parts = path.split('/')
  const last = parts.length - 1
  const kept = parts.filter((part, at) =>
    // The empty part at either end is the slash there: `a/` may mean another file than `a`.
    part === '' ? at === 0 || at === last : part !== '.' || at === last,
  )
  if (kept.at(-1) === '.') kept[kept.length - 1] = ''
  const text = kept.join('/')
  return text === '' && path !== '' ? '.' : text
}
