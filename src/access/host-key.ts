import { type Ca, isStandIn } from '../ca/index.ts'
import type { Database, TenantId } from '../postgres/index.ts'
import { checkCertificate, parseCertificate } from '../ssh/index.ts'
import type { Target } from './target-fields.ts'

/**
 * Whether a host key is valid for a target: a key on record, byte for byte, or a key with a
 * certificate of the tenant's host authority for the name of this target.
 */
export async function isHostKeyOf(
  database: Database,
  ca: Pick<Ca, 'trust'>,
  tenant: { readonly id: TenantId; readonly slug: string },
  target: Pick<Target, 'name' | 'host' | 'hostKeys' | 'hostCertified'>,
  blob: Buffer,
): Promise<boolean> {
  const isOnRecord = (key: Buffer) => target.hostKeys.some((known) => known.blob.equals(key))
  if (isOnRecord(blob)) return true
  const parsed = parseCertificate(blob)
  if ('problem' in parsed) return false
  // A key on record needs no certificate, in whatever form it is shown.
  if (isOnRecord(parsed.certificate.publicKey)) return true
  if (!target.hostCertified || isStandIn(parsed.certificate)) return false
  const { authorities, revocations } = await database.read(tenant.id, (tx) =>
    ca.trust(tx, tenant.id, 'host', parsed.certificate),
  )
  return hostNames(tenant.slug, target).some((principal) => {
    const checked = checkCertificate(parsed.certificate, {
      authorities: authorities.map(({ publicKey }) => publicKey),
      kind: 'host',
      principal,
      now: new Date(),
      revocations,
      knownOptions: [],
    })
    return 'restrictions' in checked
  })
}

/** The names under which a target is dialled, by people and by us. */
export function hostNames(
  slug: string,
  { name, host }: Pick<Target, 'name' | 'host'>,
): readonly string[] {
  return [name, `${name}.${slug}`, host.toLowerCase()]
}
