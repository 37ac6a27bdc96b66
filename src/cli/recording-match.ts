import type { Readable } from 'node:stream'
import { checkWitness } from '../recorder/index.ts'
import type { CliProduct } from './deps.ts'
import type { RecordingEvent, RecordingOnLog } from './recording-event.ts'

/** A log that says something of a recording. */
export interface RecordingMatch {
  /** The slug of its tenant. */
  readonly tenant: string
  readonly session: string
  readonly event: RecordingEvent | undefined
  /** The reason why the recording cannot be trusted, in words for people. */
  readonly problem: string | undefined
}

/** Compares a recording with what one log says of it, with its row, and with its witness. */
export async function matchRecording(
  product: CliProduct,
  log: RecordingOnLog,
  sha256: string,
  open: () => Readable | Promise<Readable>,
): Promise<RecordingMatch> {
  const problem = log.problem ?? (await compare(product, log, sha256, open))
  return matchOf(log, problem)
}

/** A fault of the log is told beside what was found. */
export function matchOf(log: RecordingOnLog, problem: string | undefined): RecordingMatch {
  const { slug: tenant, session, event, foreign } = log
  const [first] = foreign
  if (first === undefined) return { tenant, session, event, problem }
  const found = problem ?? `the recording of ${session} matches the log`
  const fault = `leaf ${first} names the session and is none of this log`
  return {
    tenant,
    session,
    event,
    problem: `${found}; but ${fault}: run \`vaultterm audit verify ${tenant}\``,
  }
}

async function compare(
  { access }: CliProduct,
  { tenant, slug, session, event, isStarted }: RecordingOnLog,
  sha256: string,
  open: () => Readable | Promise<Readable>,
): Promise<string | undefined> {
  const found = await access.session(tenant, session)
  if (event === undefined) return `the log has no digest of the recording of ${session}`
  if (found === undefined || !isStarted) {
    return `${slug} has ${found === undefined ? 'no session' : 'no start on its log of'} ${session}: who put the digest on its log had no recording`
  }
  if (found.recordingIntact === false) {
    return `the recording of ${session} was changed while it was recorded`
  }
  if (event.recordingSha256 !== sha256) {
    return `the recording of ${session} does not match the log: it was changed`
  }
  const witness = await access.recordingWitness(tenant, session)
  if (witness?.chain !== event.recordingChain) {
    return `the witness of the recording of ${session} does not match the log: it was changed`
  }
  if (witness === undefined) return undefined
  if ((await checkWitness(await open(), witness)) === 'intact') return undefined
  return `the recording of ${session} was changed while it was recorded`
}
