import { closeSync, openSync, writeSync } from 'node:fs'

/** What a fuzzer was told: one JSON object in VAULTTERM_FUZZ_JOB. */
export interface Job {
  readonly seed: number
  readonly seconds: number
  /** Where the bastion listens. */
  readonly port: number
  /** Somebody who is let in, in PEM. */
  readonly key: string
  /** The user name that opens a target which answers. */
  readonly user: string
  /** One line a case, from before it starts: the last ones are what did it. */
  readonly trace: string
}

/** What a fuzzer says at its end, as its last line. */
export interface Tally {
  readonly cases: number
  readonly boundaryCases: number
  readonly boundaryCasesInAll: number
  readonly messages: number
  /** What no peer should ever see. */
  readonly violations: readonly string[]
}

export function readJob(): Job {
  return JSON.parse(process.env.VAULTTERM_FUZZ_JOB ?? '')
}

/** Writes each case down before it starts, so that it is there whatever comes of it. */
export function openTrace(path: string): {
  note(index: number, name: string): void
  close(): void
} {
  const file = openSync(path, 'a')
  return {
    note: (index, name) => writeSync(file, `${index} ${name}\n`),
    close: () => closeSync(file),
  }
}
