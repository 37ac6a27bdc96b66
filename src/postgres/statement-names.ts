const namesMax = 500
const names = new Map<string, string>()

/**
 * The name under which a connection keeps a statement: it is parsed and planned there once, which is
 * most of what a short one costs the server. Texts are few and fixed; should some be made up as they
 * go, those beyond the first hundreds have no name, and cost what they cost.
 */
export function statementName(text: string): string | undefined {
  const known = names.get(text)
  if (known !== undefined || names.size >= namesMax) return known
  const name = `vt${names.size}`
  names.set(text, name)
  return name
}
