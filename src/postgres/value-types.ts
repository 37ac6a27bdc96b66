import pg from 'pg'

/** How values of the server's become ours. */
export const types: pg.CustomTypesConfig = { getTypeParser: typeParser }

function typeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  if (oid === pg.types.builtins.INT8 && format !== 'binary') return parseBigint
  return pg.types.getTypeParser(oid, format)
}

/** A bigint is a number here, and one that a number cannot hold is a fault, never a rounding. */
function parseBigint(text: string): number {
  const n = Number(text)
  if (!Number.isSafeInteger(n)) throw new RangeError(`bigint out of range: ${text}`)
  return n
}
