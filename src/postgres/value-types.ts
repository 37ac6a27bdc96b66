import pg from 'pg'

/** How values of the server's become ours. */
export const types: pg.CustomTypesConfig = { getTypeParser: typeParser }

function typeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  if (oid === pg.types.builtins.INT8 && format !== 'binary') return parseBigint
  if (oid === pg.types.builtins.TIMESTAMPTZ && format !== 'binary') return parseTime
  return pg.types.getTypeParser(oid, format)
}

const parseServersTime: (text: string) => unknown = pg.types.getTypeParser(
  pg.types.builtins.TIMESTAMPTZ,
)
/** What a Date holds at most, before and after 1970. */
const timeMsMax = 8.64e15

/**
 * A time is a date here, whatever it is: infinity, or a year that no date has, is the first or the last one.
 * One row of one tenant with such a time must not make a list of all tenants fail.
 */
function parseTime(text: string): Date {
  const at = parseServersTime(text)
  if (at instanceof Date && !Number.isNaN(at.getTime())) return at
  return new Date(text.startsWith('-') || text.endsWith(' BC') ? -timeMsMax : timeMsMax)
}

/** A bigint is a number here, and one that a number cannot hold is a fault, never a rounding. */
function parseBigint(text: string): number {
  const n = Number(text)
  if (!Number.isSafeInteger(n)) throw new RangeError(`bigint out of range: ${text}`)
  return n
}
