import type { AddressInfo } from 'node:net'
import { Registry } from 'prom-client'
import { afterAll } from 'vitest'
import type { SessionStart } from '../../src/access/index.ts'
import { createAdmin } from '../../src/admin/index.ts'
import { createAdminAuth, type Identity } from '../../src/auth/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { createTenants } from '../../src/tenant/index.ts'
import { actor, open, type Place } from '../access/access-fixture.ts'
import { silent } from '../support/postgres.ts'
import { openPortalFixture } from './portal-fixture.ts'

/** A name that tries to be markup, to turn text around, and to move a terminal's cursor. */
export const hostile = '<img src=x onerror=alert(1)>\u202egnp.exe\u200b \x1b[31m'

export interface Recorded extends Partial<SessionStart> {
  readonly output?: readonly string[]
  readonly exitStatus?: number
  readonly reason?: string
  /** It goes on. */
  readonly isLive?: boolean
}

/** The portal and the console on listeners, with people, targets and sessions of every kind. */
export async function openPagesFixture() {
  const fixture = await openPortalFixture()
  const { access, portal, recordings } = fixture
  const acme = await fixture.place()
  const boss = await acme.person('ines', 'owner')
  const jonas = await acme.person('jonas')
  for (const name of ['web1', 'db1', 'build-3', 'metrics']) await acme.target(name)
  for (const user of ['ines', 'jonas'])
    await access.addGrant(acme.tenant, { user, target: '*' }, actor)

  async function record(who: Identity, target: string, facts: Recorded): Promise<SessionId> {
    const { output = [], exitStatus, reason = 'ended', isLive, ...start } = facts
    const session = await open(access, who, target, start)
    const tenant = acme.tenant
    if (output.length === 0) {
      await access.endSession(session, { tenant, bytes: 0, reason })
      return session
    }
    const { recording, output: write } = await recordings.begin({ tenant, session })
    for (const [index, text] of output.entries()) {
      await write(text)
      if (index === 0) recording.marker(`step ${hostile}`)
    }
    recording.resize(100, 30)
    if (isLive) return session
    const digest = await recording.end()
    const bytes = output.join('').length
    const end = { tenant, bytes, reason, recording: digest }
    await access.endSession(session, { ...end, ...(exitStatus !== undefined && { exitStatus }) })
    return session
  }

  const shown = ['\x1b[32mpriya@db1\x1b[0m ~ $ df -h\r\n', '/dev/nvme1n1  1.8T  1.1T  65%\r\n']
  const sessions = {
    forward: await record(jonas, 'metrics', { reason: 'client-gone' }),
    hostile: await record(jonas, 'db1', {
      kind: 'exec',
      command: Buffer.from(hostile),
      output: shown,
      exitStatus: 12,
    }),
    exec: await record(boss, 'web1', {
      kind: 'exec',
      command: Buffer.from('sudo systemctl restart api'),
      output: shown,
      exitStatus: 0,
    }),
    cutOff: await record(boss, 'build-3', { reason: 'interrupted', output: shown }),
    shell: await record(jonas, 'db1', { output: shown, exitStatus: 0 }),
    live: await record(jonas, 'db1', { isLive: true, output: shown }),
  }
  return { ...fixture, acme, boss, jonas, sessions, record, portalUrl: await listen(portal) }
}

/** The console beside it. */
export async function openConsole(
  database: Parameters<typeof createAdminAuth>[0]['database'],
  vault: Parameters<typeof createAdmin>[0]['vault'] &
    Parameters<typeof createTenants>[0]['vault'] &
    Parameters<typeof createAdminAuth>[0]['vault'],
) {
  const metrics = new Registry()
  const adminAuth = createAdminAuth({ database, vault, log: silent, metrics })
  const tenants = createTenants({ database, vault, log: silent })
  const ok = async () => undefined
  const admin = await createAdmin({
    adminAuth,
    tenants,
    vault,
    metrics,
    log: silent,
    publicUrl: undefined,
    checks: { database: ok, redis: ok },
  })
  afterAll(() => admin.close())
  await tenants.create({ slug: 'globex', name: hostile }, actor)
  const { token } = await adminAuth.createLoginLink('root')
  return { url: await listen(admin), cookie: `vaultterm-admin=${await adminAuth.redeem(token)}` }
}

async function listen(app: Awaited<ReturnType<typeof createAdmin>>): Promise<string> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

export type PagesFixture = Awaited<ReturnType<typeof openPagesFixture>>
export type { Place }
