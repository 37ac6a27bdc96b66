import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll } from 'vitest'
import { createAudit } from '../../src/audit/index.ts'
import { createLog } from '../../src/log.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import {
  createKekFile,
  createVault,
  type Kek,
  type LeaseTerms,
  openKek,
  type Vault,
} from '../../src/vault/index.ts'
import { openTestDatabase, type TestDatabase } from '../support/postgres.ts'

/** A vault over a real database, with what a test wants to look at. */
export interface VaultFixture {
  readonly database: TestDatabase
  readonly vault: Vault
  readonly kek: Kek
  readonly kekPath: string
  readonly metrics: Registry
  /** Every line that any vault of the fixture has logged. */
  readonly logged: string[]
  /** One more process: a database connection and a copy of the key of its own. */
  another(kekPath?: string): Promise<Vault>
  /** A key file that is not the vault's. */
  newKek(): Promise<string>
  /** The types and public values of a tenant's events. */
  events(tenant: TenantId): Promise<{ type: string; public: unknown }[]>
  count(metric: string, labels: Record<string, string>): Promise<number>
}

export async function openVaultFixture(): Promise<VaultFixture> {
  const database = await openTestDatabase()
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-vault-'))
  const logged: string[] = []
  const log = createLog('trace', { write: (line) => void logged.push(line) })
  const metrics = new Registry()
  const vaults: Vault[] = []
  let files = 0
  const newKek = async () => {
    files += 1
    const path = join(directory, `kek-${files}`)
    await createKekFile(path)
    return path
  }
  const kekPath = await newKek()
  const kek = await openKek(`file:${kekPath}`)
  const vault = createVault({ database: database.app, kek, log, metrics })
  vaults.push(vault)
  const audit = createAudit({ database: database.app, log, metrics: new Registry() })
  afterAll(async () => {
    for (const one of vaults) await one.close()
    rmSync(directory, { recursive: true })
  })
  return {
    database,
    vault,
    kek,
    kekPath,
    metrics,
    logged,
    newKek,
    another: async (path = kekPath) => {
      const own = await openKek(`file:${path}`)
      const app = database.open('vaultterm_app')
      const other = createVault({ database: app, kek: own, log, metrics: new Registry() })
      vaults.push(other)
      return other
    },
    events: async (tenant) => {
      const entries = await audit.tail(tenant, { limit: 200 })
      return entries.map((entry) => ({ type: entry.type, public: entry.public }))
    },
    count: async (metric, labels) => {
      const { values } = (await metrics.getSingleMetric(metric)?.get()) ?? { values: [] }
      const found = values.filter(({ labels: own }) =>
        Object.entries(labels).every(([name, value]) => own[name] === value),
      )
      return found.reduce((sum, { value }) => sum + value, 0)
    },
  }
}

export const session = '0192f0c1-2345-7abc-8def-0123456789ab'

export const wish: LeaseTerms = {
  name: 'admin_ssh',
  login: 'root',
  session,
  purpose: 'upstream',
  expiresInMs: 30_000,
}

/** RFC 4252 section 7, written here a second time, so that any part of it can be bent. */
export interface Login {
  readonly exchangeHash?: Buffer
  readonly message?: number
  readonly user?: string
  readonly service?: string
  readonly method?: string
  readonly hasSignature?: number
  readonly algorithm?: string
  readonly key: Buffer
  readonly hostKey?: Buffer
  readonly trailing?: Buffer
}

export function encodeLogin(login: Login): Buffer {
  const method =
    login.method ??
    (login.hostKey === undefined ? 'publickey' : 'publickey-hostbound-v00@openssh.com')
  return Buffer.concat([
    text(login.exchangeHash ?? Buffer.alloc(32, 0xaa)),
    Buffer.of(login.message ?? 50),
    text(login.user ?? 'root'),
    text(login.service ?? 'ssh-connection'),
    text(method),
    Buffer.of(login.hasSignature ?? 1),
    text(login.algorithm ?? 'rsa-sha2-512'),
    text(login.key),
    login.hostKey === undefined ? Buffer.alloc(0) : text(login.hostKey),
    login.trailing ?? Buffer.alloc(0),
  ])
}

export function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
