import { parseArgs } from 'node:util'
import { type Arena, openArena } from './arena.ts'
import { measureCertificates } from './certificates.ts'
import { openCpuMeter } from './cpu-meter.ts'
import { measureIdle } from './idle.ts'
import { measureKeystrokes } from './keystrokes.ts'
import { canLink, measureLink } from './link.ts'
import { measureLogins } from './logins.ts'
import { measurePostQuantum } from './post-quantum.ts'
import { formatReport, type Report } from './report.ts'
import { canStall, measureStall } from './stall.ts'
import { measureThroughput } from './throughput.ts'

const measurements = [
  'throughput',
  'logins',
  'post-quantum',
  'keystrokes',
  'idle',
  'stall',
  'certificates',
  'link',
] as const

const help = `usage: npm run bench -- [--json] [--quick] [--only NAMES]

Measures a bastion by what it adds: the same work straight to a server, through OpenSSH as a bastion
(sshd with ForceCommand ssh), and through VaultTerm, side by side in one run.

  --json         one JSON document on stdout
  --quick        small sizes, to see that it runs: the figures mean nothing
  --only NAMES   of ${measurements.join(',')}
  --help         this
`

const { json, quick, only } = readArguments()
const say = (text: string) => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`)
}
const stalls = only.includes('stall') && canStall()
if (only.includes('stall') && !stalls)
  process.stderr.write('bench: no plink and puttygen here (putty-tools): stall is left out\n')

const links = only.includes('link') && canLink()
if (only.includes('link') && !links)
  process.stderr.write('bench: no network of its own can be made here: link is left out\n')

const cpu = openCpuMeter()
const arena = await openArena()
try {
  const report: Report = {
    cpuScope: cpu.scope,
    node: process.version,
    ...(only.includes('throughput') && {
      throughput: await measureThroughput(arena, cpu, {
        bytes: quick ? 2 ** 24 : 2 ** 30,
        rounds: quick ? 1 : 5,
        say,
      }),
    }),
    ...(only.includes('logins') && {
      logins: await measureLogins(arena, cpu, {
        count: quick ? 4 : 60,
        rounds: quick ? 1 : 3,
        say,
      }),
    }),
    ...(only.includes('post-quantum') && {
      postQuantum: await measurePostQuantum(arena, {
        count: quick ? 4 : 200,
        rounds: quick ? 1 : 5,
        warmUp: quick ? 4 : 800,
        say,
      }),
    }),
    ...(only.includes('keystrokes') && {
      keystrokes: await measureKeystrokes(arena, { count: quick ? 20 : 1000, say }),
    }),
    ...(only.includes('idle') && {
      idle: [
        ...(await measureIdle(arena, { sessions: quick ? 5 : 200, say })),
        // The double hop has some eight processes for each: of so many there is no room for it.
        ...(await measureIdle(oursOf(arena), { sessions: quick ? 10 : 1000, say })),
      ],
    }),
    ...(only.includes('certificates') && {
      certificates: await measureCertificates(arena, { count: quick ? 3 : 200, say }),
    }),
    ...(links && {
      link: await measureLink({ bytes: quick ? 2 ** 24 : 2 ** 28, rounds: quick ? 1 : 5, say }),
    }),
    ...(stalls && { stall: await measureStall(arena, { say }) }),
  }
  say('')
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report))
} finally {
  await arena.close()
  cpu.close()
}

function oursOf(arena: Arena): Arena {
  return { ...arena, ways: arena.ways.filter(({ name }) => name === 'vaultterm') }
}

/** Ends the process on --help and on what it does not know, before anything was started. */
function readArguments(): { json: boolean; quick: boolean; only: readonly string[] } {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        only: { type: 'string', default: measurements.join(',') },
      },
    })
    if (values.help) {
      process.stdout.write(help)
      process.exit(0)
    }
    const only = values.only.split(',')
    const unknown = only.find((name) => !measurements.some((known) => known === name))
    if (unknown !== undefined) throw new Error(`there is no measurement called '${unknown}'`)
    return { json: values.json, quick: values.quick, only }
  } catch (err) {
    process.stderr.write(`bench: ${err instanceof Error ? err.message : String(err)}\n\n${help}`)
    process.exit(2)
  }
}
