import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseCast } from '../../src/recorder/index.ts'
import { type Event, eventually } from './installation.ts'
import type { VaultTerm } from './vaultterm.ts'

export interface EndedSession {
  readonly id: string
  readonly kind: unknown
  /** `jump`, or nothing. */
  readonly via: unknown
  /** That there is a recording, it plays, and it is what the log says of it. */
  readonly isRecorded: boolean
}

/** What a log says of sessions, as it is written: asking costs a test no command of its own. */
export class SessionLog {
  readonly #vaultterm: VaultTerm
  readonly #begun: Event[] = []
  readonly #ended = new Map<unknown, Event>()
  readonly #stop: () => Promise<void>
  #told = 0

  constructor(vaultterm: VaultTerm, tenant = 'acme') {
    this.#vaultterm = vaultterm
    this.#stop = vaultterm.follow(['audit', 'tail', tenant, '--follow', '--json'], (line) => {
      const event = JSON.parse(line) as Event
      if (event.type === 'session.start') this.#begun.push(event)
      if (event.type === 'session.end') this.#ended.set(event.public.session, event)
    })
  }

  /** Those since the last ones that were told, in the order of their begin, once so many have ended. */
  next(count: number): Promise<readonly EndedSession[]> {
    return this.#tell(`the end of ${count} sessions`, (all) => all.length >= count)
  }

  /** Those since the last ones that were told, however many, once one of this kind has ended: whoever opens it last. */
  through(kind: string): Promise<readonly EndedSession[]> {
    return this.#tell(`the end of a session of kind ${kind}`, (all) =>
      all.some((event) => event.public.kind === kind),
    )
  }

  async #tell(
    what: string,
    isWhole: (begun: readonly Event[]) => boolean,
  ): Promise<readonly EndedSession[]> {
    const begun = await eventually(() => {
      const all = this.#begun.slice(this.#told)
      const isOver = all.every((event) => this.#ended.has(event.public.session))
      return isWhole(all) && isOver ? all : undefined
    }, what)
    this.#told += begun.length
    return begun.map(({ public: { session, kind, via } }) => {
      const id = String(session)
      return { id, kind, via, isRecorded: this.#isRecorded(id) }
    })
  }

  close(): Promise<void> {
    return this.#stop()
  }

  #isRecorded(id: string): boolean {
    const end = this.#ended.get(id)?.public
    // Where nothing was shown there is nothing to record.
    if (end?.recording !== true) return end?.bytes === '0'
    const recordings = join(this.#vaultterm.home, 'recordings')
    const file = readdirSync(recordings, { recursive: true, encoding: 'utf8' }).find((path) =>
      path.endsWith(`${id}.cast`),
    )
    if (file === undefined) return false
    const bytes = readFileSync(join(recordings, file))
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const { events } = parseCast(bytes.toString('utf8'))
    return (
      end.recordingDigest === `sha256:${sha256}` && end.recordingEvents === String(events.length)
    )
  }
}
