import type { CodedError } from '../../../errors.ts'
import type { Recording, SessionId } from '../../../recorder/index.ts'
import type { Authorization } from '../../wire/calls.ts'
import type { Exit, RelayBytes } from '../relay.ts'
import { KeptFiles } from '../sftp/file-budget.ts'
import { FileWatch } from '../sftp/file-watch.ts'
import type { Pty } from './pty.ts'
import type { SessionContext } from './session-context.ts'
import type { TargetStart } from './target-start.ts'

type Started = Pick<TargetStart, 'kind' | 'command'>

/** The record of one session: its start, its output, and its end. */
export class SessionRecord {
  readonly session: SessionId
  readonly authorization: Authorization
  /** The end of the program on the target, once the target has sent it. */
  exit: Exit = {}
  readonly #context: SessionContext
  readonly #started: Started
  #recording: Recording | undefined
  /** Of an SFTP session. */
  #files: FileWatch | undefined
  #isEnded = false

  private constructor(
    context: SessionContext,
    authorization: Authorization,
    started: Started,
    session: SessionId,
  ) {
    this.#context = context
    this.authorization = authorization
    this.#started = started
    this.session = session
  }

  /** Committed before anything happens on the target: invariant 3. */
  static async begin(
    context: SessionContext,
    authorization: Authorization,
    { kind, command }: Started,
  ): Promise<SessionRecord> {
    const { deps, connection, clientIdent } = context
    const { session } = await deps.broker.startSession(connection, authorization.id, {
      kind,
      ...(command === undefined ? {} : { command }),
      clientIdent,
    })
    deps.metrics.sessions.inc({ kind })
    return new SessionRecord(context, authorization, { kind, command }, session)
  }

  /** Undefined when the session ended while it was being opened. */
  async openRecording(
    pty: Pty | undefined,
    onFailure: (err: unknown) => void,
  ): Promise<Recording | undefined> {
    const { kind, command } = this.#started
    const { tenant, user, target, login } = this.authorization
    const { session } = this
    const recording = await this.#context.deps.recorder.start({
      tenant,
      session,
      kind: pty !== undefined ? 'terminal' : kind === 'sftp' ? 'sftp' : 'exec',
      cols: pty?.cols ?? 80,
      rows: pty?.rows ?? 24,
      ...(pty === undefined ? {} : { term: pty.term }),
      title: `${user.name} on ${target.name} as ${login}`,
      ...(command === undefined ? {} : { command: command.toString('utf8') }),
      onDurable: (point) => this.#context.deps.recorded(this.#context.connection, session, point),
      onFailure: (err) => {
        this.#context.log.error({ err, session }, 'recording failed')
        onFailure(err)
      },
    })
    if (!this.#isEnded) {
      this.#recording = recording
      return recording
    }
    // No other code knows of the session yet.
    await recording.end()
    return undefined
  }

  resize({ cols, rows }: Pick<Pty, 'cols' | 'rows'>): void {
    this.#recording?.resize(cols, rows)
  }

  /** Watches file operations, if the session is for files. */
  watchFiles(fail: (reason: CodedError, outcome: string) => void): FileWatch | undefined {
    if (this.#started.kind !== 'sftp') return undefined
    const { deps, connection, log } = this.#context
    const { session } = this
    const { tenant, user } = this.authorization
    this.#files = new FileWatch({
      kept: new KeptFiles(deps.fileBudget, { tenant, user: user.name }),
      note: (notes) => deps.noteFiles(connection, session, notes),
      record: (operations) => deps.broker.recordFiles(connection, session, operations),
      fail,
      log: log.child({ session }),
    })
    return this.#files
  }

  /** Puts the end on the log. Data that is carried meanwhile is counted too. */
  async end(outcome: string, bytes: Readonly<RelayBytes>): Promise<void> {
    this.#isEnded = true
    const { deps, connection, log } = this.#context
    const { session } = this
    const { kind } = this.#started
    try {
      await this.#files?.end()
      const digest = await this.#endRecording()
      const { status, signal } = this.exit
      await deps.broker.endSession(connection, session, {
        ...(status === undefined ? {} : { exitStatus: status }),
        ...(signal === undefined ? {} : { exitSignal: signal }),
        bytes: bytes.up + bytes.down,
        reason: outcome,
        ...(digest === undefined ? {} : { recording: digest }),
      })
    } catch (err) {
      // The row stays open and recovery ends it; the recorded data is on disk.
      log.error({ err, session }, 'session end could not be put on record')
    } finally {
      this.#files?.release()
      deps.metrics.sessions.dec({ kind })
      deps.metrics.sessionsTotal.inc({ kind, outcome: outcomeLabel(outcome) })
      deps.metrics.relayBytes.inc({ direction: 'up' }, bytes.up)
      deps.metrics.relayBytes.inc({ direction: 'down' }, bytes.down)
    }
  }

  /** The digest of a recording that is kept; an empty recording is not. */
  async #endRecording() {
    const recording = this.#recording
    if (recording === undefined) return undefined
    const { status, signal } = this.exit
    if (status !== undefined || signal !== undefined) recording.exit(signal ?? String(status))
    const digest = await recording.end()
    return digest.empty ? undefined : digest
  }
}

function outcomeLabel(outcome: string): string {
  return outcome === 'ended' || outcome === 'client-gone' ? outcome : 'cut'
}
