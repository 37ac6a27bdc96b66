import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { expect, test } from 'vitest'
import {
  createSshServer,
  type Departure,
  generateHostKey,
  publicKeyBlob,
  verifyUserSignature,
  Writer,
} from '../../../src/ssh/index.ts'
import { Attacker, authRequest, msg, publicKeyFields } from '../../support/ssh-attacker.ts'
import { signedLogin } from '../../support/ssh-lab.ts'
import { silent } from '../../support/ssh-pair.ts'

/** How those who did not log in have left: what a penalty is for. */
function open({ loginGraceMs = 10_000, fails = false } = {}) {
  const left: Departure[] = []
  const server = createSshServer({
    hostKeys: [generateHostKey()],
    ident: 'VaultTerm',
    loginGraceMs,
    authTriesMax: 3,
    channelsMax: 8,
    log: silent,
  })
  const [ours, theirs] = duplexPair()
  server.serve(ours, {
    authenticate: async ({ key, algorithm, signature, signedData }) => {
      if (fails) throw new Error('the database is away')
      return verifyUserSignature({ key, algorithm, signature, data: signedData })
    },
    ready: () => {},
    left: (how) => left.push(how),
  })
  const attacker = new Attacker(theirs)
  const closed = once(ours, 'close')
  const gone = async () => {
    ours.destroy()
    await closed
    return left
  }
  return { attacker, ours, gone }
}

const { privateKey } = generateKeyPairSync('ed25519')
const forged = () =>
  new Writer()
    .bytes(
      authRequest(
        'somebody',
        'publickey',
        publicKeyFields('ssh-ed25519', publicKeyBlob(privateKey), true),
      ),
    )
    .string(
      new Writer()
        .text('ssh-ed25519')
        .string(sign(null, Buffer.from('x'), privateKey))
        .build(),
    )
    .build()

test('who says nothing, or asks and tries nothing, was silent', async () => {
  expect(await open().gone()).toEqual(['silent'])
  const asking = open()
  await asking.attacker.handshakeForLogin()
  asking.attacker.send(authRequest('somebody', 'none'))
  await asking.attacker.first(msg.authFailure)
  expect(await asking.gone()).toEqual(['silent'])
})

test('whose login failed was refused', async () => {
  const { attacker, gone } = open()
  await attacker.handshakeForLogin()
  attacker.send(forged())
  await attacker.first(msg.authFailure)
  expect(await gone()).toEqual(['refused'])
})

test('who logged in after a mistake has not left so', async () => {
  const { attacker, gone } = open()
  await attacker.handshakeForLogin()
  attacker.send(forged())
  await attacker.first(msg.authFailure)
  attacker.send(signedLogin(attacker.sessionId))
  await attacker.first(msg.authSuccess)
  expect(await gone()).toEqual([])
})

test('whose time ran out was late', async () => {
  const { attacker, ours, gone } = open({ loginGraceMs: 50 })
  attacker.sendIdent()
  await once(ours, 'close')
  expect(await gone()).toEqual(['late'])
})

test('who broke the protocol was invalid', async () => {
  const { attacker, gone } = open()
  await attacker.handshakeForLogin()
  attacker.send(Buffer.from([msg.authSuccess]))
  expect(await attacker.disconnectReason()).toBe(2)
  expect(await gone()).toEqual(['invalid'])
})

test('whom we could not decide about has done nothing', async () => {
  const { attacker, gone } = open({ fails: true })
  await attacker.handshakeForLogin()
  attacker.send(signedLogin(attacker.sessionId))
  expect(await attacker.disconnectReason()).toBe(11)
  expect(await gone()).toEqual([])
})
