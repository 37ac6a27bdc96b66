import type { TenantId, WriteTx } from '../postgres/index.ts'
import { RecordChanged, type TaggedRecord, type TagRecord, type Vault } from '../vault/index.ts'
import { listUntaggedTargets, setTargetTags, type TargetRow } from './target-queries.ts'

/** The part of the vault that targets need: it tags them, and finds those that others wrote. */
export type TargetVault = Pick<Vault, 'tagging' | 'areIntact'>

/**
 * The fields of a target that its tag covers: its name, its address, its logins and its host keys.
 * A change of one of these makes a new tag, from a row that was checked before.
 */
export function targetRecord(row: Omit<TargetRow, 'tag'>): TaggedRecord {
  const { id, name, host, port, logins, auth, hostCertified, keyTypes, keyBlobs } = row
  return {
    kind: 'target',
    id,
    fields: [
      ['name', name],
      ['host', host],
      ['port', String(port)],
      ['auth', auth],
      ['certified', hostCertified ? '1' : '0'],
      ['logins', String(logins.length)],
      ...logins.map((login) => ['login', login] as const),
      ['keys', String(keyBlobs.length)],
      ...keyBlobs.map((blob, i) => [keyTypes[i] ?? '', blob.toString('base64')] as const),
    ],
  }
}

/** The rows that VaultTerm wrote, in their order; the others are reported. Call it outside of transactions. */
export async function intactTargets<Row extends TargetRow>(
  vault: Pick<TargetVault, 'areIntact'>,
  tenant: TenantId,
  rows: readonly Row[],
): Promise<readonly Row[]> {
  const tagged = rows.map((row) => ({ record: targetRecord(row), tag: row.tag }))
  const intact = await vault.areIntact(tenant, tagged)
  return rows.filter((_, i) => intact[i] === true)
}

/** Throws RecordChanged for the first row that was written outside VaultTerm. */
export async function requireIntactTargets(
  vault: Pick<TargetVault, 'areIntact'>,
  tenant: TenantId,
  rows: readonly TargetRow[],
): Promise<void> {
  const intact = await intactTargets(vault, tenant, rows)
  const changed = rows.find((row) => !intact.includes(row))
  if (changed === undefined) return
  throw new RecordChanged(
    `the target ${JSON.stringify(changed.name.slice(0, 64))}`,
    'remove the target, and add it again with the host key that its administrator tells you',
  )
}

/** Tags the tenant's targets from before tags. Answers how many. */
export async function tagOldTargets(tx: WriteTx, tag: TagRecord): Promise<number> {
  const rows = await listUntaggedTargets(tx)
  await setTargetTags(
    tx,
    rows.map(({ id }) => id),
    rows.map((row) => tag(targetRecord(row))),
  )
  return rows.length
}
