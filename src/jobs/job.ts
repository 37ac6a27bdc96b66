import type { z } from 'zod'
import type { TenantId, WriteTx } from '../postgres/index.ts'
import type { Lane } from './lanes.ts'

/**
 * A kind of work that can be put off. Its jobs outlive the program that added them, so a kind stays for ever,
 * and its input changes only by optional fields.
 *
 * A job may run twice: it looks at a remote step before it repeats it. Who can write to the database can add a
 * job, so its input proves nothing.
 */
export interface Job<Input extends z.ZodType = z.ZodType> {
  /** `module.act`, as in the labels of metrics. */
  readonly kind: string
  readonly lane: Lane
  /** Ids only: jobs are in every backup. */
  readonly input: Input
  /** Of the jobs of one tenant with one key, one waits and one runs, at most. Without a key there is no such bound. */
  key?(input: z.output<Input>): string
  /** Ends by `turn.finish()`. What it throws is kept as a code, and tried again. */
  run(input: z.output<Input>, turn: Turn): Promise<void>
}

/** One try of one job. */
export interface Turn {
  readonly tenant: TenantId
  readonly job: string
  /** Aborted when the claim is lost, the job is cancelled or the node stops; and when all is over. */
  readonly signal: AbortSignal
  /**
   * The last transaction, which is the tenant's: its effects and the end of the job are committed together, or
   * not at all. Throws JobLost when another try has taken its place.
   */
  finish(work: (tx: WriteTx) => Promise<void>): Promise<void>
  /** Tells people how far it is, in a transaction of its own. */
  report(progress: Progress): Promise<void>
}

export interface Progress {
  readonly done: number
  readonly total?: number
  /** A few words, at most 200 characters; no name of anybody. */
  readonly note?: string
}

/** Work that comes back by itself. Not more often than once a minute. */
export interface Schedule {
  /** As the table of schedules has it: lower-case letters, `-` and `.`. */
  readonly name: string
  readonly everySeconds: number
  /** Added with the input `{}`: for each tenant and the platform, or for the platform alone. */
  readonly job: Job
  readonly for: 'each-tenant' | 'platform'
  /** The jobs of the tenants begin at random within this time. */
  readonly spreadSeconds?: number
}

/** Keeps the types of input and run together. */
export function job<Input extends z.ZodType>(kind: Job<Input>): Job<Input> {
  return kind
}
