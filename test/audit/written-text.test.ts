import { createHash, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { decodePrivate, encodeEvent } from '../../src/audit/event.ts'
import type { AuditEvent } from '../../src/audit/index.ts'

/** What the log keeps of an event's private facts. */
function kept(hidden: AuditEvent['private']) {
  const event = { type: 'session.start', public: { session: 's' }, private: hidden } as AuditEvent
  const { private: secret } = encodeEvent(event, { now: new Date(), random: randomBytes })
  return secret && decodePrivate(secret.payload)
}

const sha256 = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest('hex')

test('attack: a command of any length keeps its end, its size and its digest', () => {
  const command = Buffer.from(`true ${'x'.repeat(5000)}; rm -rf /`)
  expect(kept({ command })).toEqual({
    command: expect.stringMatching(/^true x+…x+; rm -rf \/$/),
    commandBytes: String(command.length),
    commandSha256: sha256(command),
  })
})

test('a text that is written as it came has no digest', () => {
  expect(kept({ command: Buffer.from('uptime é'), login: 'root' })).toEqual({
    command: 'uptime é',
    login: 'root',
  })
})

test('attack: bytes that cannot be shown leave their digest', () => {
  const command = Buffer.from([0x6c, 0x73, 0xff, 0x00, 0xfe])
  expect(kept({ command })).toEqual({
    command: 'ls\ufffd\ufffd\ufffd',
    commandBytes: '5',
    commandSha256: sha256(command),
  })
})

test('a text that is cut in the middle of a character stays a text', () => {
  const { command } = kept({ command: '😀'.repeat(4001) }) ?? {}
  expect(String(command).isWellFormed()).toBe(true)
  expect(String(command).length).toBeLessThanOrEqual(4096)
})

test.each([['clientIdent'], ['login'], ['host'], ['targetName'], ['reason']] as const)(
  'attack: %s that is cut keeps its digest as well',
  (field) => {
    const text = `a${'b'.repeat(9000)}c`
    expect(kept({ [field]: text })).toMatchObject({
      [`${field}Bytes`]: '9002',
      [`${field}Sha256`]: sha256(text),
    })
  },
)

test('attack: a list that is cut says how long it was', () => {
  const logins = Array.from({ length: 100 }, (_, at) => `login${at}`)
  const event = {
    type: 'target.add',
    public: { hostKey: logins },
    private: { logins },
  } as AuditEvent
  const { private: secret, leaf } = encodeEvent(event, { now: new Date(), random: randomBytes })
  const digest = sha256(JSON.stringify(logins))
  expect(secret && decodePrivate(secret.payload)).toMatchObject({
    loginsCount: '100',
    loginsSha256: digest,
  })
  expect(leaf.after.toString()).toContain(`"hostKeyCount":"100","hostKeySha256":"${digest}"`)
})
