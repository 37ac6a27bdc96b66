/** An environment variable that looks like a setting and is none. */
export interface UnknownSetting {
  readonly name: string
  /** The setting with the most similar name, if one is similar. */
  readonly meant: string | undefined
}

const prefix = 'VAULTTERM_'
/** Kubernetes gives these to every container beside a service that is called `vaultterm`. */
const serviceLinks = /_(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_\d+_(?:TCP|UDP)(?:_[A-Z]+)?)?)$/
const distanceMax = 3

/** The variables of an environment with our prefix that are no settings. An empty one counts as not set. */
export function findUnknownSettings(
  env: NodeJS.ProcessEnv,
  known: readonly string[],
): readonly UnknownSetting[] {
  return Object.entries(env)
    .filter(([name, value]) => name.startsWith(prefix) && value !== '' && !known.includes(name))
    .filter(([name]) => !serviceLinks.test(name))
    .map(([name]) => ({ name, meant: mostSimilar(name, known) }))
}

export function describeUnknown({ name, meant }: UnknownSetting): string {
  return `${name} is no setting${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

function mostSimilar(name: string, known: readonly string[]): string | undefined {
  const [best] = known
    .map((other) => ({ other, distance: distanceOf(name.slice(0, 64), other) }))
    .filter(({ distance }) => distance <= distanceMax)
    .toSorted((a, b) => a.distance - b.distance)
  return best?.other
}

/** How many characters must be put in, taken out or exchanged to make one text from the other. */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (const [at, character] of [...a].entries()) {
    const next = [at + 1]
    for (let to = 1; to <= b.length; to++) {
      const exchanged = (row[to - 1] ?? 0) + (b[to - 1] === character ? 0 : 1)
      next.push(Math.min((next[to - 1] ?? 0) + 1, (row[to] ?? 0) + 1, exchanged))
    }
    row = next
  }
  return row[b.length] ?? 0
}
