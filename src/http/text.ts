import { z } from 'zod'

/** Text of a request that may reach the database: no column and no comparison there takes U+0000. */
export const text = () => z.string().regex(/^[^\0]*$/)
