declare module 'pg/lib/utils.js' {
  /** As the wire has it. Throws for what has no such form. */
  export function prepareValue(value: unknown): Buffer | string | null
}
