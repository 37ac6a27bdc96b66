import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'

/** Counts the processor time of everything that this process and its children do. */
export interface CpuMeter {
  /** What is counted, for the reader of the figures. */
  readonly scope: string
  /** Seconds so far. */
  read(): number
  close(): void
}

const root = '/sys/fs/cgroup'

/**
 * A control group of our own where we may make one: it counts kernel time and children that have
 * ended, and nobody else's work. Otherwise the whole machine, which then should do nothing else.
 */
export function openCpuMeter(): CpuMeter {
  const name = `vaultterm-bench-${process.pid}`
  const unified = existsSync(`${root}/cgroup.controllers`)
  const directory = unified ? `${root}/${name}` : `${root}/cpuacct/${name}`
  try {
    mkdirSync(directory)
    writeFileSync(`${directory}/cgroup.procs`, String(process.pid))
    const read = unified
      ? () =>
          Number(/^usage_usec (\d+)$/m.exec(readFileSync(`${directory}/cpu.stat`, 'utf8'))?.[1]) /
          1e6
      : () => Number(readFileSync(`${directory}/cpuacct.usage`, 'utf8')) / 1e9
    read()
    return { scope: 'a control group of the benchmark alone', read, close: () => leave(directory) }
  } catch {
    return { scope: 'the whole machine', read: readMachine, close: () => {} }
  }
}

function leave(directory: string): void {
  try {
    writeFileSync(`${directory}/../cgroup.procs`, String(process.pid))
    rmdirSync(directory)
  } catch {
    // Something is still in it; an empty group does no harm.
  }
}

function readMachine(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] =
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.split(/\s+/).map(Number) ?? []
  return (user + nice + system + irq + softirq) / 100
}
