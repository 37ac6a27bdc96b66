import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll } from 'vitest'
import { LogPace } from '../../../src/audit/index.ts'
import { ForwardGuard } from '../../../src/bastion/monitor/forward-guard.ts'
import { JumpCertificates } from '../../../src/bastion/monitor/jump-certificates.ts'
import { createBastionMetrics } from '../../../src/bastion/monitor/metrics.ts'
import { Monitor, type MonitorDeps } from '../../../src/bastion/monitor/monitor.ts'
import { Penalties } from '../../../src/bastion/monitor/penalties.ts'
import type { ConnectionId } from '../../../src/bastion/wire/calls.ts'
import { parseConfig } from '../../../src/config.ts'
import { Headcount } from '../../../src/headcount.ts'
import type { TenantId } from '../../../src/postgres/index.ts'
import { openProduct, type Product } from '../../../src/product.ts'
import { type AuthAttempt, cookieBytes, formatOpenSshPrivateKey } from '../../../src/ssh/index.ts'
import { Turns } from '../../../src/turns.ts'
import { createKekFile } from '../../../src/vault/index.ts'
import { newTarget } from '../../access/access-fixture.ts'
import { makeKey, type TestKey } from '../../auth/auth-fixture.ts'
import { boundLogin } from '../../support/bound-login.ts'
import { openTestDatabase, silent } from '../../support/postgres.ts'
import { publicKeyOf } from '../../support/ssh-authority.ts'

export const actor = { kind: 'operator', id: 'cli', name: 'ops' } as const

/** Somebody who can log in, and has a target that they may open. */
export interface Somebody {
  readonly tenant: TenantId
  readonly slug: string
  readonly key: TestKey
  /** The host key of the target that they may open. */
  readonly host: TestKey
  /** A login as their client signs it on this connection. */
  attempt(connection: ConnectionId, user?: string): AuthAttempt
}

export interface MonitorFixture {
  readonly product: Product
  readonly deps: MonitorDeps
  /** What one worker talks to. */
  monitor(other?: Partial<MonitorDeps>): Monitor
  somebody(): Promise<Somebody>
  /** A connection that a monitor's worker serves. */
  connect(monitor: Monitor): ConnectionId
}

/** The whole product, as the main process has it, with nobody to parse SSH. */
export async function openMonitorFixture(): Promise<MonitorFixture> {
  const database = await openTestDatabase()
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-monitor-'))
  await createKekFile(join(directory, 'kek'))
  const product = await openProduct(
    {
      database: database.urls,
      redisUrl: undefined,
      kek: `file:${join(directory, 'kek')}`,
      recordings: `dir:${join(directory, 'recordings')}`,
    },
    {
      log: silent,
      metrics: new Registry(),
      egress: undefined,
      serve: { node: 'monitor', leaseMs: 600_000 },
    },
  )
  afterAll(async () => {
    await product.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const { privateKey } = generateKeyPairSync('ed25519')
  const hostKey = {
    privateKey: formatOpenSshPrivateKey(privateKey, 'host'),
    publicKey: publicKeyOf(privateKey),
  }
  const deps: MonitorDeps = {
    ...product,
    metrics: createBastionMetrics(new Registry()),
    jumpCertificates: new JumpCertificates(product.ca, silent),
    hostKeys: async () => [hostKey],
    guard: new ForwardGuard(() => ({ ports: [5432], directories: ['/var/lib/vaultterm'] })),
    forwardsMax: 64,
    loginGraceMs: 120_000,
    penalties: new Penalties(parseConfig({}).limits.penalties),
    turns: new Turns(6),
    callTurns: new Turns(16),
    endTurns: new Turns(4),
    logPace: new LogPace(),
    authTriesMax: 6,
    connectionsOf: new Headcount(100),
    sessionsOf: new Headcount(100),
    node: 'node-1',
  }
  const cookies = new Map<ConnectionId, Buffer>()
  return {
    product,
    deps,
    monitor: (other) => new Monitor({ ...deps, ...other }),
    connect(monitor) {
      const id = randomUUID() as ConnectionId
      cookies.set(id, monitor.open(id, '198.51.100.4', { release: () => {} }))
      return id
    },
    async somebody() {
      const slug = `t${randomBytes(6).toString('hex')}`
      const { id: tenant } = await product.tenants.create({ slug, name: slug }, actor)
      const key = makeKey()
      const host = makeKey()
      const hostKeys = [{ type: 'ssh-ed25519', blob: host.blob }]
      await product.auth.addUser(tenant, { name: 'demo', role: 'member' }, actor)
      await product.auth.addKey(tenant, 'demo', key.line, {}, actor)
      await product.access.addTarget(tenant, { ...newTarget('web1'), hostKeys }, actor)
      await product.access.addGrant(tenant, { user: 'demo', target: 'web1' }, actor)
      return {
        tenant,
        slug,
        key,
        host,
        attempt: (id, user = slug) =>
          boundLogin(cookies.get(id) ?? randomBytes(cookieBytes), key, user),
      }
    },
  }
}
