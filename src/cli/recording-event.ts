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
  readonly tenantId: TenantId
}

const batchMax = 1000

/**
 * Finds the event with the digest of a recording: for a session in its tenant's log, for the digest of
 * a file in all logs.
 */
export async function findRecordingEvent(
  { tenants, audit }: CliProduct,
  wanted: { readonly session: string; readonly tenant: TenantId } | { readonly sha256: string },
): Promise<RecordingEvent | undefined> {
  const all = await tenants.list()
  const places = 'tenant' in wanted ? all.filter(({ id }) => id === wanted.tenant) : all
  for (const { id, slug } of places) {
    const tenant = parseTenantId(id)
    if (tenant === undefined) continue
    for (let after = -1; ; ) {
      const entries = await audit.tail(tenant, { after, limit: batchMax })
      for (const { index, public: facts } of entries) {
        const { session, recordingDigest, recordingBytes, recordingChain, tampered } = facts
        if (typeof session !== 'string' || typeof recordingDigest !== 'string') continue
        const sha256 = digestOf(recordingDigest)
        const found = 'session' in wanted ? session === wanted.session : sha256 === wanted.sha256
        if (!found) continue
        return {
          tenant: slug,
          tenantId: tenant,
          index,
          session,
          recordingSha256: sha256,
          recordingBytes: typeof recordingBytes === 'string' ? Number(recordingBytes) : undefined,
          recordingChain: typeof recordingChain === 'string' ? digestOf(recordingChain) : undefined,
          isTampered: tampered === true,
        }
      }
      const last = entries.at(-1)
      if (last === undefined) break
      after = last.index
    }
  }
  return undefined
}

function digestOf(text: string): string {
  return text.replace(/^sha256:/i, '')
}
