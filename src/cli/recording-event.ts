import { LogInconsistent, type ProvenLeaf } from '../audit/index.ts'
import type { TenantId } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { CliProduct } from './deps.ts'

/** A tenant, whose log is read. */
export interface Place {
  readonly tenant: TenantId
  readonly slug: string
}

/** The event of a log that holds the digest of a recording. */
export interface RecordingEvent {
  readonly index: number
  readonly recordingSha256: string
  readonly recordingBytes: number | undefined
  /** The chain over all witnessed points; undefined without a witness. */
  readonly recordingChain: string | undefined
  /** Whether a signed head of the log commits to it by now. */
  readonly isSigned: boolean
}

/** What the log of a tenant says of the recording of a session. */
export interface RecordingOnLog extends Place {
  readonly session: SessionId
  readonly isStarted: boolean
  readonly event: RecordingEvent | undefined
  /** Why the recording was not recovered, and is lost or not whole. */
  readonly lost: string | undefined
  /** Why the recording cannot be trusted, whatever its bytes are; in words for people. */
  readonly problem: string | undefined
  /** The indexes of leaves that name the session, and are none of this log. */
  readonly foreign: readonly number[]
}

interface Told extends RecordingEvent {
  /** Whether it may lack the chain: the end of an interrupted session, whose recovery tells that. */
  readonly isEndOfInterrupted: boolean
}

/** Of the events that name a session, only those with one of these say something of its recording. */
const marks = ['session.start', 'recording.lost', 'recordingDigest', 'tampered']

/** Reads what a log says of the recordings of some sessions, or that it is not the one that was signed. */
export async function readRecordings(
  { audit }: CliProduct,
  place: Place,
  sessions: readonly SessionId[],
): Promise<readonly RecordingOnLog[]> {
  const isWanted = (leaf: Buffer) =>
    marks.some((mark) => leaf.includes(mark)) && sessions.some((one) => leaf.includes(one))
  try {
    const { leaves, foreign } = await audit.prove(place.tenant, isWanted)
    return sessions.map((session) => {
      const own = leaves.filter(({ public: facts }) => facts.session === session)
      return { ...place, session, foreign, ...readRecording(session, own) }
    })
  } catch (err) {
    if (!(err instanceof LogInconsistent)) throw err
    const nothing = { isStarted: false, event: undefined, lost: undefined, foreign: [] }
    return sessions.map((session) => ({ ...place, session, ...nothing, problem: err.message }))
  }
}

/** Any login of the database can append events, so each one counts, wherever it stands. */
function readRecording(session: SessionId, leaves: readonly ProvenLeaf[]) {
  const told = leaves.map(readDigest).filter((one) => one !== undefined)
  const event = told.find(({ recordingChain }) => recordingChain !== undefined) ?? told[0]
  const lost = findLost(leaves)
  return {
    isStarted: leaves.some(({ type }) => type === 'session.start'),
    event,
    lost,
    problem: findProblem(session, leaves, told, lost),
  }
}

function readDigest({ type, index, isSigned, public: facts }: ProvenLeaf): Told | undefined {
  const { recordingDigest, recordingBytes, recordingChain, ended } = facts
  if (typeof recordingDigest !== 'string') return undefined
  return {
    index,
    recordingSha256: digestOf(recordingDigest),
    recordingBytes: typeof recordingBytes === 'string' ? Number(recordingBytes) : undefined,
    recordingChain: typeof recordingChain === 'string' ? digestOf(recordingChain) : undefined,
    isSigned,
    isEndOfInterrupted: type === 'session.end' && ended === 'interrupted',
  }
}

export function digestOf(text: string): string {
  return text.replace(/^sha256:/i, '')
}

/** A recording that could not be read may be recovered later. */
function findLost(leaves: readonly ProvenLeaf[]): string | undefined {
  const lost = leaves.findLast(({ type, public: { why } }) => {
    return type === 'recording.lost' && why !== 'missing' && why !== 'unreadable'
  })
  const last = leaves.findLast(({ type }) => /^recording\.(lost|recovered)$/.test(type))
  const found = lost ?? (last?.type === 'recording.lost' ? last : undefined)
  if (found === undefined) return undefined
  const { why } = found.public
  return typeof why === 'string' ? why : 'unknown'
}

function findProblem(
  session: SessionId,
  leaves: readonly ProvenLeaf[],
  told: readonly Told[],
  lost: string | undefined,
): string | undefined {
  const twice = findTwice(told)
  if (twice !== undefined)
    return `the log has two ${twice} of the recording of ${session}: one of them was forged`
  if (leaves.some(({ public: facts }) => facts.tampered === true))
    return `the recording of ${session} was changed while it was recorded`
  if (lost === undefined) return undefined
  return `the log says that the recording of ${session} was not recovered (${lost})`
}

/**
 * What the events tell in two ways, also where one of them tells it and another does not. The end of an
 * interrupted session and its recovery tell the same digest, and the recovery alone tells the chain.
 */
function findTwice(told: readonly Told[]): string | undefined {
  const isOne = (values: readonly unknown[]) => new Set(values).size <= 1
  if (!isOne(told.map(({ recordingSha256 }) => recordingSha256))) return 'digests'
  if (!isOne(told.map(({ recordingBytes }) => recordingBytes))) return 'lengths'
  const isTold = (one: Told) => one.recordingChain !== undefined || !one.isEndOfInterrupted
  return isOne(told.filter(isTold).map(({ recordingChain }) => recordingChain))
    ? undefined
    : 'chains'
}
