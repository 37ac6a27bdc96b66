/** The fields of an event on one line. A value that could pass for more than one field is quoted. */
export function fieldsOf(values: { readonly [key: string]: unknown }): string {
  return Object.entries(values)
    .map(([key, value]) => `${wordOf(key)}=${wordOf(value)}`)
    .join(' ')
}

/** As in JSON, where it is not one plain word. */
export function wordOf(value: unknown): string {
  return typeof value === 'string' && /^[^\s="'`\\]+$/.test(value) ? value : JSON.stringify(value)
}
