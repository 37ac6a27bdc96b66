import { parseArgs } from 'node:util'
import { openArena } from './arena.ts'
import { openCpuMeter } from './cpu-meter.ts'
import { measureIdle } from './idle.ts'
import { measureKeystrokes } from './keystrokes.ts'
import { measureLogins } from './logins.ts'
import { formatReport, type Report } from './report.ts'
import { measureStall } from './stall.ts'
import { measureThroughput } from './throughput.ts'

const help = `usage: npm run bench -- [--json] [--quick] [--only NAMES]

Measures a bastion by what it adds: the same work straight to a server, through OpenSSH as a bastion
(sshd with ForceCommand ssh), and through VaultTerm, side by side in one run.

  --json         one JSON document on stdout
  --quick        small sizes, to see that it runs: the figures mean nothing
  --only NAMES   of throughput,logins,keystrokes,idle,stall
`

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
    only: { type: 'string', default: 'throughput,logins,keystrokes,idle,stall' },
  },
})
if (values.help) {
  process.stdout.write(help)
  process.exit(0)
}
const only = values.only.split(',')
const { quick } = values
const say = (text: string) => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`)
}

const cpu = openCpuMeter()
const arena = await openArena()
try {
  const report: Report = {
    cpuScope: cpu.scope,
    node: process.version,
    ...(only.includes('throughput') && {
      throughput: await measureThroughput(arena, cpu, {
        bytes: quick ? 2 ** 24 : 2 ** 29,
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
    ...(only.includes('keystrokes') && {
      keystrokes: await measureKeystrokes(arena, { count: quick ? 20 : 1000, say }),
    }),
    ...(only.includes('idle') && {
      idle: await measureIdle(arena, { sessions: quick ? 5 : 200, say }),
    }),
    ...(only.includes('stall') && { stall: await measureStall(arena, { say }) }),
  }
  say('')
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report))
} finally {
  await arena.close()
  cpu.close()
}
