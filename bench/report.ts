import type { Certificates } from './certificates.ts'
import type { Idle } from './idle.ts'
import type { Keystrokes } from './keystrokes.ts'
import { type LinkTransfer, linkRate } from './link.ts'
import type { Logins } from './logins.ts'
import type { PostQuantum } from './post-quantum.ts'
import type { Stall } from './stall.ts'
import type { Throughput } from './throughput.ts'

export interface Report {
  readonly cpuScope: string
  readonly node: string
  readonly throughput?: readonly Throughput[]
  readonly logins?: readonly Logins[]
  readonly postQuantum?: readonly PostQuantum[]
  readonly keystrokes?: readonly Keystrokes[]
  readonly idle?: readonly Idle[]
  readonly stall?: Stall
  readonly link?: readonly LinkTransfer[]
  readonly certificates?: Certificates
}

/** The figures as a table, and as ratios of what VaultTerm adds to what the double hop adds. */
export function formatReport(report: Report): string {
  const lines = [`processor time: of ${report.cpuScope}; Node ${report.node}`, '']
  const row = (...cells: readonly string[]) =>
    lines.push(cells.map((cell, at) => (at === 0 ? cell.padEnd(46) : cell.padStart(12))).join(''))
  row('', 'direct', 'double-hop', 'vaultterm', 'ratio')
  const three = <Row extends { way: string }>(
    title: string,
    rows: readonly Row[],
    value: (row: Row) => number,
    ratio: (direct: number, hop: number, ours: number) => number,
  ) => {
    const of = (way: string) => {
      const found = rows.find((one) => one.way === way)
      return found === undefined ? Number.NaN : value(found)
    }
    const [direct, hop, ours] = [of('direct'), of('double-hop'), of('vaultterm')]
    row(title, ...[direct, hop, ours, ratio(direct, hop, ours)].map(figure))
  }
  const added = (direct: number, hop: number, ours: number) => (ours - direct) / (hop - direct)
  const plain = (_direct: number, hop: number, ours: number) => ours / hop
  const {
    throughput = [],
    logins = [],
    postQuantum = [],
    keystrokes = [],
    idle = [],
    stall,
    link = [],
    certificates,
  } = report
  const groups = Map.groupBy(
    throughput,
    ({ cipher, carrier, direction }) => `${cipher.split('@')[0]} ${carrier} ${direction}`,
  )
  for (const [name, rows] of groups) {
    three(`${name}: CPU s/GiB (ratio of added)`, rows, (one) => one.cpuSecondsPerGiB, added)
    three(`${name}: wall s/GiB`, rows, (one) => one.wallSecondsPerGiB, plain)
  }
  if (logins.length > 0) {
    three('logins a second', logins, (one) => one.perSecond, plain)
    three('CPU ms a login (ratio of added)', logins, (one) => one.cpuMsEach, added)
  }
  if (postQuantum.length > 0) {
    for (const ours of postQuantum.filter(({ way }) => way === 'vaultterm')) {
      const rows = [...postQuantum.filter(({ way }) => way !== 'vaultterm'), ours]
      three(`post-quantum logins a second, by ${ours.by}`, rows, (one) => one.perSecond, plain)
      row('  CPU ms each, our processes', '-', '-', figure(ours.cpuMsEach ?? Number.NaN), '-')
      row('  CPU ms each, Postgres', '-', '-', figure(ours.databaseMsEach ?? Number.NaN), '-')
    }
  }
  for (const besideFlood of [false, true]) {
    const rows = keystrokes.filter((one) => one.besideFlood === besideFlood)
    if (rows.length === 0) continue
    const where = besideFlood ? ' beside a flood' : ''
    three(`keystroke p50 ms${where}`, rows, (one) => one.p50Ms, plain)
    three(`keystroke p99 ms${where}`, rows, (one) => one.p99Ms, plain)
  }
  for (const [sessions, rows] of Map.groupBy(idle, (one) => one.sessions)) {
    three(`idle session MiB, of ${sessions}`, rows, (one) => one.mibEach, plain)
    three('  largest process with them, MiB', rows, (one) => one.largestMib, plain)
  }
  for (const [direction, rows] of Map.groupBy(link, (one) => one.direction)) {
    const speed = (one: LinkTransfer) => one.mibPerSecond
    const ofDirect = (direct: number, _hop: number, ours: number) => ours / direct
    three(`scp ${direction}, ${linkRate} (of direct), MiB/s`, rows, speed, ofDirect)
  }
  if (stall !== undefined) row('stalled client MiB', '-', '-', figure(stall.mibEach), '-')
  if (certificates !== undefined) {
    row('certificate issue ms, one after the other', '-', '-', figure(certificates.inARowMs), '-')
    row('  in a lone login', '-', '-', figure(certificates.inLoginMs), '-')
    row('  of it the disk', '-', '-', figure(certificates.syncMs), '-')
  }
  return `${lines.join('\n')}\n`
}

function figure(value: number): string {
  if (Number.isNaN(value)) return '-'
  return value >= 100 ? value.toFixed(0) : value.toFixed(2)
}
