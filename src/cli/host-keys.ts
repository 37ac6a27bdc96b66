import type { HostKey } from '../access/index.ts'
import { matchesHost, parseHostKeyLines, scanHostKeys } from '../ssh/index.ts'
import type { Context } from './context.ts'
import { FileUnusable, WrongUsage } from './errors.ts'
import { readText } from './input.ts'
import { withProgress } from './progress.ts'

/** The options that say where the host keys of a target come from. */
export interface HostKeyOptions {
  readonly hostKey?: string
  readonly scan?: boolean
}

/** A file, `-` for stdin, or the host itself. */
export type HostKeySource = { readonly file: string } | 'scan'

const scanMs = 10_000

/** Printed after a scan: the answer is not proved. */
export const compareHostKeys =
  'Compare these with the keys that the host itself prints: ssh-keygen -lf /etc/ssh/ssh_host_….pub'

/** undefined where neither option was given. Throws WrongUsage for both. */
export function keySourceOf({ hostKey, scan }: HostKeyOptions): HostKeySource | undefined {
  if (hostKey !== undefined && scan === true) {
    throw new WrongUsage('give one of --host-key FILE and --scan')
  }
  if (hostKey !== undefined) return { file: hostKey }
  return scan === true ? 'scan' : undefined
}

/** Throws WrongUsage for both options, and for neither. */
export function requireKeySource(options: HostKeyOptions): HostKeySource {
  const source = keySourceOf(options)
  if (source === undefined) throw new WrongUsage('give one of --host-key FILE and --scan')
  return source
}

/** Reads the host keys of an address. Throws FileUnusable if a file names none for it. */
export async function readHostKeys(
  { terminal }: Context,
  { host, port }: { readonly host: string; readonly port: number },
  source: HostKeySource,
): Promise<readonly HostKey[]> {
  if (source === 'scan') {
    return withProgress(terminal, `asking ${host} for its keys`, () =>
      scanHostKeys(host, port, scanMs),
    )
  }
  const { file } = source
  const { keys, problems } = parseHostKeyLines(await readText(file, terminal))
  const [problem] = problems
  if (problem !== undefined) throw new FileUnusable(`${file}: ${problem}`)
  const matching = keys.filter((line) => matchesHost(line, host, port))
  if (matching.length > 0) return matching.map(({ key }) => key)
  throw new FileUnusable(`${file} names no host key of ${host} port ${port}`)
}
