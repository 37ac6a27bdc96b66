import type { ChildProcess } from 'node:child_process'
import { goneFrom, type StopStep, stopProcess } from './server-process.ts'

/** How one of our servers is started and ended. */
export interface ServerPlan {
  /** What must be so before each start. */
  prepare(): Promise<void>
  spawn(): ChildProcess
  /** Rejects when the process does not serve. */
  ready(child: ChildProcess, exited: Promise<void>): Promise<void>
  readonly stopSteps: readonly StopStep[]
}

/** A server of our own: one process, and after it another one at the same address. */
export class OwnServer {
  readonly #plan: ServerPlan
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(plan: ServerPlan) {
    this.#plan = plan
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Resolves when the process that was started last is gone, asked for or not. */
  get exited(): Promise<void> {
    return this.#exited
  }

  /** When no process of it runs. Rejects, without one, when it does not start; it may be called again then. */
  async start(): Promise<void> {
    const plan = this.#plan
    await plan.prepare()
    if (this.#isStopped) throw new Error('this server was stopped')
    const child = plan.spawn()
    const exited = goneFrom(child)
    this.#child = child
    this.#exited = exited
    try {
      await plan.ready(child, exited)
    } catch (err) {
      await stopProcess(child, exited, plan.stopSteps)
      throw err
    }
  }

  /** For good. A start that is under way rejects. */
  async stop(): Promise<void> {
    this.#isStopped = true
    if (this.#child !== undefined) {
      await stopProcess(this.#child, this.#exited, this.#plan.stopSteps)
    }
  }
}
