import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { Registry } from 'prom-client'
import { expect } from 'vitest'
import { type AuditEntry, createAudit } from '../../src/audit/index.ts'
import {
  type Actor,
  type AdminAuth,
  type Auth,
  createAdminAuth,
  createAuth,
  type Identity,
  type Role,
  sweepLogins,
  type User,
} from '../../src/auth/index.ts'
import { type Ca, loginCertificates } from '../../src/ca/index.ts'
import { createJobs } from '../../src/jobs/index.ts'
import type { Database, TenantId } from '../../src/postgres/index.ts'
import {
  type AuthAttempt,
  encodeUserauthRequest,
  formatPublicKey,
  Writer,
} from '../../src/ssh/index.ts'
import { publicKeyBlob } from '../../src/ssh/public-key.ts'
import type { Vault } from '../../src/vault/index.ts'
import { openTestDatabase, silent, type TestDatabase } from '../support/postgres.ts'
import { openTestVault } from '../support/vault.ts'

export const actor: Actor = { kind: 'operator', id: 'cli', name: 'ops' }
export const source = '198.51.100.4'

/** A tenant, and what tests do in it. */
export interface Place {
  readonly tenant: TenantId
  readonly slug: string
  user(name: string, role?: Role): Promise<User>
  /** A user with a registered key. */
  holder(name: string, key?: TestKey): Promise<{ user: User; key: TestKey; fingerprint: string }>
  login(attempt: AuthAttempt, from?: string): Promise<Identity | undefined>
  /** A cookie of a new web session. */
  signIn(name: string): Promise<string>
  suspend(): Promise<unknown>
  resume(): Promise<unknown>
  events(type?: string): Promise<readonly AuditEntry[]>
}

export interface AuthFixture {
  readonly database: TestDatabase
  readonly vault: Vault
  readonly ca: Ca
  readonly auth: Auth
  readonly adminAuth: AdminAuth
  place(): Promise<Place>
  events(tenant: TenantId, type?: string): Promise<readonly AuditEntry[]>
  /** Does the tenant's clean-up, as a job. */
  sweep(tenant: TenantId): Promise<void>
  /** One more process, over a database that a test looks at or breaks. */
  over(database: Database): Auth
}

export async function openAuthFixture(): Promise<AuthFixture> {
  const database = await openTestDatabase()
  const { app } = database
  const { vault, ca } = await openTestVault(app)
  const over = (own: Database) =>
    createAuth({
      database: own,
      vault,
      certificates: loginCertificates(ca),
      log: silent,
      metrics: new Registry(),
    })
  const sweep = async (tenant: TenantId) => {
    const url = database.urls.jobs
    const jobs = createJobs({ database: app, url, log: silent, metrics: new Registry() })
    const id = await app.write(tenant, (tx) => jobs.add(tx, tenant, sweepLogins, {}))
    const working = jobs.work({ jobs: [sweepLogins], schedules: [] })
    await expect.poll(async () => (await jobs.get(id ?? '')).state).toBe('done')
    await working.stop(1000)
  }
  const auth = over(app)
  const adminAuth = createAdminAuth({
    database: app,
    vault,
    log: silent,
    metrics: new Registry(),
  })
  const audit = createAudit({ database: app, log: silent, metrics: new Registry() })
  const events = async (tenant: TenantId, type?: string) =>
    (await audit.tail(tenant, { limit: 1000 })).filter(
      (entry) => type === undefined || entry.type === type,
    )
  const setSuspended = (tenant: TenantId, when: string) =>
    app.write(tenant, (tx) => tx.run(`update tenant set suspended_at = ${when}`))
  return {
    database,
    vault,
    ca,
    auth,
    adminAuth,
    events,
    over,
    sweep,
    async place() {
      const slug = `t${randomBytes(6).toString('hex')}`
      const tenant = await database.createTenant(slug)
      const user = (name: string, role: Role = 'member') =>
        auth.addUser(tenant, { name, role }, actor)
      return {
        tenant,
        slug,
        user,
        async holder(name, key = makeKey()) {
          const added = await user(name)
          const { fingerprint } = await auth.addKey(tenant, name, key.line, {}, actor)
          return { user: added, key, fingerprint }
        },
        login: (attempt, from = source) => auth.authenticateSsh({ tenant, attempt, source: from }),
        async signIn(name) {
          const { token } = await auth.createLoginLink(tenant, name, actor)
          return some(await auth.web.redeem(token))
        },
        suspend: () => setSuspended(tenant, 'now()'),
        resume: () => setSuspended(tenant, 'null'),
        events: (type) => events(tenant, type),
      }
    },
  }
}

/** A key pair as a client holds it. */
export interface TestKey {
  readonly blob: Buffer
  readonly line: string
  readonly algorithm: string
  /** The whole signature as on the wire. */
  sign(data: Buffer, algorithm?: string): Buffer
}

/** What each algorithm is made with; SHA-1 is there to be refused. */
const hashes: { readonly [algorithm: string]: string | null } = {
  'ssh-ed25519': null,
  'ssh-rsa': 'sha1',
  'rsa-sha2-256': 'sha256',
  'rsa-sha2-512': 'sha512',
}

export function makeKey(algorithm = 'ssh-ed25519'): TestKey {
  const privateKey: KeyObject = algorithm.includes('rsa')
    ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    : generateKeyPairSync('ed25519').privateKey
  const blob = publicKeyBlob(privateKey)
  const type = algorithm.includes('rsa') ? 'ssh-rsa' : 'ssh-ed25519'
  return {
    blob,
    line: formatPublicKey({ type, blob }, 'somebody@laptop'),
    algorithm,
    sign(data, using = algorithm) {
      const bare = sign(hashes[using], data, privateKey)
      return new Writer().text(using).string(bare).build()
    },
  }
}

/** A login as a client sends it; what a test gives is signed as it is given. */
export function signed(key: TestKey, wish: Partial<AuthAttempt> = {}): AuthAttempt {
  const { user = 'acme', algorithm = key.algorithm } = wish
  const signedData =
    wish.signedData ??
    encodeUserauthRequest({ exchangeHash: randomBytes(32), user, algorithm, key: key.blob })
  const signature = wish.signature ?? key.sign(signedData, algorithm)
  return { user, algorithm, key: wish.key ?? key.blob, signature, signedData }
}

/** What is expected to be there. */
export function some<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is nothing')
  return value
}
