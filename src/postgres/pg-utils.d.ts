declare module 'pg/lib/utils.js' {
  /** The value in wire format. Throws if it has none. */
  export function prepareValue(value: unknown): Buffer | string | null
}
