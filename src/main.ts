import { migrations } from './app.ts'
import { type CliDeps, runCli } from './cli/index.ts'
import { ConfigInvalid, databaseUrls, parseConfig } from './config.ts'
import { createLog } from './log.ts'
import { describeConfig } from './main/check-config.ts'
import { examine } from './main/doctor.ts'
import { open } from './main/open.ts'
import { serve } from './main/serve.ts'
import { up } from './main/up.ts'
import { migrate } from './postgres/index.ts'

/** A finished command ends after this time even if a handle was left open by mistake. */
const lingerMs = 5000

const { env, stdin, stdout, stderr } = process

const print = (text: string) => void stdout.write(text)

/** Commands print their own results; their logs are for problems. */
const quietLog = () => createLog(env.VAULTTERM_LOG || 'warn')

const deps: CliDeps = {
  open: (what) => open(what, parseConfig(env), quietLog()),
  up: ({ json }) => {
    const config = parseConfig(env)
    // People at a terminal want the page and no lines of JSON, unless they asked for them.
    const log = json || stderr.isTTY !== true ? createLog(config.logLevel) : quietLog()
    return up({ config, log, json, print })
  },
  serve: ({ json }) => {
    const config = parseConfig(env)
    return serve({ config, log: createLog(config.logLevel), json, print })
  },
  async migrate() {
    const { given } = parseConfig(env)
    if (given.databaseUrl === undefined) {
      throw new ConfigInvalid([
        'DATABASE_URL is missing: the Postgres server, as postgres://… (`up` migrates its own by itself)',
      ])
    }
    const { owner } = databaseUrls(given, given.databaseUrl)
    return migrate({ url: owner, directory: migrations, log: quietLog() })
  },
  checkConfig: (options) => describeConfig(parseConfig(env), options),
  doctor: () => examine(parseConfig(env), quietLog()),
}

process.exitCode = await runCli(process.argv.slice(2), { stdin, stdout, stderr, env }, deps)
setTimeout(() => process.exit(), lingerMs).unref()
