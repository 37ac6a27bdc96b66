import type { TurnOwner } from '../../../turns.ts'
import type { FileOperation } from '../../wire/calls.ts'
import { FilesExhausted } from '../../wire/errors.ts'
import { fileMemory, memoryOf } from '../../wire/file-memory.ts'

/** Limits in bytes; those of `fileMemory` unless given. */
export interface FileBudgetLimits {
  readonly userMax: number
  readonly workerMax: number
}

/**
 * How much memory of the main process the files of each user take. A user has a limit over all sessions.
 * A tenant that holds much does not get the last third: it gets some of that only while it holds less than
 * is free. So the users of one tenant leave room for the files of the others.
 */
export class FileBudget {
  readonly #limits: FileBudgetLimits
  /** By tenant, and by tenant and user. Nobody is kept who holds nothing. */
  readonly #tenants = new Map<string, number>()
  readonly #users = new Map<string, number>()
  #held = 0

  constructor(limits: FileBudgetLimits = fileMemory) {
    this.#limits = limits
  }

  /** Bytes of all users. */
  get held(): number {
    return this.#held
  }

  /** Throws FilesExhausted where the owner may not have so many bytes more; then give() is not due. */
  take(owner: TurnOwner, bytes: number): void {
    const { userMax, workerMax } = this.#limits
    const ofUser = (this.#users.get(keyOf(owner)) ?? 0) + bytes
    if (ofUser > userMax) throw new FilesExhausted('your SFTP sessions')
    const free = workerMax - this.#held
    const ofTenant = this.#tenants.get(owner.tenant) ?? 0
    const mayHave = free > workerMax / 3 || ofTenant < free
    if (bytes > free || !mayHave) throw new FilesExhausted('the SFTP sessions on this bastion')
    this.#add(owner, bytes)
  }

  give(owner: TurnOwner, bytes: number): void {
    this.#add(owner, -bytes)
  }

  #add(owner: TurnOwner, bytes: number): void {
    this.#held += bytes
    addTo(this.#users, keyOf(owner), bytes)
    addTo(this.#tenants, owner.tenant, bytes)
  }
}

/** The files and operations of one session, as the main process keeps them: each with its memory. */
export class KeptFiles {
  readonly #budget: FileBudget
  readonly #owner: TurnOwner
  readonly #asked = new Map<number, number>()
  readonly #open = new Map<number, number>()
  #isOver = false

  constructor(budget: FileBudget, owner: TurnOwner) {
    this.#budget = budget
    this.#owner = owner
  }

  /** The main process is to be told of an operation. Throws FilesExhausted where it may not be. */
  asked(operation: FileOperation): void {
    if (this.#isOver) return
    const bytes = memoryOf(operation)
    this.#budget.take(this.#owner, bytes)
    this.#asked.set(operation.number, bytes)
  }

  /** An operation is on the log: the main process keeps the file if that is open from now on. */
  recorded(operation: FileOperation): void {
    if (this.#isOver) return
    const { number, state } = operation
    const bytes = this.#asked.get(number)
    if (state === 'open') {
      // The memory of its request becomes that of the file.
      if (bytes !== undefined) this.#open.set(number, bytes)
      this.#asked.delete(number)
      return
    }
    this.#release(this.#asked, number)
    if (state !== 'running') this.#release(this.#open, number)
  }

  /** The session is over, and the main process has heard of it. */
  end(): void {
    for (const number of [...this.#asked.keys()]) this.#release(this.#asked, number)
    for (const number of [...this.#open.keys()]) this.#release(this.#open, number)
    this.#isOver = true
  }

  #release(kept: Map<number, number>, number: number): void {
    const bytes = kept.get(number)
    if (bytes === undefined) return
    kept.delete(number)
    this.#budget.give(this.#owner, bytes)
  }
}

function keyOf({ tenant, user }: TurnOwner): string {
  return `${tenant}/${user}`
}

function addTo(counts: Map<string, number>, key: string, bytes: number): void {
  const left = (counts.get(key) ?? 0) + bytes
  if (left === 0) counts.delete(key)
  else counts.set(key, left)
}
