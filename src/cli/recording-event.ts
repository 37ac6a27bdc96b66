import type { AuditEntry } from '../audit/index.ts'
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
  /** Its recovery found that it was changed. */
  readonly isTampered: boolean
  /** Whether a signed head of the log commits to it by now. */
  readonly isSigned: boolean
  readonly tenantId: TenantId
}

type Wanted = { readonly session: string; readonly tenant: TenantId } | { readonly sha256: string }

const batchMax = 1000

/**
 * Finds the event with the digest of a recording: for a session in its tenant's log, for the digest of
 * a file in all logs. Throws LogInconsistent where the log does not commit to the event that it shows.
 */
export async function findRecordingEvent(
  { tenants, audit }: CliProduct,
  wanted: Wanted,
): Promise<RecordingEvent | undefined> {
  const all = await tenants.list()
  const places = 'tenant' in wanted ? all.filter(({ id }) => id === wanted.tenant) : all
  for (const { id, slug } of places) {
    const tenant = parseTenantId(id)
    if (tenant === undefined) continue
    for (let after = -1; ; ) {
      const entries = await audit.tail(tenant, { after, limit: batchMax })
      for (const { index, public: shown } of entries) {
        if (!isWanted(shown, wanted)) continue
        // What a row shows is no proof: who can change rows can change this one.
        const { public: facts, isSigned } = await audit.prove(tenant, index)
        const { session, recordingDigest, recordingBytes, recordingChain, tampered } = facts
        if (typeof session !== 'string' || typeof recordingDigest !== 'string') continue
        if (!isWanted(facts, wanted)) continue
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
      }
      const last = entries.at(-1)
      if (last === undefined) break
      after = last.index
    }
  }
  return undefined
}

function isWanted({ session, recordingDigest }: AuditEntry['public'], wanted: Wanted): boolean {
  if (typeof session !== 'string' || typeof recordingDigest !== 'string') return false
  return 'session' in wanted
    ? session === wanted.session
    : digestOf(recordingDigest) === wanted.sha256
}

function digestOf(text: string): string {
  return text.replace(/^sha256:/i, '')
}
