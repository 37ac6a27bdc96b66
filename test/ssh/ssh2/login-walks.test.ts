import { generateKeyPairSync, sign } from 'node:crypto'
import { duplexPair } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import {
  type AuthAttempt,
  createSshServer,
  generateHostKey,
  publicKeyBlob,
  verifyUserSignature,
  Writer,
} from '../../../src/ssh/index.ts'
import { Attacker, authRequest, msg, publicKeyFields } from '../../support/ssh-attacker.ts'
import {
  channelData,
  channelMsg,
  channelRequest,
  openChannel,
  signedLogin,
} from '../../support/ssh-lab.ts'
import { silent } from '../../support/ssh-pair.ts'

/** Strangers who send what they like in the order they like: nothing but a good signature lets in. */
const victim = generateKeyPairSync('ed25519')
const mine = generateKeyPairSync('ed25519')
const victimKey = publicKeyBlob(victim.publicKey)
const myKey = publicKeyBlob(mine.publicKey)

const offer = (key: Buffer) =>
  authRequest('acme', 'publickey', publicKeyFields('ssh-ed25519', key, false))

/** The key of one in front of a signature by another, over this connection and all that is asked. */
function misSigned(sessionId: Buffer, bare?: Buffer): Buffer {
  const request = authRequest('acme', 'publickey', publicKeyFields('ssh-ed25519', victimKey, true))
  const data = new Writer().string(sessionId).bytes(request).build()
  const signature = new Writer()
    .text('ssh-ed25519')
    .string(bare ?? sign(null, data, mine.privateKey))
    .build()
  return new Writer().bytes(request).string(signature).build()
}

const steps: Readonly<Record<string, (attacker: Attacker) => Buffer>> = {
  service: () => new Writer().u8(msg.serviceRequest).text('ssh-userauth').build(),
  'service connection': () => new Writer().u8(msg.serviceRequest).text('ssh-connection').build(),
  none: () => authRequest('acme', 'none'),
  password: () =>
    authRequest('acme', 'password', new Writer().boolean(false).text('secret').build()),
  'empty password': () =>
    authRequest('acme', 'password', new Writer().boolean(false).text('').build()),
  'new password': () =>
    authRequest('acme', 'password', new Writer().boolean(true).text('a').text('b').build()),
  'offer of the victim': () => offer(victimKey),
  'offer of mine': () => offer(myKey),
  'victim, signed by me': ({ sessionId }) => misSigned(sessionId),
  'victim, signed by nobody': ({ sessionId }) => misSigned(sessionId, Buffer.alloc(0)),
  'victim, cut signature': ({ sessionId }) => misSigned(sessionId, Buffer.alloc(63)),
  mine: ({ sessionId }) => signedLogin(sessionId, 'acme', mine),
  'keyboard-interactive': () =>
    authRequest('acme', 'keyboard-interactive', new Writer().text('').text('').build()),
  answers: () => new Writer().u8(msg.authInfoResponse).u32(1).text('000000').build(),
  'no answers': () => new Writer().u8(msg.authInfoResponse).u32(0).build(),
  hostbased: () => {
    const host = new Writer().text('ssh-ed25519').string(myKey).text('h').text('root')
    return authRequest('acme', 'hostbased', host.string(Buffer.alloc(83)).build())
  },
  success: () => Buffer.of(msg.authSuccess),
  failure: () => new Writer().u8(msg.authFailure).text('publickey').boolean(true).build(),
  'open session': () => openChannel(0),
  exec: () => channelRequest(0, 'exec', true, new Writer().text('id').build()),
  data: () => channelData(0, 'x'),
  forward: () =>
    new Writer().u8(msg.globalRequest).text('tcpip-forward').boolean(true).text('').u32(0).build(),
  'ext-info': () => new Writer().u8(msg.extInfo).u32(0).build(),
  'new keys': () => Buffer.of(msg.newKeys),
  'key exchange': (attacker) => attacker.makeKexInit(),
}

/** What only somebody who is in may see. */
const privileges: readonly (number | undefined)[] = [
  ...[msg.authSuccess, 81, channelMsg.confirmation, channelMsg.adjust, channelMsg.data],
  ...[channelMsg.extendedData, channelMsg.request, channelMsg.success],
]

interface Walked {
  readonly seen: readonly (number | undefined)[]
  readonly accepted: readonly AuthAttempt[]
}

/** Each walk on a server of its own, whose answers take a moment, as a database does. */
async function walk(
  names: readonly string[],
  isSomebody: (attempt: AuthAttempt) => boolean,
): Promise<Walked> {
  const [ours, theirs] = duplexPair()
  const accepted: AuthAttempt[] = []
  const server = createSshServer({
    hostKeys: [hostKey],
    ident: 'VaultTerm',
    loginGraceMs: 60_000,
    authTriesMax: 6,
    channelsMax: 8,
    log: silent,
  })
  server.serve(ours, {
    async authenticate(attempt) {
      await setImmediate()
      const good = isSomebody(attempt)
      if (good) accepted.push(attempt)
      return good
    },
    ready: (connection) => {
      connection.onChannelOpen = (open) => open.accept()
    },
  })
  const attacker = new Attacker(theirs)
  await attacker.handshake()
  attacker.send(...names.map((name) => steps[name]?.(attacker) ?? Buffer.alloc(0)))
  await isQuiet(attacker)
  const seen = attacker.received.map(([type]) => type)
  attacker.end()
  ours.destroy()
  return { seen, accepted }
}

/** Nothing here waits for a clock: whoever has said nothing for so many turns has no more to say. */
async function isQuiet(attacker: Attacker): Promise<void> {
  for (let turns = 0, heard = 0; turns < 60 && !attacker.ended; turns++) {
    await setImmediate()
    if (attacker.received.length > heard) turns = 0
    heard = attacker.received.length
  }
}

const hostKey = generateHostKey()
const names = Object.keys(steps)
const walks = names.flatMap((first) =>
  names.flatMap((second) => [
    [first, second],
    ['service', first, second],
  ]),
)

async function walkAll(isSomebody: (attempt: AuthAttempt) => boolean) {
  const queue = [...walks]
  const results: { readonly path: string; readonly walked: Walked }[] = []
  const walker = async () => {
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      results.push({ path: path.join(' > '), walked: await walk(path, isSomebody) })
    }
  }
  await Promise.all(Array.from({ length: 40 }, walker))
  expect(results.length).toBe(2 * names.length ** 2)
  return results
}

const privileged = ({ walked }: { readonly walked: Walked }) =>
  walked.seen.some((type) => privileges.includes(type))

const isSigned = ({ key, algorithm, signature, signedData }: AuthAttempt) =>
  verifyUserSignature({ key, algorithm, signature, data: signedData })

test('AU-01 AU-03 AU-19 AU-22 AU-23 AU-24: no two steps let in who has not signed', async () => {
  const results = await walkAll((attempt) => attempt.key.equals(victimKey) && isSigned(attempt))
  expect(results.filter(privileged).map(({ path }) => path)).toEqual([])
})

test('AU-02 AU-25: who signs is who they are, whatever they offered before or asked beside', async () => {
  const results = await walkAll(isSigned)
  const letIn = results.filter(privileged)
  for (const { path, walked } of letIn) {
    expect([path, walked.accepted.map(({ key }) => key.equals(myKey))]).toEqual([path, [true]])
    expect(path.split(' > ')).toContain('mine')
  }
  // The control: the good signature does let in, also behind an offer of somebody else's key.
  expect(letIn.map(({ path }) => path)).toContain('service > offer of the victim > mine')
})

test('control: where nobody looks at signatures, the walks find a way in', async () => {
  const results = await walkAll(() => true)
  const paths = results.filter(privileged).map(({ path }) => path)
  expect(paths).toContain('service > offer of mine > victim, signed by me')
  expect(paths).toContain('service > none > victim, signed by nobody')
})
