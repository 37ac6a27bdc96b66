import { expect, test } from 'vitest'
import { type Authorization, Mint } from '../../src/access/authorization.ts'
import { AuthorizationInvalid, AuthorizationsExhausted } from '../../src/access/errors.ts'
import type { Identity } from '../../src/auth/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'

function make(mint: Mint, tenant: string, user: string): Authorization {
  const person = { id: `${tenant}-${user}`, name: user, role: 'member' }
  const identity = { tenant, tenantSlug: tenant, user: person, keyFingerprint: 'SHA256:x' }
  const target = { id: 't', name: 'web1', host: 'h', port: 22, logins: [], hostKeys: [] }
  return mint.make({
    authorization: { ...identity, target, login: 'root', allow: ['shell'] },
    identity: identity as unknown as Identity,
    kind: 'shell',
    grant: 'g',
  } as unknown as Parameters<Mint['make']>[0])
}

const session = 'a-session' as SessionId

test('attack: ten users of one tenant use up no other tenant’s authorizations', () => {
  const mint = new Mint(() => 0, 100)
  const rush = () => {
    for (let at = 0; at < 200; at++) {
      try {
        make(mint, 'hostile', String(at % 10))
      } catch (err) {
        expect(err).toBeInstanceOf(AuthorizationsExhausted)
      }
    }
  }
  rush()
  const polite = Array.from({ length: 40 }, () => make(mint, 'polite', 'a'))
  rush()
  for (const one of polite) expect(mint.check(one).authorization).toBe(one)
})

test('attack: a user who rushes uses up no authorization of a colleague', () => {
  const mint = new Mint(() => 0, 100)
  const polite = make(mint, 'acme', 'polite')
  expect(() => {
    for (let at = 0; at < 200; at++) make(mint, 'acme', 'hostile')
  }).toThrow(AuthorizationsExhausted)
  expect(mint.check(polite).authorization).toBe(polite)
  expect(mint.check(make(mint, 'acme', 'polite'))).toBeDefined()
})

test('is good for a minute, and for a minute more once its session has started', () => {
  let now = 0
  const mint = new Mint(() => now)
  const [used, unused] = [make(mint, 'acme', 'a'), make(mint, 'acme', 'a')]
  now = 50_000
  mint.use(mint.check(used), session)
  now = 70_000
  expect(mint.checkSession(used, session)).toBeDefined()
  expect(() => mint.check(unused)).toThrow(AuthorizationInvalid)
  now = 120_000
  expect(() => mint.check(used)).toThrow(AuthorizationInvalid)
})

test('is over with its session', () => {
  const mint = new Mint()
  const authorization = make(mint, 'acme', 'a')
  mint.use(mint.check(authorization), session)
  mint.forgetSession(session)
  expect(() => mint.check(authorization)).toThrow(AuthorizationInvalid)
})
