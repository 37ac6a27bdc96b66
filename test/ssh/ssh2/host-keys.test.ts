import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type ServerHostKey, verifyUserSignature } from '../../../src/ssh/index.ts'
import { Reader, Writer } from '../../../src/ssh/wire.ts'
import { msg } from '../../support/ssh-attacker.ts'
import { Authority } from '../../support/ssh-authority.ts'
import { openChannelLab } from '../../support/ssh-lab.ts'
import { echoSessions, listenForClients } from '../../support/ssh-listener.ts'

/** `hostkeys-00@openssh.com`: clients learn all keys of a server from one that they know. */
const keys = new Authority()
afterAll(() => keys.remove())
const user = keys.newKey('ed25519')
const ed25519 = keys.newKey('ed25519')
const ecdsa = keys.newKey('ecdsa', '521')
const rsa = keys.newKey('rsa', '3072')
const all = [ed25519, ecdsa, rsa]

const base64 = ({ publicKey }: ServerHostKey) => publicKey.blob.toString('base64')

/** The keys that ssh has on record once it has been to a server with these host keys. */
async function visit(
  hostKeys: readonly ServerHostKey[],
  known: readonly ServerHostKey[],
  expected: readonly ServerHostKey[],
  settings: readonly string[] = [],
) {
  const listener = await listenForClients(echoSessions, { hostKeys })
  const file = join(keys.directory, 'known_hosts')
  const lines = known.map(
    (key) => `[127.0.0.1]:${listener.port} ${key.publicKey.type} ${base64(key)}`,
  )
  writeFileSync(file, `${lines.join('\n')}\n`)
  const ssh = spawn(
    'ssh',
    [
      ...['-v', '-F', 'none', '-i', user.file, '-p', String(listener.port)],
      ...['-o', 'StrictHostKeyChecking=yes', '-o', `UserKnownHostsFile=${file}`],
      ...['-o', 'UpdateHostKeys=yes', ...settings, 'somebody@127.0.0.1', 'echo'],
    ],
    { stdio: ['pipe', 'ignore', 'pipe'] },
  )
  let said = ''
  ssh.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  try {
    const recorded = () =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('['))
        .map((line) => line.split(' ')[2])
        .toSorted()
    await vi.waitFor(
      () => expect(recorded(), said).toEqual(expected.map(base64).toSorted()),
      30_000,
    )
    expect(said).not.toContain('failed')
  } finally {
    ssh.kill('SIGKILL')
    await listener.close()
  }
}

test('ssh learns the other keys of a server from the one that it knows', async () => {
  await visit(all, [ed25519], all)
})

test('and from an RSA key, which signs with what was agreed on', async () => {
  const settings = ['-o', 'HostKeyAlgorithms=rsa-sha2-256,ssh-ed25519,ecdsa-sha2-nistp521']
  await visit([rsa, ed25519, ecdsa], [rsa], [rsa, ed25519, ecdsa], settings)
})

test('ssh learns the next key of the same type before it is shown, and forgets the old one after', async () => {
  const next = keys.newKey('ed25519')
  await visit([ed25519, next], [ed25519], [ed25519, next])
  await visit([next], [ed25519, next], [next])
})

/** What the server says to somebody who wants these keys proved. */
async function ask(...payloads: readonly Buffer[]) {
  const { attacker } = await openChannelLab({ hostKeys: all })
  const request = (payload: Buffer) =>
    new Writer()
      .u8(msg.globalRequest)
      .text('hostkeys-prove-00@openssh.com')
      .boolean(true)
      .bytes(payload)
      .build()
  attacker.send(...payloads.map(request))
  const answers = () => attacker.received.filter(([type]) => type === 81 || type === 82)
  await attacker.until(() => (answers().length === payloads.length ? true : undefined))
  return { attacker, answers: answers() }
}

const list = (...hostKeys: readonly ServerHostKey[]) => {
  const writer = new Writer()
  for (const { publicKey } of hostKeys) writer.string(publicKey.blob)
  return writer.build()
}

describe('our server', () => {
  test('proves each key by a signature over this session', async () => {
    const { attacker, answers } = await ask(list(rsa, ecdsa, ed25519))
    const reader = new Reader(answers[0] ?? Buffer.of())
    expect(reader.u8()).toBe(81)
    for (const [{ publicKey }, algorithm] of [
      [rsa, 'rsa-sha2-512'],
      [ecdsa, 'ecdsa-sha2-nistp521'],
      [ed25519, 'ssh-ed25519'],
    ] as const) {
      const data = (sessionId: Buffer) =>
        new Writer()
          .text('hostkeys-prove-00@openssh.com')
          .string(sessionId)
          .string(publicKey.blob)
          .build()
      const signed = { key: publicKey.blob, algorithm, signature: reader.string() }
      expect(verifyUserSignature({ ...signed, data: data(attacker.sessionId) })).toBe(true)
      expect(verifyUserSignature({ ...signed, data: data(Buffer.alloc(32)) })).toBe(false)
    }
    reader.end()
  })

  test.each([
    ['a key that is not its own', list(ed25519, user)],
    ['the same key over and over', list(ed25519, ed25519)],
    ['nothing', Buffer.alloc(0)],
    ['half a key', list(ed25519).subarray(0, 30)],
    ['more than there is', Buffer.alloc(8, 0xff)],
  ])('attack: proof is asked for %s', async (_, payload) => {
    const { answers } = await ask(payload)
    expect(answers.map(([type]) => type)).toEqual([82])
  })

  test('attack: proof is asked for again and again', async () => {
    const { answers } = await ask(...Array.from({ length: 20 }, () => list(rsa)))
    expect(answers.map(([type]) => type)).toEqual([81, 81, ...Array(18).fill(82)])
  })
})
