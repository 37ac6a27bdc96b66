import type { Readable } from 'node:stream'
import type { Session } from '../access/index.ts'
import { type Audit, LogPace, type LogPaceLimits } from '../audit/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import { Headcount } from '../headcount.ts'
import type { Recorder } from '../recorder/index.ts'
import { TooManyDownloads, TooManyReplays } from './errors.ts'

/** Recordings that one user has sent to them at the same time. */
const downloadsMax = 8
/** Recordings that one user opens: each is an entry of the log. */
const opens: LogPaceLimits = { perSecond: 1, burst: 60 }

/** The recordings that people of this listener are reading. */
export class Downloads {
  readonly #recorder: Pick<Recorder, 'open'>
  readonly #audit: Pick<Audit, 'append'>
  readonly #readers = new Headcount(downloadsMax)
  readonly #pace = new LogPace(opens)

  constructor(recorder: Pick<Recorder, 'open'>, audit: Pick<Audit, 'append'>) {
    this.#recorder = recorder
    this.#audit = audit
  }

  /**
   * The recording of a session, for a person who may read it. The log knows of the reader before the first
   * byte leaves. Throws TooManyDownloads, TooManyReplays, and what the recorder and the log throw.
   */
  async open(person: WebIdentity, session: Session, source: string): Promise<Readable> {
    const recording = await this.#enter(person, session)
    try {
      await this.#audit.append(person.tenant, {
        type: 'recording.open',
        public: {
          session: session.id,
          user: person.user.id,
          via: 'portal',
          actor: person.user.id,
          actorKind: 'user',
        },
        private: { userName: person.user.name, source },
      })
    } catch (err) {
      recording.destroy()
      throw err
    }
    return recording
  }

  /** One more download of the person until the stream is closed. */
  async #enter({ tenant, user }: WebIdentity, session: Session): Promise<Readable> {
    if (!this.#readers.enter(user.id)) throw new TooManyDownloads(downloadsMax)
    try {
      if (!this.#pace.takeNow(user.id, 1)) throw new TooManyReplays()
      const recording = await this.#recorder.open(tenant, session.id, session.recordingBytes)
      recording.once('close', () => this.#readers.leave(user.id))
      return recording
    } catch (err) {
      this.#readers.leave(user.id)
      throw err
    }
  }
}
