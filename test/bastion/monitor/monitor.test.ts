import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { type Authorization, isHostKeyOf } from '../../../src/access/index.ts'
import { RequestCrossed, RequestForged } from '../../../src/bastion/monitor/errors.ts'
import { ForwardGuard } from '../../../src/bastion/monitor/forward-guard.ts'
import { Monitor } from '../../../src/bastion/monitor/monitor.ts'
import { Penalties } from '../../../src/bastion/monitor/penalties.ts'
import type { ConnectionId } from '../../../src/bastion/wire/calls.ts'
import { parseConfig } from '../../../src/config.ts'
import { Headcount } from '../../../src/headcount.ts'
import type { SessionId } from '../../../src/recorder/index.ts'
import { encodeUserauthRequest, type HostProof, parseCertificate } from '../../../src/ssh/index.ts'
import { allowed, newTarget } from '../../access/access-fixture.ts'
import { makeKey, signed, type TestKey } from '../../auth/auth-fixture.ts'
import { actor, openMonitorFixture, type Somebody } from './monitor-fixture.ts'

const fixture = await openMonitorFixture()
const { product } = fixture

const facts = { kind: 'shell', clientIdent: 'SSH-2.0-OpenSSH_10.0' } as const
const outcome = { bytes: 0, reason: 'ended' } as const

/** Somebody's connection on a worker, and how far an honest worker brings it. */
async function loggedIn(monitor: Monitor, who?: Somebody) {
  const somebody = who ?? (await fixture.somebody())
  const id = fixture.connect(monitor)
  const client = await monitor.login(id, somebody.attempt(id))
  expect(client).toMatchObject({ tenant: somebody.tenant, oneTooMany: false })
  return { somebody, id }
}

async function authorized(monitor: Monitor, who?: Somebody) {
  const login = await loggedIn(monitor, who)
  const authorization = allowed(await monitor.authorize(login.id, 'shell'))
  return { ...login, authorization }
}

async function started(monitor: Monitor, who?: Somebody) {
  const one = await authorized(monitor, who)
  const { session } = await monitor.startSession(one.id, one.authorization.id, facts)
  return { ...one, session }
}

/** What a host shows of a key exchange in which it took part. */
function proofOf(host: TestKey, exchangeHash: Buffer) {
  return { hostKey: host.blob, signature: host.sign(exchangeHash) }
}

async function leased(monitor: Monitor) {
  const one = await started(monitor)
  const lease = await monitor.leaseKey(one.id, one.authorization.id, one.session)
  const { login } = one.authorization
  const exchangeHash = randomBytes(32)
  const signedData = encodeUserauthRequest({
    exchangeHash,
    user: login,
    algorithm: 'rsa-sha2-512',
    key: lease.publicKey,
  })
  return {
    ...one,
    lease,
    signedData,
    exchangeHash,
    proof: proofOf(one.somebody.host, exchangeHash),
  }
}

const types = async ({ tenant }: Somebody) =>
  (await product.audit.tail(tenant, { limit: 100 })).map(({ type }) => type)

test('takes a worker through a session, step by step', async () => {
  const monitor = fixture.monitor()
  const { somebody, id, lease, signedData, session, proof } = await leased(monitor)
  const signature = await monitor.sign(id, lease.id, signedData, 'rsa-sha2-512', proof)
  expect(signature.toString('latin1')).toContain('rsa-sha2-512')
  await monitor.endSession(id, session, outcome)
  expect(await types(somebody)).toEqual(
    expect.arrayContaining(['login.success', 'session.start', 'key.use', 'session.end']),
  )
  expect(monitor.sessions).toBe(0)
  monitor.close(id)
  expect(monitor.connections).toBe(0)
})

describe('attack: a worker that was taken over', () => {
  /** A refusal that counts against the worker. */
  async function expectForged(answer: Promise<unknown>, what: string) {
    await expect(answer).rejects.toThrow(RequestForged)
    await expect(answer).rejects.not.toThrow(RequestCrossed)
    await expect(answer).rejects.toThrow(what)
  }

  /** A refusal that an honest worker may meet, when its request crosses with an end. */
  async function expectRefused(answer: Promise<unknown>, what: string) {
    await expect(answer).rejects.toThrow(RequestCrossed)
    await expect(answer).rejects.toThrow(what)
  }

  test('makes up a connection', async () => {
    const monitor = fixture.monitor()
    const somebody = await fixture.somebody()
    const invented = randomUUID() as ConnectionId
    await expectRefused(monitor.login(invented, somebody.attempt(invented)), 'a connection')
    await expectRefused(monitor.authorize(invented, 'shell'), 'a connection')
    expect(await types(somebody)).not.toContain('login.success')
  })

  test('asks on a connection of another worker’s', async () => {
    const [own, other] = [fixture.monitor(), fixture.monitor()]
    const { id, authorization } = await authorized(other)
    await expectRefused(own.authorize(id, 'shell'), 'a connection')
    await expectRefused(own.startSession(id, authorization.id, facts), 'a connection')
    // Whoever serves it gets it.
    expect(await other.startSession(id, authorization.id, facts)).toHaveProperty('session')
  })

  test('opens what somebody may who has not logged in', async () => {
    const monitor = fixture.monitor()
    const id = fixture.connect(monitor)
    await expectForged(monitor.authorize(id, 'shell'), 'a login')
  })

  test('lets somebody in whose signature is bad, or is another’s', async () => {
    const monitor = fixture.monitor()
    const somebody = await fixture.somebody()
    const stranger = await fixture.somebody()
    const id = fixture.connect(monitor)
    const good = somebody.attempt(id)
    const bent = Buffer.from(good.signature)
    bent[bent.length - 1] = (bent.at(-1) ?? 0) ^ 1
    expect(await monitor.login(id, { ...good, signature: bent })).toBeUndefined()
    const { signature } = signed(stranger.key, { signedData: good.signedData })
    expect(await monitor.login(id, { ...good, signature })).toBeUndefined()
    // Of one tenant, for another.
    const crossed = { ...good, user: stranger.slug }
    expect(await monitor.login(id, crossed)).toBeUndefined()
    await expectForged(monitor.authorize(id, 'shell'), 'a login')
    expect(await monitor.login(id, good)).toBeDefined()
  })

  test('says that a user name was another than the one that was signed', async () => {
    const monitor = fixture.monitor()
    const somebody = await fixture.somebody()
    await product.access.addTarget(somebody.tenant, newTarget('db1'), actor)
    const id = fixture.connect(monitor)
    const attempt = somebody.attempt(id, `${somebody.slug}+web1`)
    expect(await monitor.login(id, { ...attempt, user: `${somebody.slug}+db1` })).toBeUndefined()
  })

  test('uses a login again that came through it, also after a restart or a day later', async () => {
    const monitor = fixture.monitor()
    const somebody = await fixture.somebody()
    const [first, second] = [fixture.connect(monitor), fixture.connect(monitor)]
    const attempt = somebody.attempt(first)
    expect(await monitor.login(first, attempt)).toBeDefined()
    await expectForged(monitor.login(first, attempt), 'a second login')
    await expectForged(monitor.login(second, attempt), 'another connection')
    // Nothing is remembered of it, so a monitor made anew stands for a restart and for any time later.
    monitor.close(first)
    const later = new Monitor({ ...fixture.deps })
    await expectForged(later.login(fixture.connect(later), attempt), 'another connection')
  })

  test('shows another key exchange with a login than the one that was signed', async () => {
    const monitor = fixture.monitor()
    const somebody = await fixture.somebody()
    const old = somebody.attempt(fixture.connect(monitor))
    const id = fixture.connect(monitor)
    const { exchange = undefined } = somebody.attempt(id)
    if (exchange === undefined) throw new Error('a login has an exchange')
    const { exchange: _none, ...unbound } = old
    const forgeries = [
      // The exchange of this connection, which the client did not sign.
      { ...old, exchange },
      { ...old, exchange: { ...exchange, hash: 'sha512' as const } },
      // Bytes of the one that it signed, moved or cut.
      { ...old, exchange: { hash: 'sha256' as const, input: exchange.input.subarray(1) } },
      { ...old, exchange: { hash: 'sha256' as const, input: Buffer.alloc(0) } },
      unbound,
    ]
    for (const forged of forgeries) {
      const again = fixture.connect(monitor)
      await expectForged(monitor.login(again, forged), 'another connection')
    }
  })

  test('keeps a connection open to use a login of later', async () => {
    // The time of the connection is over long ago.
    const monitor = new Monitor({ ...fixture.deps, loginGraceMs: -200_000 })
    const somebody = await fixture.somebody()
    const id = fixture.connect(monitor)
    await expect(monitor.login(id, somebody.attempt(id))).rejects.toThrow('the time to log in')
  })

  test('logs in twice on one connection, also at once', async () => {
    const monitor = fixture.monitor()
    const { id } = await loggedIn(monitor)
    const stranger = await fixture.somebody()
    await expectForged(monitor.login(id, stranger.attempt(id)), 'a second login')
    const fresh = fixture.connect(monitor)
    const both = await Promise.allSettled([
      monitor.login(fresh, stranger.attempt(fresh)),
      monitor.login(fresh, (await fixture.somebody()).attempt(fresh)),
    ])
    expect(both.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
  })

  test('makes up an authorization, or takes that of another connection', async () => {
    const monitor = fixture.monitor()
    const one = await authorized(monitor)
    const two = await authorized(monitor)
    await expectRefused(monitor.startSession(one.id, randomUUID(), facts), 'an authorization')
    await expectForged(
      monitor.startSession(one.id, two.authorization.id, facts),
      'an authorization',
    )
    await expectForged(
      monitor.checkHostKey(one.id, two.authorization.id, Buffer.alloc(51)),
      'an authorization',
    )
    expect(await types(two.somebody)).not.toContain('session.start')
  })

  test('starts two sessions with one authorization', async () => {
    const monitor = fixture.monitor()
    const { somebody, id, authorization } = await started(monitor)
    await expect(monitor.startSession(id, authorization.id, facts)).rejects.toThrow()
    const starts = (await types(somebody)).filter((type) => type === 'session.start')
    expect(starts).toHaveLength(1)
  })

  test('starts another kind of session than it asked leave for', async () => {
    const monitor = fixture.monitor()
    const { id, authorization } = await authorized(monitor)
    await expect(
      monitor.startSession(id, authorization.id, { ...facts, kind: 'sftp' }),
    ).rejects.toThrow()
  })

  test('changes what it was allowed', async () => {
    const monitor = fixture.monitor()
    const { id, authorization } = await authorized(monitor)
    // It holds a copy: what is in it is for it to read, and its name is all that is taken of it.
    Object.assign(authorization.target as { host: string }, { host: '203.0.113.66' })
    const { session } = await monitor
      .startSession(id, authorization.id, facts)
      .catch(() => ({ session: undefined }))
    if (session !== undefined) {
      const found = await product.access.findTarget((authorization as Authorization).tenant, 'web1')
      expect(found?.host).toBe('192.0.2.7')
    }
  })

  test('takes a key without a session, or of another’s session', async () => {
    const monitor = fixture.monitor()
    const one = await authorized(monitor)
    const two = await started(monitor)
    const invented = randomUUID() as SessionId
    await expectRefused(monitor.leaseKey(one.id, one.authorization.id, invented), 'a session')
    await expectForged(monitor.leaseKey(one.id, one.authorization.id, two.session), 'a session')
    await expectForged(monitor.leaseKey(one.id, two.authorization.id, two.session), 'authorization')
    expect(await types(two.somebody)).not.toContain('key.use')
  })

  test('has something signed with a lease of another connection, or twice with its own', async () => {
    const monitor = fixture.monitor()
    const one = await leased(monitor)
    const two = await started(monitor)
    const ask = (id: ConnectionId, data = one.signedData) =>
      monitor.sign(id, one.lease.id, data, 'rsa-sha2-512', one.proof)
    await expectForged(ask(two.id), 'a key')
    const invented = monitor.sign(one.id, randomUUID(), one.signedData, 'rsa-sha2-512', one.proof)
    await expectRefused(invented, 'a key')
    expect(await ask(one.id)).toBeInstanceOf(Buffer)
    await expectRefused(ask(one.id), 'a key')
  })

  test('has something else signed than a login as whom it may be', async () => {
    const monitor = fixture.monitor()
    for (const bend of [
      () => Buffer.from('an update of firmware, for example'),
      (data: Buffer) => Buffer.concat([data, Buffer.from([0])]),
      (data: Buffer) => Buffer.from(data.toString('latin1').replace('root', 'toor'), 'latin1'),
    ]) {
      const { id, lease, signedData, somebody, proof } = await leased(monitor)
      await expect(
        monitor.sign(id, lease.id, bend(signedData), 'rsa-sha2-512', proof),
      ).rejects.toThrow()
      expect(await types(somebody)).not.toContain('key.use')
    }
  })

  test('takes a login for one host to another that the same key opens', async () => {
    const monitor = fixture.monitor()
    const elsewhere = makeKey()
    const proofs: ((one: Awaited<ReturnType<typeof leased>>) => HostProof)[] = [
      // It has dialled another host, and that one has proved itself.
      ({ exchangeHash }) => proofOf(elsewhere, exchangeHash),
      // It says that it was the one on record.
      ({ exchangeHash, somebody }) => ({
        hostKey: somebody.host.blob,
        signature: elsewhere.sign(exchangeHash),
      }),
      // Which has proved itself in another exchange.
      ({ somebody }) => proofOf(somebody.host, randomBytes(32)),
      ({ somebody }) => ({ hostKey: somebody.host.blob, signature: Buffer.alloc(0) }),
    ]
    for (const wrong of proofs) {
      const one = await leased(monitor)
      const answer = monitor.sign(one.id, one.lease.id, one.signedData, 'rsa-sha2-512', wrong(one))
      await expectForged(answer, 'another host')
      expect(await types(one.somebody)).not.toContain('key.use')
    }
    const { id, lease, signedData, proof } = await leased(monitor)
    await monitor.sign(id, lease.id, signedData, 'rsa-sha2-512', proof)
  })

  test('ends a session of somebody else’s, or its own twice', async () => {
    const monitor = fixture.monitor()
    const one = await started(monitor)
    const two = await started(monitor)
    await expectForged(monitor.endSession(one.id, two.session, outcome), 'a session')
    expect(await types(two.somebody)).not.toContain('session.end')
    await monitor.endSession(two.id, two.session, outcome)
    await expectRefused(monitor.endSession(two.id, two.session, outcome), 'a session')
    const ends = (await types(two.somebody)).filter((type) => type === 'session.end')
    expect(ends).toHaveLength(1)
  })

  test('keeps a session open whose connection it says has closed', async () => {
    const monitor = fixture.monitor()
    const { somebody, id } = await started(monitor)
    monitor.close(id)
    // It is still known, so that its end can be told.
    expect(monitor.sessions).toBe(1)
    await monitor.lost()
    expect(monitor.sessions).toBe(0)
    expect(await types(somebody)).toContain('session.end')
  })

  test('asks without end', async () => {
    const monitor = fixture.monitor()
    const { id } = await loggedIn(monitor)
    let given = 0
    const refused = await (async () => {
      for (;;) {
        const answer = await monitor.authorize(id, 'shell')
        if ('denied' in answer) return answer
        if (++given > 5000) return undefined
      }
    })().catch((err: unknown) => err)
    expect(refused).toBeDefined()
    expect(given).toBeGreaterThan(100)
  })
})

describe('a session that was killed', () => {
  test('attack: is gone on with by a worker that ignores it', async () => {
    const monitor = fixture.monitor()
    const one = await leased(monitor)
    const { id, session, lease, signedData, proof, authorization } = one
    monitor.kill(session, 'an operator said so')
    const refused = (answer: Promise<unknown>) =>
      expect(answer).rejects.toThrow('an operator said so')
    await refused(monitor.sign(id, lease.id, signedData, 'rsa-sha2-512', proof))
    await refused(monitor.leaseKey(id, authorization.id, session))
    await refused(monitor.upstreamOpened(id, authorization.id, session))
    await refused(monitor.openForward(id, session, { kind: 'agent' }))
    expect(await types(one.somebody)).not.toContain('key.use')
    expect(monitor.hasSession(session)).toBe(true)
    await monitor.endSession(id, session, outcome)
    expect(monitor.hasSession(session)).toBe(false)
  })

  test('attack: is said to be open by an authorization that it was not started with', async () => {
    const monitor = fixture.monitor()
    const { id, session, authorization, somebody } = await leased(monitor)
    const other = await monitor.authorize(id, 'shell')
    if ('denied' in other) throw new Error('refused')
    await expect(monitor.upstreamOpened(id, other.id, session)).rejects.toThrow(RequestForged)
    expect(await types(somebody)).not.toContain('session.open')
    // Control: its own says so, once.
    await monitor.upstreamOpened(id, authorization.id, session)
    await monitor.upstreamOpened(id, authorization.id, session)
    const opened = (await types(somebody)).filter((type) => type === 'session.open')
    expect(opened).toHaveLength(1)
  })

  test('attack: has a key signed for it, or leased, after its end', async () => {
    const monitor = fixture.monitor()
    const { id, session, lease, signedData, proof } = await leased(monitor)
    await monitor.endSession(id, session, outcome)
    const answer = monitor.sign(id, lease.id, signedData, 'rsa-sha2-512', proof)
    await expect(answer).rejects.toThrow(RequestForged)
  })

  test('has one key at a time', async () => {
    const monitor = fixture.monitor()
    const { id, session, authorization, lease, signedData, proof } = await leased(monitor)
    await monitor.leaseKey(id, authorization.id, session)
    const answer = monitor.sign(id, lease.id, signedData, 'rsa-sha2-512', proof)
    await expect(answer).rejects.toThrow('a key')
  })
})

describe('attack: what a worker leaves behind', () => {
  test('a session whose forwards cannot be ended on record ends all the same', async () => {
    const failing = { ...product.access, closeForward: () => Promise.reject(new Error('away')) }
    const monitor = new Monitor({
      ...fixture.deps,
      access: { ...failing, permit: async () => undefined },
      guard: {
        judge: async (asked) => asked,
        judgePath: async (path) => ({ path }),
        problemOfListenPath: async () => undefined,
        problemOfListenPort: () => undefined,
      },
    })
    const { id, session, somebody } = await started(monitor)
    await monitor.openForward(id, session, {
      kind: 'forward',
      host: 'example.org',
      port: 80,
      peer: '192.0.2.7',
    })
    await monitor.endSession(id, session, outcome)
    expect(await types(somebody)).toContain('session.end')
  })

  test('the end of a forward that the log does not take is put on record later', async () => {
    let isAway = false
    const { closeForward } = product.access
    const monitor = fixture.monitor({
      access: {
        ...product.access,
        permit: async () => undefined,
        closeForward: (...args) =>
          isAway ? Promise.reject(new Error('away')) : closeForward(...args),
      },
    })
    const { id, session, somebody } = await started(monitor)
    const wish = { kind: 'forward', host: '192.0.2.9', port: 80, peer: '192.0.2.7' } as const
    const opened = await monitor.openForward(id, session, wish)
    const forward = 'forward' in opened ? opened.forward : ''
    isAway = true
    const end = { bytesIn: 3, bytesOut: 4, ended: 'ended' } as const
    await expect(monitor.closeForward(id, forward, end)).rejects.toThrow('away')
    isAway = false
    await expect.poll(() => types(somebody)).toContain('forward.close')
  })

  test('its sessions are ended on record when the database is back', async () => {
    let isAway = true
    const monitor = new Monitor({
      ...fixture.deps,
      access: {
        ...product.access,
        interruptSessions: (unended, mend) =>
          isAway
            ? Promise.reject(new Error('away'))
            : product.access.interruptSessions(unended, mend),
      },
    })
    const { somebody } = await started(monitor)
    await monitor.lost()
    expect(await types(somebody)).not.toContain('session.end')
    isAway = false
    await expect.poll(() => types(somebody)).toContain('session.end')
  })

  test('a session that was being started counts for nobody', async () => {
    const sessionsOf = new Headcount(1)
    const monitor = new Monitor({ ...fixture.deps, sessionsOf })
    const { id, authorization, somebody } = await authorized(monitor)
    const starting = monitor.startSession(id, authorization.id, facts)
    await monitor.lost()
    await expect(starting).rejects.toThrow(RequestForged)
    expect(await types(somebody)).toContain('session.end')
    expect(sessionsOf.enter(authorization.user.id)).toBe(true)
  })

  test('a login that was being looked at lets nobody in', async () => {
    const monitor = fixture.monitor()
    const somebody = await fixture.somebody()
    const id = fixture.connect(monitor)
    const login = monitor.login(id, somebody.attempt(id))
    await monitor.lost()
    await expect(login).rejects.toThrow(RequestForged)
  })
})

test('attack: a worker tries logins without end on one connection', async () => {
  const monitor = fixture.monitor()
  const somebody = await fixture.somebody()
  const id = fixture.connect(monitor)
  const bad = { ...somebody.attempt(id), signature: Buffer.alloc(83) }
  const tries = await Promise.allSettled(Array.from({ length: 50 }, () => monitor.login(id, bad)))
  expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(6)
  await expect(monitor.login(id, somebody.attempt(id))).rejects.toThrow('too often')
})

describe('a forward that is not allowed any more', () => {
  const wish = { kind: 'agent' } as const

  async function lending(monitor: Monitor) {
    const one = await started(monitor)
    const { tenant } = one.somebody
    await product.access.addGrant(tenant, { user: 'demo', target: 'web1', allow: ['agent'] }, actor)
    return one
  }

  async function opened(monitor: Monitor, id: ConnectionId, session: SessionId) {
    const answer = await monitor.openForward(id, session, wish)
    if ('denied' in answer) throw new Error(answer.message)
    return answer.forward
  }

  const closes = async ({ tenant }: Somebody) =>
    (await product.audit.tail(tenant, { limit: 100 })).filter(
      ({ type }) => type === 'forward.close',
    )

  test('ends for the reason that was given, whatever its worker says', async () => {
    const monitor = fixture.monitor()
    const { id, session, somebody } = await lending(monitor)
    const forward = await opened(monitor, id, session)
    const other = await opened(monitor, id, session)
    expect(monitor.revokeForward(randomUUID(), 'no grant any more')).toBe(false)
    expect(fixture.monitor().revokeForward(forward, 'no grant any more')).toBe(false)
    expect(monitor.revokeForward(forward, 'no grant any more')).toBe(true)
    const end = { bytesIn: 3, bytesOut: 4, ended: 'ended' } as const
    await monitor.closeForward(id, forward, end)
    expect(monitor.hasForward(forward)).toBe(false)
    await monitor.closeForward(id, other, end)
    expect(await closes(somebody)).toMatchObject([
      {
        public: { forward, ended: 'revoked', bytesIn: '3' },
        private: { reason: 'no grant any more' },
      },
      { public: { forward: other, ended: 'ended' } },
    ])
    // The session goes on.
    expect(monitor.hasSession(session)).toBe(true)
    await opened(monitor, id, session)
  })

  test('attack: is taken away while it is being opened', async () => {
    let revoke = (_forward: string) => {}
    const monitor = new Monitor({
      ...fixture.deps,
      access: {
        ...product.access,
        async openForward(identity, place, forward) {
          await product.access.openForward(identity, place, forward)
          revoke(forward.id)
        },
      },
    })
    const { id, session, somebody } = await lending(monitor)
    await opened(monitor, id, session)
    revoke = (forward) => void monitor.revokeForward(forward, 'no grant any more')
    await expect(opened(monitor, id, session)).rejects.toThrow('your access ended')
    expect(await closes(somebody)).toMatchObject([{ public: { ended: 'revoked' } }])
  })

  test('attack: stays open until its worker is gone', async () => {
    const monitor = fixture.monitor()
    const { id, session, somebody } = await lending(monitor)
    const forward = await opened(monitor, id, session)
    await opened(monitor, id, session)
    monitor.revokeForward(forward, 'no grant any more')
    await monitor.lost()
    const ends = (await closes(somebody)).map(({ public: { ended } }) => ended)
    expect(ends.toSorted()).toEqual(['interrupted', 'revoked'])
    for (const { public: facts } of await closes(somebody)) {
      expect(facts).toMatchObject({ bytesIn: 'unknown', bytesOut: 'unknown' })
    }
  })

  test('attack: is one of more than a connection may have, asked for at once', async () => {
    const monitor = fixture.monitor()
    const { id, session } = await lending(monitor)
    const all = await Promise.allSettled(
      Array.from({ length: 80 }, () => opened(monitor, id, session)),
    )
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(64)
  })
})

test('attack: a name is looked up for whoever may not forward', async () => {
  const asked: string[] = []
  const guard = {
    judgePath: async (path: string) => ({ path }),
    problemOfListenPath: async () => undefined,
    problemOfListenPort: () => undefined,
    judge: async (destination: { readonly host: string; readonly port: number }) => {
      asked.push(destination.host)
      return destination
    },
  }
  const monitor = new Monitor({ ...fixture.deps, guard })
  const { id, session } = await started(monitor)
  const wish = {
    kind: 'forward',
    host: 'slow.attacker.example',
    port: 80,
    peer: '192.0.2.7',
  } as const
  expect(await monitor.openForward(id, session, wish)).toHaveProperty('denied')
  expect(asked).toEqual([])
})

test('attack: a target on this host is asked to listen at a port of the bastion', async () => {
  const guard = new ForwardGuard(() => ({ ports: [4100], directories: [] }))
  const monitor = fixture.monitor({
    access: { ...product.access, permit: async () => undefined },
    guard,
  })
  const { id, session } = await started(monitor)
  const listen = (port: number) =>
    monitor.openForward(id, session, {
      kind: 'remote-forward',
      host: '::1',
      port,
      peer: '127.0.0.1',
    })
  expect(await listen(4100)).toHaveProperty('denied')
  expect(await listen(4101)).toHaveProperty('forward')
  const nowhere = { kind: 'remote-forward', host: '::1', port: 4101 } as const
  await expect(monitor.openForward(id, session, nowhere)).rejects.toThrow(RequestForged)
})

test('attack: a user with many connections has as many forwards and unused authorizations as one may', async () => {
  const monitor = fixture.monitor({
    access: { ...product.access, permit: async () => undefined },
    forwardsPerUserMax: 3,
    unusedPerUserMax: 2,
  })
  const somebody = await fixture.somebody()
  const connect = async () => {
    const id = fixture.connect(monitor)
    await monitor.login(id, somebody.attempt(id))
    return id
  }
  const [one, two] = [await connect(), await connect()]
  const start = async (id: ConnectionId) => {
    const { id: authorization } = allowed(await monitor.authorize(id, 'shell'))
    return (await monitor.startSession(id, authorization, facts)).session
  }
  const [first, second] = [await start(one), await start(two)]
  const forward = { kind: 'forward', host: '192.0.2.8', port: 80, peer: '192.0.2.7' } as const
  await monitor.openForward(one, first, forward)
  await monitor.openForward(one, first, forward)
  await monitor.openForward(two, second, forward)
  await expect(monitor.openForward(two, second, forward)).rejects.toThrow(/^you have the largest/)
  await monitor.authorize(one, 'shell')
  await monitor.authorize(two, 'shell')
  await expect(monitor.authorize(two, 'shell')).rejects.toMatchObject({ code: 'ERR_SESSION_LIMIT' })
  // Those of a colleague are their own.
  const colleague = await loggedIn(monitor)
  expect(await monitor.authorize(colleague.id, 'shell')).toHaveProperty('id')
})

describe('attack: a forward is asked for in a spelling that the target would read otherwise', () => {
  test.each([
    ['a name behind a NUL', '127.0.0.1\0.internal'],
    ['an octal address', '0177.0.0.1'],
    ['a mapped address', '::ffff:127.0.0.1'],
    ['capitals', 'DB.internal'],
    ['a dot at the end', 'db.internal.'],
    ['a line break', 'db\n'],
    ['nothing', ''],
  ])('%s', async (_, host) => {
    const monitor = fixture.monitor()
    const { id, session } = await started(monitor)
    const wish = { kind: 'forward', host, port: 80, peer: '192.0.2.7' } as const
    await expect(monitor.openForward(id, session, wish)).rejects.toThrow(RequestForged)
  })
})

test('attack: a worker opens jumps, and says that each of them broke the protocol', async () => {
  const penalties = new Penalties(parseConfig({}).limits.penalties)
  const monitor = fixture.monitor({ penalties, worker: 1 })
  const { id } = await loggedIn(monitor)
  for (let count = 0; count < 40; count++) {
    const jump = await monitor.openJump(id, { host: 'web1', port: 22 })
    if (jump === undefined || 'denied' in jump) throw new Error('no jump')
    monitor.left(jump.connection, 'invalid')
    monitor.close(jump.connection)
  }
  expect([penalties.size, penalties.isHeld('198.51.100.4')]).toEqual([0, false])
  // Of connections that came from there, each counts once, until the worker ends.
  const [one, two] = [fixture.connect(monitor), fixture.connect(monitor)]
  for (let count = 0; count < 10; count++) monitor.left(one, 'invalid')
  expect(penalties.isHeld('198.51.100.4')).toBe(false)
  monitor.left(two, 'invalid')
  expect(penalties.isHeld('198.51.100.4')).toBe(true)
  await monitor.lost()
  expect(penalties.isHeld('198.51.100.4')).toBe(false)
})

test('what a lost worker left is on record, and its people may come again', async () => {
  const monitor = fixture.monitor()
  const { somebody, session } = await started(monitor)
  await monitor.lost()
  expect(monitor.connections).toBe(0)
  const events = await product.audit.tail(somebody.tenant, { limit: 100 })
  expect(events.find(({ type }) => type === 'session.end')).toMatchObject({
    public: { session, ended: 'interrupted' },
  })
  await started(fixture.monitor(), somebody)
})

describe('a jump', () => {
  const web1 = { host: 'web1', port: 22 }

  async function jumped(monitor: Monitor, who?: Somebody) {
    const one = await loggedIn(monitor, who)
    const jump = await monitor.openJump(one.id, web1)
    if (jump === undefined || 'denied' in jump) throw new Error('no jump')
    return { ...one, jump }
  }

  test('is opened, entered, and used, and ends with its outer connection', async () => {
    const monitor = fixture.monitor()
    const { somebody, id, jump } = await jumped(monitor)
    expect(jump.target).toBe('web1')
    const parsed = parseCertificate(jump.certificate ?? Buffer.alloc(0))
    expect(parsed).toMatchObject({
      certificate: { kind: 'host', principals: ['web1', `web1.${somebody.slug}`, '192.0.2.7'] },
    })
    expect(await monitor.enterJump(jump.connection, 'whoever')).toMatchObject({
      tenant: somebody.tenant,
    })
    const authorization = allowed(await monitor.authorize(jump.connection, 'shell'))
    expect(authorization.target.name).toBe('web1')
    expect(monitor.connections).toBe(2)
    monitor.close(id)
    expect(monitor.connections).toBe(0)
    await expect(monitor.authorize(jump.connection, 'shell')).rejects.toThrow(RequestForged)
  })

  test('shows the same certificate to the next', async () => {
    const monitor = fixture.monitor()
    const { somebody, jump } = await jumped(monitor)
    const again = await jumped(monitor, somebody)
    expect(again.jump.certificate?.equals(jump.certificate ?? Buffer.alloc(0))).toBe(true)
    const issued = (await types(somebody)).filter((type) => type === 'cert.issue')
    expect(issued).toHaveLength(1)
  })

  test('attack: is made up, taken from another, entered twice, or used before it is entered', async () => {
    const monitor = fixture.monitor()
    const stranger = fixture.connect(monitor)
    const forged = (answer: Promise<unknown>) => expect(answer).rejects.toThrow(RequestForged)
    await forged(monitor.openJump(stranger, web1))
    await forged(monitor.openJump(randomUUID() as ConnectionId, web1))
    await forged(monitor.enterJump(randomUUID() as ConnectionId, 'root'))
    const { id, jump, somebody } = await jumped(monitor)
    // The outer one is no jump, and a jump takes no login of anybody's.
    await forged(monitor.enterJump(id, 'root'))
    await forged(monitor.login(jump.connection, somebody.attempt(jump.connection)))
    await forged(monitor.authorize(jump.connection, 'shell'))
    const other = fixture.monitor()
    await forged(other.enterJump(jump.connection, 'root'))
    await monitor.enterJump(jump.connection, 'root')
    await forged(monitor.enterJump(jump.connection, 'root'))
  })

  test('attack: leads on to a target, or there are too many', async () => {
    const monitor = fixture.monitor()
    const { id, jump } = await jumped(monitor)
    await monitor.enterJump(jump.connection, 'root')
    expect(await monitor.openJump(jump.connection, web1)).toMatchObject({ denied: 'chained' })
    for (let more = 1; more < 16; more++) await monitor.openJump(id, web1)
    await expect(monitor.openJump(id, web1)).rejects.toThrow('16 jumps')
    monitor.close(jump.connection)
    expect(await monitor.openJump(id, web1)).toMatchObject({ target: 'web1' })
  })

  test('attack: proves no target by the key that it shows in the name of one', async () => {
    const monitor = fixture.monitor()
    const { somebody } = await jumped(monitor)
    const target = await product.access.findTarget(somebody.tenant, 'web1')
    if (target === undefined) throw new Error('no target')
    const own = makeKey()
    const wish = { target, publicKey: own.blob, names: ['web1'], ttlSeconds: 3600 }
    const by = { actor: 'cli', actorKind: 'operator' }
    const certified = { ...target, hostCertified: true }
    const proves = async (standsIn: boolean) => {
      const { blob } = await product.ca.issueHost(somebody.tenant, { ...wish, standsIn }, by)
      const place = { id: somebody.tenant, slug: somebody.slug }
      return isHostKeyOf(product.database, product.ca, place, certified, blob)
    }
    expect(await proves(true)).toBe(false)
    expect(await proves(false)).toBe(true)
  })
})
