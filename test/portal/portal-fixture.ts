import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { Registry } from 'prom-client'
import { afterAll } from 'vitest'
import { stepUpPurposes } from '../../src/auth/index.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createPortal } from '../../src/portal/index.ts'
import { actor, openAccessFixture, type Place } from '../access/access-fixture.ts'
import { silent } from '../support/postgres.ts'
import { testRecorder } from '../support/recording.ts'

const host = 'portal.test'

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** The portal over real modules, without a listener; it ends with the test file. */
export const openPortalFixture = () => openPortal(`http://${host}`)

/** The same without a public URL: it is known by its own address. */
export const openLocalPortalFixture = () => openPortal(undefined)

async function openPortal(publicUrl: string | undefined) {
  const fixture = await openAccessFixture()
  const { access, auth, audit, ca, database } = fixture
  const recordings = await testRecorder()
  const portal = await createPortal({
    auth,
    access,
    ca,
    recorder: recordings.recorder,
    audit,
    metrics: new Registry(),
    page: createMetrics(),
    log: silent,
    publicUrl,
    checks: {},
    ssh: () => ({ host: 'bastion.test', port: 2222 }),
  })
  afterAll(async () => {
    await portal.close()
    await recordings[Symbol.asyncDispose]()
  })
  return {
    ...fixture,
    portal,
    host,
    recordings,
    /** A passkey of nobody's device: the person has a factor, and cannot prove it. Answers its id. */
    async givePasskey(place: Place, user: string): Promise<string> {
      const [row] = await database.superuser<{ id: string }>(
        `insert into passkey (tenant_id, user_id, credential_id, public_key, counter, synced, name, tag)
           values ($1, $2, $3, '', 0, false, 'x', $4) returning id`,
        [place.tenant, user, randomBytes(16), randomBytes(40)],
      )
      return row?.id ?? ''
    },
    /** A fresh proof for every purpose, in every web session of the person. */
    async prove(user: string): Promise<void> {
      await database.superuser(
        `insert into step_up_proof (tenant_id, web_session_id, purpose, method, factor_id, expires_at)
           select tenant_id, id, purpose, 'passkey', gen_random_uuid(), now() + interval '5 minutes'
             from web_session, unnest($2::text[]) purpose where user_id = $1
           on conflict do nothing`,
        [user, stepUpPurposes],
      )
    },
    /** The cookie of a new web session. */
    async signIn(place: Place, name: string): Promise<string> {
      const { token } = await auth.createLoginLink(place.tenant, name, actor)
      const cookie = await auth.web.redeem(token)
      if (cookie === undefined) throw new Error('a new link signs in')
      return `vaultterm=${cookie}`
    },
    /** The answer to a request of a person; without a cookie, of nobody. */
    ask: (method: Method, path: string, cookie = '', body?: object) =>
      portal.inject({
        method,
        url: path,
        headers: { host, cookie },
        ...(body === undefined ? {} : { payload: body }),
      }),
  }
}

/** Where browsers reach a listener by a name: they tie passkeys to one. */
export async function listenByName(app: FastifyInstance): Promise<string> {
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  return address.replace('127.0.0.1', 'localhost')
}
