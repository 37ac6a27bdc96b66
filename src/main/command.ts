import { type CliDeps, runCli, type Terminal } from '../cli/index.ts'
import { ConfigInvalid, databaseUrls, parseConfig, unknownSettings } from '../config.ts'
import { createLog, type Log } from '../log.ts'

/**
 * Runs one command line in this process, with the settings of `terminal.env`. Resolves with the exit
 * status. Its log goes to the file descriptor 2, or to `logTo`.
 */
export function runCommand(
  argv: readonly string[],
  terminal: Terminal,
  logTo?: { write(line: string): void },
): Promise<number> {
  return runCli(argv, terminal, commandDeps(terminal, logTo))
}

/** Each command loads only its own part of the program: loading takes most of a short command's time. */
function commandDeps(
  { env, stdout, stderr }: Terminal,
  logTo: { write(line: string): void } | undefined,
): CliDeps {
  /** Commands print their own results; their logs are for problems. */
  const quietLog = () => createLog(env.VAULTTERM_LOG || 'warn', logTo)
  const print = (text: string) => void stdout.write(text)
  /** Programs read the log, or one line of JSON: only a person at a terminal is told more. */
  const tellOf = (json: boolean) => (line: string) => {
    if (json || stderr.isTTY !== true) return
    // The terminal may be gone.
    stderr.on('error', () => {})
    stderr.write(`${line}\n`)
  }
  const warnOfUnknown = (log: Log) => {
    for (const { name, meant } of unknownSettings(env)) {
      log.warn({ setting: name, meant }, 'this is no setting, and has no effect')
    }
  }
  return {
    async open(what) {
      const { open } = await import('./open.ts')
      return open(what, parseConfig(env), quietLog())
    },
    async up({ json }) {
      const { up } = await import('./up.ts')
      const config = parseConfig(env)
      // People at a terminal want the page and no lines of JSON, unless they asked for them.
      const log = json || stderr.isTTY !== true ? createLog(config.logLevel, logTo) : quietLog()
      warnOfUnknown(log)
      return up({ config, log, json, print, tell: tellOf(json) })
    },
    async serve({ json }) {
      const { serve } = await import('./serve.ts')
      const config = parseConfig(env)
      const log = createLog(config.logLevel, logTo)
      warnOfUnknown(log)
      return serve({ config, log, json, print, tell: tellOf(json) })
    },
    async migrate() {
      const { migrations } = await import('../product.ts')
      const { migrate } = await import('../postgres/index.ts')
      const { queueTables } = await import('../jobs/index.ts')
      const { given } = parseConfig(env)
      if (given.databaseUrl === undefined) {
        throw new ConfigInvalid([
          'DATABASE_URL is missing: the Postgres server, as postgres://… (`up` migrates its own by itself)',
        ])
      }
      const { owner } = databaseUrls(given, given.databaseUrl)
      return migrate({
        url: owner,
        directory: migrations,
        sources: [queueTables],
        log: quietLog(),
      })
    },
    async checkConfig(options) {
      const { describeConfig } = await import('./check-config.ts')
      return describeConfig(parseConfig(env, { strict: true }), options)
    },
    async doctor() {
      const { examine } = await import('./doctor.ts')
      return examine(parseConfig(env), quietLog())
    },
  }
}
