import { type CliDeps, runCli } from './cli/index.ts'
import { ConfigInvalid, databaseUrls, parseConfig, unknownSettings } from './config.ts'
import { createLog, type Log } from './log.ts'

/** A finished command ends after this time even if a handle was left open by mistake. */
const lingerMs = 5000

const { env, stdin, stdout, stderr } = process

const print = (text: string) => void stdout.write(text)

/** Programs read the log, or one line of JSON: only a person at a terminal is told more. */
const tellOf = (json: boolean) => (line: string) => {
  if (json || stderr.isTTY !== true) return
  // The terminal may be gone.
  stderr.on('error', () => {})
  stderr.write(`${line}\n`)
}

/** Commands print their own results; their logs are for problems. */
const quietLog = () => createLog(env.VAULTTERM_LOG || 'warn')

function warnOfUnknown(log: Log): void {
  for (const { name, meant } of unknownSettings(env)) {
    log.warn({ setting: name, meant }, 'this is no setting, and has no effect')
  }
}

// Each command loads only its own part of the program: loading takes most of a short command's time.
const deps: CliDeps = {
  async open(what) {
    const { open } = await import('./main/open.ts')
    return open(what, parseConfig(env), quietLog())
  },
  async up({ json }) {
    const { up } = await import('./main/up.ts')
    const config = parseConfig(env)
    // People at a terminal want the page and no lines of JSON, unless they asked for them.
    const log = json || stderr.isTTY !== true ? createLog(config.logLevel) : quietLog()
    warnOfUnknown(log)
    return up({ config, log, json, print, tell: tellOf(json) })
  },
  async serve({ json }) {
    const { serve } = await import('./main/serve.ts')
    const config = parseConfig(env)
    const log = createLog(config.logLevel)
    warnOfUnknown(log)
    return serve({ config, log, json, print, tell: tellOf(json) })
  },
  async migrate() {
    const { migrations } = await import('./product.ts')
    const { migrate } = await import('./postgres/index.ts')
    const { given } = parseConfig(env)
    if (given.databaseUrl === undefined) {
      throw new ConfigInvalid([
        'DATABASE_URL is missing: the Postgres server, as postgres://… (`up` migrates its own by itself)',
      ])
    }
    const { owner } = databaseUrls(given, given.databaseUrl)
    return migrate({ url: owner, directory: migrations, log: quietLog() })
  },
  async checkConfig(options) {
    const { describeConfig } = await import('./main/check-config.ts')
    return describeConfig(parseConfig(env, { strict: true }), options)
  },
  async doctor() {
    const { examine } = await import('./main/doctor.ts')
    return examine(parseConfig(env), quietLog())
  },
}

process.exitCode = await runCli(process.argv.slice(2), { stdin, stdout, stderr, env }, deps)
setTimeout(() => process.exit(), lingerMs).unref()
