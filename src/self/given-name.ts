import { z } from 'zod'

/** A name that people give to a thing of theirs: no control, format or private-use character. */
export const givenName = z.string().regex(/^[^\p{C}]{1,64}$/u)
