import { parseTenantId, type TenantId } from '../postgres/index.ts'
import type { CliProduct } from './deps.ts'

/** The event of a log that holds the digest of a recording. */
export interface RecordingEvent {
  /** Its slug. */
  readonly tenant: string
  readonly index: number
  readonly session: string
  readonly recordingSha256: string
  readonly recordingBytes: number | undefined
  /** The chain over all witnessed points; undefined without a witness. */
  readonly recordingChain: string | undefined
  /** The log has another digest of the same recording: one of them was forged. */
  readonly isTwice: boolean
  /** Its recovery found that it was changed. */
  readonly isTampered: boolean
  /** Whether a signed head of the log commits to it by now. */
  readonly isSigned: boolean
  readonly tenantId: TenantId
}

type Wanted = { readonly session: string; readonly tenant: TenantId } | { readonly sha256: string }

/**
 * Finds the event with the digest of a recording: for a session in its tenant's log, for the digest of
 * a file in all logs. Throws LogInconsistent where the log is not the one that was signed.
 */
export async function findRecordingEvent(
  product: CliProduct,
  wanted: Wanted,
): Promise<RecordingEvent | undefined> {
  const all = await product.tenants.list()
  const places = 'tenant' in wanted ? all.filter(({ id }) => id === wanted.tenant) : all
  for (const { id, slug } of places) {
    const tenant = parseTenantId(id)
    if (tenant === undefined) continue
    const session =
      'session' in wanted ? wanted.session : await findSession(product, tenant, wanted.sha256)
    if (session === undefined) continue
    const found = await findIn(product, { tenant, slug, session })
    if (found === undefined) continue
    if ('session' in wanted || found.isTwice || found.recordingSha256 === wanted.sha256)
      return found
  }
  return undefined
}

/** The session whose recording has this digest, as the rows show it: that is no proof. */
async function findSession(
  { audit }: CliProduct,
  tenant: TenantId,
  sha256: string,
): Promise<string | undefined> {
  for await (const { public: shown } of audit.entries(tenant)) {
    const { session, recordingDigest } = shown
    if (typeof session !== 'string' || typeof recordingDigest !== 'string') continue
    if (digestOf(recordingDigest) === sha256) return session
  }
  return undefined
}

/**
 * The event with the digest of the session's recording, if possible one with a chain. Any login of the
 * database can append events, so another digest counts, wherever it stands.
 */
async function findIn(
  { audit }: CliProduct,
  place: { readonly tenant: TenantId; readonly slug: string; readonly session: string },
): Promise<RecordingEvent | undefined> {
  const { tenant, slug, session } = place
  const leaves = await audit.prove(tenant, [session, 'recordingDigest'])
  const digests = leaves.flatMap(({ index, isSigned, public: facts }) => {
    const { recordingDigest, recordingBytes, recordingChain, tampered } = facts
    if (facts.session !== session || typeof recordingDigest !== 'string') return []
    return {
      tenant: slug,
      tenantId: tenant,
      index,
      session,
      recordingSha256: digestOf(recordingDigest),
      recordingBytes: typeof recordingBytes === 'string' ? Number(recordingBytes) : undefined,
      recordingChain: typeof recordingChain === 'string' ? digestOf(recordingChain) : undefined,
      isTampered: tampered === true,
      isSigned,
    }
  })
  const event = digests.find(({ recordingChain }) => recordingChain !== undefined) ?? digests[0]
  if (event === undefined) return undefined
  // The end of an interrupted session and its recovery both tell the digest: the same one.
  const isTwice = digests.some(({ recordingSha256 }) => recordingSha256 !== event.recordingSha256)
  const isTampered = digests.some((one) => one.isTampered)
  return { ...event, isTwice, isTampered }
}

function digestOf(text: string): string {
  return text.replace(/^sha256:/i, '')
}
