import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { Registry } from 'prom-client'
import {
  type Access,
  type Authorization,
  createAccess,
  type Denial,
  type MendRecording,
  type NewTarget,
  type SessionStart,
} from '../../src/access/index.ts'
import { type Audit, type AuditEntry, createAudit } from '../../src/audit/index.ts'
import {
  type Actor,
  type Auth,
  createAuth,
  type Identity,
  type Role,
} from '../../src/auth/index.ts'
import { type Ca, loginCertificates } from '../../src/ca/index.ts'
import {
  holdLease,
  type NodeLease,
  newInstanceId,
  type TenantId,
} from '../../src/postgres/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { type LiveSession, openCoordination } from '../../src/redis/index.ts'
import { formatPublicKey, Writer } from '../../src/ssh/index.ts'
import type { KeyLease, LeaseTerms, Vault } from '../../src/vault/index.ts'
import { openTestDatabase, silent, type TestDatabase } from '../support/postgres.ts'
import { openTestVault } from '../support/vault.ts'

/** Long enough for a test: the tests decide when it runs out. */
const leaseMs = 600_000
/** Of which a ninth is between two sweeps. */
const recoverMs = 900

export const actor: Actor = { kind: 'operator', id: 'cli', name: 'ops' }

/** A tenant with what is needed to open a session in it. */
export interface Place {
  readonly tenant: TenantId
  readonly slug: string
  /** A user with a registered key, as they are after their login. */
  person(name: string, role?: Role): Promise<Identity>
  target(name: string, more?: Partial<NewTarget>): Promise<void>
  events(): Promise<readonly AuditEntry[]>
}

export interface GrantedPlace extends Place {
  readonly demo: Identity
  readonly grant: Awaited<ReturnType<Access['addGrant']>>
}

export interface AccessFixture {
  readonly database: TestDatabase
  readonly access: Access
  readonly auth: Auth
  readonly audit: Audit
  readonly vault: Vault
  readonly ca: Ca
  /** What the vault was asked for. */
  readonly leases: LeaseTerms[]
  live(tenant: TenantId): Promise<readonly LiveSession[]>
  place(): Promise<Place>
  /** One whose user `demo` has a grant of the target `web1`. */
  grantedPlace(): Promise<GrantedPlace>
  /** One more process of the deployment. */
  another(): Promise<Access>
  /** One more process that serves under a lease of its own. */
  serve(node?: string): Promise<ServingProcess>
}

export interface ServingProcess {
  readonly access: Access
  readonly lease: NodeLease
  /** Starts to end the sessions of lost processes; the answer stops it. */
  recover(mend: MendRecording): () => Promise<void>
  /** The same instance, without what it remembers. */
  twin(): ServingProcess
}

export async function openAccessFixture(): Promise<AccessFixture> {
  const database = await openTestDatabase()
  const { app } = database
  const { registry } = await openCoordination(undefined, silent)
  const { vault: real, ca } = await openTestVault(app)
  const auth = createAuth({
    database: app,
    vault: real,
    certificates: loginCertificates(ca),
    log: silent,
    metrics: new Registry(),
  })
  const audit = createAudit({ database: app, log: silent, metrics: new Registry() })
  const leases: LeaseTerms[] = []
  const vault = { ...real, ...leasing(leases) }
  const create = (own: typeof app) =>
    createAccess({
      database: own,
      vault,
      ca: { ...ca, leaseUpstream: () => Promise.reject(new Error('not asked')) },
      registry,
      log: silent,
      metrics: new Registry(),
    })
  const access = create(await database.openServing())
  async function place(): Promise<Place> {
    const slug = `t${randomBytes(6).toString('hex')}`
    const tenant = await database.createTenant(slug)
    return {
      tenant,
      slug,
      async person(name, role = 'member') {
        const { id } = await auth.addUser(tenant, { name, role }, actor)
        const key = { type: 'ssh-ed25519', blob: newKey() }
        const { fingerprint } = await auth.addKey(tenant, name, formatPublicKey(key), {}, actor)
        return { tenant, tenantSlug: slug, user: { id, name, role }, keyFingerprint: fingerprint }
      },
      async target(name, more = {}) {
        await access.addTarget(tenant, { ...newTarget(name), ...more }, actor)
      },
      events: () => audit.tail(tenant, { limit: 500 }),
    }
  }
  return {
    database,
    access,
    auth,
    audit,
    vault,
    ca,
    leases,
    live: (tenant) => registry.list(tenant),
    another: async () => create(await database.openServing()),
    async serve(node = `node-${randomBytes(4).toString('hex')}`) {
      const instance = newInstanceId()
      const own = database.open('vaultterm_app', {}, undefined, instance)
      const lease = await holdLease({
        database: database.open('vaultterm_app'),
        instance,
        node,
        leaseMs,
        log: silent,
        metrics: new Registry(),
      })
      const process = (): ServingProcess => {
        const access = create(own)
        const recover = (mend: MendRecording) => access.serveUnder(lease, recoverMs, mend)
        return { access, lease, recover, twin: process }
      }
      return process()
    },
    place,
    async grantedPlace() {
      const opened = await place()
      const demo = await opened.person('demo')
      await opened.target('web1')
      const order = { user: 'demo', target: 'web1' }
      return { ...opened, demo, grant: await access.addGrant(opened.tenant, order, actor) }
    },
  }
}

export function newTarget(name: string): NewTarget {
  const hostKeys = [{ type: 'ssh-ed25519', blob: newKey() }]
  return { name, host: '192.0.2.7', port: 22, logins: ['root', 'deploy'], hostKeys }
}

export function newKey(): Buffer {
  const { publicKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  return new Writer().text('ssh-ed25519').string(raw).build()
}

export const start: SessionStart = {
  kind: 'shell',
  via: 'direct',
  source: '198.51.100.4',
  clientIdent: 'SSH-2.0-OpenSSH_10.0',
  node: 'node-1',
  recording: true,
}

export const shell = { kind: 'shell' } as const

export function allowed(answer: Authorization | Denial): Authorization {
  if ('denied' in answer) throw new Error(`denied: ${answer.code} ${answer.message}`)
  return answer
}

export function denied(answer: Authorization | Denial): Denial {
  if (!('denied' in answer)) throw new Error(`opened ${answer.target.name} as ${answer.login}`)
  return answer
}

/** Starts a session as somebody does who asks for that target. */
export async function open(
  access: Access,
  identity: Identity,
  target: string,
  facts: Partial<SessionStart> = {},
): Promise<SessionId> {
  const wish = { target, kind: facts.kind ?? start.kind }
  const authorization = allowed(await access.authorize(identity, wish))
  return (await access.startSession(authorization, { ...start, ...facts })).session
}

/** The vault's side has tests of its own; here it is only seen what access asks of it. */
function leasing(leases: LeaseTerms[]): Pick<Vault, 'lease'> {
  return {
    async lease(_tenant, wish): Promise<KeyLease> {
      leases.push(wish)
      return { id: `lease-${leases.length}`, publicKey: Buffer.alloc(0), algorithms: [] }
    },
  }
}
