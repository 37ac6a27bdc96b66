import { z } from 'zod'
import { text } from './text.ts'

const limitDefault = 50
const limitMax = 200

/**
 * The query fields of a list: how many at most, and where the page before ended. `parse` reads the sort key
 * in a cursor; undefined if it is none.
 */
export function pagingBy<Key>(parse: (text: string) => Key | undefined) {
  return {
    limit: z
      .string()
      .regex(/^\d{1,3}$/)
      .transform(Number)
      .refine((limit) => limit >= 1 && limit <= limitMax, { error: `is not from 1 to ${limitMax}` })
      .default(limitDefault)
      .meta({ description: `How many at most: 1 to ${limitMax}, ${limitDefault} if not given` }),
    cursor: z
      .string()
      .regex(/^[\w-]{1,512}$/)
      .transform((cursor, context) => {
        const read = text().safeParse(Buffer.from(cursor, 'base64url').toString())
        const key = read.success ? parse(read.data) : undefined
        if (key !== undefined) return key
        context.addIssue({ code: 'custom', message: 'is not the `next` of a page of this list' })
        return z.NEVER
      })
      .optional()
      .meta({ description: 'The `next` of the page before' }),
  }
}

/** One page of a list. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({
    items: z.array(item),
    next: z
      .string()
      .nullable()
      .meta({ description: 'The cursor of the next page; null at the end' }),
  })
}

/**
 * A page of rows that were read in their order, one more than the limit so that the end is known. The
 * cursor holds the sort key of the last row that is shown.
 */
export function cutPage<Row>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => string,
): { items: Row[]; next: string | null } {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  const isEnd = rows.length <= limit || last === undefined
  return { items, next: isEnd ? null : cursorOf(keyOf(last)) }
}

/** The opaque form of a sort key. */
export function cursorOf(key: string): string {
  return Buffer.from(key).toString('base64url')
}
