import { Registry } from 'prom-client'
import { afterAll } from 'vitest'
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
  const { access, auth, audit, ca } = fixture
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
