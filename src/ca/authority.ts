import { appendEvent } from '../audit/index.ts'
import type { Database, ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import { type CertificateKind, fingerprint } from '../ssh/index.ts'
import { RecordChanged, type Vault } from '../vault/index.ts'
import type { Authority } from './generation.ts'
import {
  type AuthorityRow,
  areSerialsLeft,
  insertAuthority,
  listAuthorities,
  lockAuthorities,
  setAuthorityState,
} from './queries.ts'

/** How long certificates of a retired authority may still be in use. */
export const retiredSeconds: Readonly<Record<CertificateKind, number>> = {
  user: 25 * 3600,
  host: 91 * 24 * 3600,
}

/** The part of the vault that authorities need. */
type AuthorityVault = Pick<Vault, 'createAuthorityKey' | 'isAuthorityKey'>

/** The generations of each tenant's authorities: makes them, checks them, and turns them. */
export class Authorities {
  readonly #database: Database
  readonly #vault: AuthorityVault

  constructor(database: Database, vault: AuthorityVault) {
    this.#database = database
    this.#vault = vault
  }

  /**
   * The trusted authorities. They are made on first use: there are always an active and a next one.
   * Throws RecordChanged.
   */
  async list(tenant: TenantId, kind: CertificateKind): Promise<readonly Authority[]> {
    const known = await this.#known(tenant, kind)
    if (isWhole(known)) return known
    await this.#make(tenant, kind, 1, known.length === 0 ? 'active' : undefined)
    await this.#make(tenant, kind, 2, 'next')
    return this.#known(tenant, kind)
  }

  /**
   * Retires the active authority, activates the next one, and makes another next one. Passes over a next
   * one whose serials are used up.
   */
  async rotate(tenant: TenantId, kind: CertificateKind, by: object): Promise<readonly Authority[]> {
    const turned = await this.#rotateOnce(tenant, kind, by)
    const isUsable = await this.#database.read(tenant, (tx) =>
      areSerialsLeft(tx.last(), kind, 'active'),
    )
    return isUsable ? turned : this.#rotateOnce(tenant, kind, by)
  }

  async #rotateOnce(
    tenant: TenantId,
    kind: CertificateKind,
    by: object,
  ): Promise<readonly Authority[]> {
    const before = await this.list(tenant, kind)
    const following = Math.max(...before.map(({ generation }) => generation)) + 1
    // The key is made first: a crash after this leaves an unused one.
    const publicKey = await this.#vault.createAuthorityKey(tenant, { kind, generation: following })
    await this.#database.write(tenant, async (tx) => {
      const rows = await lockAuthorities(tx, kind)
      const active = rows.find(({ state }) => state === 'active')
      const next = rows.find(({ state }) => state === 'next')
      // Another process has rotated meanwhile: one rotation was asked for.
      if (active === undefined || next === undefined || next.generation !== following - 1) return
      await setAuthorityState(tx, kind, active.generation, 'retired')
      await setAuthorityState(tx, kind, next.generation, 'active')
      const made = { kind, generation: following, state: 'next', publicKey } as const
      await insertAuthority(tx, { ...made, fingerprint: fingerprint(publicKey) })
      await appendEvent(tx, {
        type: 'ca.rotate',
        public: {
          certKind: kind,
          generation: String(next.generation),
          fingerprint: next.fingerprint,
          retired: String(active.generation),
          next: String(following),
          ...by,
        },
      })
    })
    return this.#known(tenant, kind)
  }

  async #make(
    tenant: TenantId,
    kind: CertificateKind,
    generation: number,
    state: 'active' | 'next' | undefined,
  ): Promise<void> {
    if (state === undefined) return
    const publicKey = await this.#vault.createAuthorityKey(tenant, { kind, generation })
    await this.#database.write(tenant, (tx) => addAuthority(tx, kind, generation, state, publicKey))
  }

  async #known(tenant: TenantId, kind: CertificateKind): Promise<readonly Authority[]> {
    return this.#database.read(tenant, async (tx) => {
      const rows = (await listAuthorities(tx, kind)).filter((row) => isTrusted(row, new Date()))
      await requireAuthentic(this.#vault, tx, tenant, rows)
      return rows.map(authorityOf)
    })
  }
}

/** The rows whose public key is the one that the vault made for them. The others are reported. */
export async function authentic(
  vault: Pick<Vault, 'isAuthorityKey'>,
  tx: ReadTx,
  tenant: TenantId,
  rows: readonly AuthorityRow[],
): Promise<readonly AuthorityRow[]> {
  const good: AuthorityRow[] = []
  for (const row of rows) {
    const { kind, generation, publicKey } = row
    const isOwn = await vault.isAuthorityKey(tx, tenant, { kind, generation }, publicKey)
    if (isOwn && row.fingerprint === fingerprint(publicKey)) good.push(row)
  }
  return good
}

/** Throws RecordChanged unless every row has the public key that the vault made for it. */
export async function requireAuthentic(
  vault: Pick<Vault, 'isAuthorityKey'>,
  tx: ReadTx,
  tenant: TenantId,
  rows: readonly AuthorityRow[],
): Promise<void> {
  const good = await authentic(vault, tx, tenant, rows)
  const changed = rows.find((row) => !good.includes(row))
  if (changed === undefined) return
  throw new RecordChanged(
    `the public key of the ${changed.kind} authority, generation ${changed.generation},`,
    'restore its row of the table certificate_authority from a backup, or delete the row if there never was such a generation',
  )
}

/** Whether certificates of the authority may still be in use. */
export function isTrusted({ kind, retiredAt }: AuthorityRow, now: Date): boolean {
  return retiredAt === null || now.getTime() - retiredAt.getTime() < retiredSeconds[kind] * 1000
}

function authorityOf(row: AuthorityRow): Authority {
  const { kind, generation, state, publicKey, createdAt } = row
  return {
    kind,
    generation,
    state,
    publicKey,
    fingerprint: row.fingerprint,
    createdAt: createdAt.toISOString(),
  }
}

function isWhole(authorities: readonly Authority[]): boolean {
  return ['active', 'next'].every((state) => authorities.some((one) => one.state === state))
}

async function addAuthority(
  tx: WriteTx,
  kind: CertificateKind,
  generation: number,
  state: 'active' | 'next',
  publicKey: Buffer,
): Promise<void> {
  const made = { kind, generation, state, publicKey, fingerprint: fingerprint(publicKey) }
  // The loser of a race finds the winner's row: the vault has one key at a path.
  if ((await insertAuthority(tx, made)) === 0) return
  await appendEvent(tx, {
    type: 'ca.create',
    public: {
      certKind: kind,
      generation: String(generation),
      state,
      fingerprint: made.fingerprint,
    },
  })
}
