import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { type Role, roles, runCampaign } from './campaign.ts'
import { startVaultTerm } from './subject.ts'

const help = `usage: npm run fuzz -- [--minutes N] [--seed N] [--only ROLE]

Fuzzes a bastion that it starts for itself: strangers at its port and people whom it lets in
(stranger), and a target that it dials (target). A watchdog outside the process logs in every second
and fails on a login of more than 5 s, on the end of the process, on errors in its log, on memory that
grows on in the second half of the time, and on connections that are left.

  --minutes N   how long: 10 unless told otherwise
  --seed N      this seed only; the same as VAULTTERM_FUZZ_SEED=N
  --only ROLE   stranger or target
  --help        this

Seeds are printed, and the cases before a finding with it. The first round has seed 1.
`

const { minutes, seed, only } = readArguments()
// Two rounds at least: growth is counted in the second half.
const roundSeconds = Math.min(30, minutes * 30)
const count = Math.round((minutes * 60) / roundSeconds)
const rounds = Array.from({ length: count }, (_, round) => ({
  seed: seed ?? (round === 0 ? 1 : randomInt(2 ** 31)),
  seconds: roundSeconds,
}))
const subject = await startVaultTerm()
try {
  const { findings, cases } = await runCampaign({
    subject,
    rounds,
    roles: only,
    say: (text) => process.stdout.write(`${text}\n`),
  })
  process.stdout.write(
    findings.length === 0 ? `${cases} cases, nothing found\n` : `FOUND\n${findings.join('\n')}\n`,
  )
  process.exitCode = findings.length === 0 ? 0 : 1
} finally {
  await subject.close()
}

function readArguments(): { minutes: number; seed: number | undefined; only: readonly Role[] } {
  const fail = (problem: string): never => {
    process.stderr.write(`fuzz: ${problem}\n\n${help}`)
    process.exit(2)
  }
  let values: { minutes?: string; seed?: string; only?: string; help?: boolean }
  try {
    values = parseArgs({
      options: {
        minutes: { type: 'string' },
        seed: { type: 'string' },
        only: { type: 'string' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (err) {
    return fail(err instanceof Error ? err.message : String(err))
  }
  if (values.help) {
    process.stdout.write(help)
    process.exit(0)
  }
  const minutes = Number(values.minutes ?? 10)
  if (!(minutes > 0)) fail('--minutes is a number above 0')
  const given = values.seed ?? process.env.VAULTTERM_FUZZ_SEED
  if (given !== undefined && !/^\d+$/.test(given)) fail('a seed is a whole number')
  const only = roles.filter((role) => values.only === undefined || role === values.only)
  if (only.length === 0) fail(`--only is one of ${roles.join(', ')}`)
  return { minutes, seed: given === undefined ? undefined : Number(given), only }
}
