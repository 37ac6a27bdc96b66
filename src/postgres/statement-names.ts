const namesMax = 500
const names = new Map<string, string>()

/**
 * The name under which a connection keeps a statement. The statement is parsed and planned there
 * once, which is most of the server's cost of a short one. Texts are few and fixed; if some are
 * made at run time, texts beyond the first hundreds have no name, and cost the full price.
 */
export function statementName(text: string): string | undefined {
  const known = names.get(text)
  if (known !== undefined || names.size >= namesMax) return known
  const name = `vt${names.size}`
  names.set(text, name)
  return name
}
