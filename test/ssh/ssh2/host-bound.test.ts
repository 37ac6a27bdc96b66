import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import {
  type AuthAttempt,
  createSshServer,
  parseUserauthRequest,
  publicKeyBlob,
  type ServerHostKey,
  verifyUserSignature,
} from '../../../src/ssh/index.ts'
import { Reader, Writer } from '../../../src/ssh/wire.ts'
import { runProgram } from '../../support/program.ts'
import { Attacker, authRequest, msg, publicKeyFields } from '../../support/ssh-attacker.ts'
import { Authority } from '../../support/ssh-authority.ts'
import { echoSessions, listenForClients } from '../../support/ssh-listener.ts'
import { silent } from '../../support/ssh-pair.ts'

/** `publickey-hostbound-v00@openssh.com`: what is signed names the host that it is signed for. */
const authority = new Authority()
afterAll(() => authority.remove())
const plain = authority.newKey('ed25519')
const certified = {
  ...plain,
  certificate: authority.sign(plain.publicKey, { isHost: true, principals: ['127.0.0.1'] }),
}
const method = 'publickey-hostbound-v00@openssh.com'

/** How ssh logs in to a server that shows this. */
async function loginOfSsh(hostKey: ServerHostKey, knownHost: string): Promise<AuthAttempt> {
  const attempts: AuthAttempt[] = []
  const listener = await listenForClients(echoSessions, { hostKeys: [hostKey] }, (attempt) =>
    attempts.push(attempt),
  )
  const user = authority.newKey('ed25519')
  const known = join(authority.directory, 'known_hosts')
  writeFileSync(known, `${knownHost.replace('PORT', String(listener.port))}\n`)
  const { code, stderr } = await runProgram('ssh', [
    ...['-F', 'none', '-i', user.file, '-p', String(listener.port)],
    ...['-o', 'StrictHostKeyChecking=yes', '-o', `UserKnownHostsFile=${known}`],
    ...['somebody@127.0.0.1', 'echo'],
  ])
  await listener.close()
  expect(code, stderr).toBe(0)
  return attempts[0] ?? expect.fail('no login')
}

test('ssh binds its login to the host key', async () => {
  const line = `[127.0.0.1]:PORT ssh-ed25519 ${plain.publicKey.blob.toString('base64')}`
  const { signedData } = await loginOfSsh(plain, line)
  expect(parseUserauthRequest(signedData).hostKey).toEqual(plain.publicKey.blob)
})

test('ssh binds its login to a certificate, where it was shown one', async () => {
  const { signedData } = await loginOfSsh(certified, `@cert-authority * ${authority.line}`)
  const { hostKey: bound } = parseUserauthRequest(signedData)
  expect(bound?.toString('hex')).toBe(certified.certificate.toString('hex'))
})

/** An attacker before the login, and what the server asks about. */
async function open() {
  const asked: AuthAttempt[] = []
  const server = createSshServer({
    hostKeys: [plain],
    ident: 'VaultTerm',
    loginGraceMs: 60_000,
    authTriesMax: 6,
    channelsMax: 8,
    log: silent,
  })
  const [ours, theirs] = duplexPair()
  server.serve(ours, {
    authenticate: async (attempt) => {
      asked.push(attempt)
      const { key, algorithm, signature, signedData } = attempt
      return verifyUserSignature({ key, algorithm, signature, data: signedData })
    },
    ready: () => {},
  })
  const attacker = new Attacker(theirs)
  await attacker.handshakeForLogin()
  return { attacker, asked }
}

const user = generateKeyPairSync('ed25519').privateKey
const fields = (signed: boolean, key: KeyObject = user) =>
  publicKeyFields('ssh-ed25519', publicKeyBlob(key), signed)

/** A login that is bound to a host key, or to what is given instead of one. */
function boundLogin(sessionId: Buffer, bound: Buffer): Buffer {
  const request = authRequest('somebody', method, Buffer.concat([fields(true), bound]))
  const data = new Writer().string(sessionId).bytes(request).build()
  const signature = new Writer()
    .text('ssh-ed25519')
    .string(sign(null, data, user))
    .build()
  return new Writer().bytes(request).string(signature).build()
}
const hostKey = (blob: Buffer) => new Writer().string(blob).build()

describe('our server', () => {
  test('says that it knows the method', async () => {
    const { attacker } = await open()
    const reader = new Reader(await attacker.first(msg.extInfo))
    reader.u8()
    const extensions = Array.from({ length: reader.u32() }, () => [reader.text(), reader.text()])
    reader.end()
    expect(extensions.map(([name]) => name)).toEqual([
      'server-sig-algs',
      'publickey-hostbound@openssh.com',
    ])
    expect(extensions[1]?.[1]).toBe('0')
  })

  test('answers an offer, and takes a login that is bound to its own key', async () => {
    const { attacker, asked } = await open()
    const offer = Buffer.concat([fields(false), hostKey(plain.publicKey.blob)])
    attacker.send(authRequest('somebody', method, offer))
    await attacker.first(msg.authMethod60)
    attacker.send(boundLogin(attacker.sessionId, hostKey(plain.publicKey.blob)))
    await attacker.first(msg.authSuccess)
    const request = parseUserauthRequest(asked[0]?.signedData ?? Buffer.of())
    expect(request).toEqual({
      exchangeHash: attacker.sessionId,
      user: 'somebody',
      algorithm: 'ssh-ed25519',
      key: publicKeyBlob(user),
      hostKey: plain.publicKey.blob,
    })
  })

  test.each([
    ['another key', authority.newKey('ed25519').publicKey.blob],
    ['a certificate that it did not show', certified.certificate],
    ['no key', Buffer.alloc(0)],
  ])('attack: a login, signed as it should be, that is bound to %s', async (_, blob) => {
    const { attacker, asked } = await open()
    attacker.send(boundLogin(attacker.sessionId, hostKey(blob)))
    await attacker.first(msg.authFailure)
    expect(asked).toEqual([])
    // That was a failed try and nothing worse.
    attacker.send(boundLogin(attacker.sessionId, hostKey(plain.publicKey.blob)))
    await attacker.first(msg.authSuccess)
  })

  test('attack: a bound login without a host key, and a plain one with it', async () => {
    const without = await open()
    without.attacker.send(boundLogin(without.attacker.sessionId, Buffer.alloc(0)))
    expect(await without.attacker.disconnectReason()).toBe(2)
    const withIt = await open()
    const bound = Buffer.concat([fields(false), hostKey(plain.publicKey.blob)])
    withIt.attacker.send(authRequest('somebody', 'publickey', bound))
    expect(await withIt.attacker.disconnectReason()).toBe(2)
    expect([...without.asked, ...withIt.asked]).toEqual([])
  })
})
