import { Registry } from 'prom-client'
import { createHttp, createSignIn } from '../../src/http/index.ts'
import { silent } from '../support/postgres.ts'

export const host = 'portal.test'

/** A server without routes whose people need no database: by default, a cookie is the name of its person. */
export function createTestHttp(
  session: (cookie: string) => Promise<string | undefined> = async (cookie) => cookie,
  log = silent,
) {
  const metrics = new Registry()
  const app = createHttp({
    listener: 'portal',
    publicUrl: `http://${host}`,
    log,
    metrics,
  })
  const signIn = createSignIn<string>({
    sessions: {
      redeem: async () => undefined,
      session,
      lives: async () => true,
      end: async () => {},
    },
    cookie: 'test',
    https: false,
    howTo: '',
    ownerOf: (user) => ({ tenant: 'acme', user }),
  })
  return { app, signIn, metrics }
}
