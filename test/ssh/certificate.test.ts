import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  certificateTypeNames,
  certifiedSignatureAlgorithm,
  checkCertificate,
  encodeCertificate,
  fingerprint,
  parseCertificate,
  parsePublicKey,
  sealCertificate,
  Writer,
} from '../../src/ssh/index.ts'
import openssh from '../vectors/openssh-certificates.json' with { type: 'json' }
import vectors from '../vectors/ssh-keys.json' with { type: 'json' }
import {
  allKeyTypes,
  askSshKeygen,
  craft,
  fieldsOf,
  issue,
  listCertificate,
  makeKey,
  now,
  parsed,
  type RawCertificate,
  seconds,
  someKey,
  sshKeygen,
  strings,
  temporaryDirectory,
  use,
  writeKey,
} from './certificate-fixture.ts'

const blobOf = (line: string) => Buffer.from(line.split(' ')[1] ?? '', 'base64')
const problemOf = (blob: Buffer) => {
  const result = parseCertificate(blob)
  return 'problem' in result ? result.problem : undefined
}
const utc = (at: bigint) => new Date(Number(at) * 1000).toISOString().slice(0, 19)

describe('what our CA encodes', () => {
  const rows = [
    ...allKeyTypes.map((subject) => ({ subject, authority: 'ssh-ed25519' })),
    ...allKeyTypes.map((authority) => ({ subject: 'ssh-ed25519', authority })),
  ]
  test.each(rows)('ssh-keygen lists: $subject signed by $authority', ({ subject, authority }) => {
    const key = makeKey(subject)
    const ca = someKey(authority)
    const fields = fieldsOf(
      {
        publicKey: key.blob,
        serial: 2n ** 64n - 1n,
        principals: ['b1-abc-web', 'alice'],
        criticalOptions: new Map([
          ['source-address', '192.0.2.0/24,2001:db8::/32'],
          ['force-command', 'uptime -p'],
        ]),
        extensions: new Map([
          ['permit-pty', ''],
          ['permit-X11-forwarding', ''],
        ]),
      },
      ca,
    )
    const { toBeSigned } = encodeCertificate(fields)
    const blob = sealCertificate(toBeSigned, ca.sign(toBeSigned))
    expect(listCertificate(blob)).toEqual({
      type: `${parsed(blob).type} user certificate`,
      publicKey: fingerprint(key.blob),
      authority: fingerprint(ca.blob),
      keyId: fields.keyId,
      serial: '18446744073709551615',
      valid: `from ${utc(fields.validAfter)} to ${utc(fields.validBefore)}`,
      principals: ['b1-abc-web', 'alice'],
      criticalOptions: ['force-command uptime -p', 'source-address 192.0.2.0/24,2001:db8::/32'],
      extensions: ['permit-X11-forwarding', 'permit-pty'],
    })
    const { type, blob: own, signature, toBeSigned: signed, ...rest } = parsed(blob)
    expect(certificateTypeNames).toContain(type)
    expect(own).toEqual(blob)
    expect(signed).toEqual(toBeSigned)
    expect(signature).toEqual(blob.subarray(toBeSigned.length + 4))
    expect(rest).toEqual(fields)
    expect(checkCertificate(parsed(blob), use({ authorities: [ca.blob] }))).toHaveProperty(
      'restrictions',
    )
  })

  test('is a host certificate when it is to be one', () => {
    const blob = issue({ kind: 'host', principals: ['web1.acme.example', '2001:db8::7'] })
    expect(listCertificate(blob)).toMatchObject({
      type: 'ecdsa-sha2-nistp256-cert-v01@openssh.com host certificate',
      principals: ['web1.acme.example', '2001:db8::7'],
      criticalOptions: [],
    })
  })

  test('whatever is in it, both our parser and ssh-keygen read it back', () => {
    const character = (from: string, to: string) =>
      fc
        .integer({ min: from.charCodeAt(0), max: to.charCodeAt(0) })
        .map((code) => String.fromCharCode(code))
    const name = fc
      .array(character('!', '~'), { minLength: 1, maxLength: 40 })
      .map((letters) => letters.join(''))
    const principal = name.map((text) => text.replace(/[*?!,]/g, '.'))
    const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    const wishes = fc.record({
      serial: u64,
      keyId: name,
      principals: fc.array(principal, { minLength: 1, maxLength: 20 }),
      criticalOptions: fc.dictionary(
        name.map((text) => `${text}@test`),
        fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
      ),
      extensions: fc.dictionary(
        fc.constantFrom('permit-pty', 'permit-user-rc', 'no-touch-required'),
        fc.constant(''),
      ),
    })
    fc.assert(
      fc.property(wishes, ({ criticalOptions, extensions, ...wish }) => {
        const fields = {
          ...wish,
          criticalOptions: new Map(Object.entries(criticalOptions)),
          extensions: new Map(Object.entries(extensions)),
        }
        const blob = issue(fields)
        expect(parsed(blob)).toMatchObject(wish)
        expect(new Map(parsed(blob).criticalOptions)).toEqual(fields.criticalOptions)
        const listed = listCertificate(blob)
        expect(listed.keyId).toBe(wish.keyId)
        expect(listed.serial).toBe(String(wish.serial))
        expect(listed.principals).toEqual(wish.principals)
        expect(listed.extensions).toEqual([...fields.extensions.keys()].sort())
        expect(listed.criticalOptions).toHaveLength(fields.criticalOptions.size)
      }),
      { numRuns: 60 },
    )
  })

  test.each([
    ['no principals', { principals: [] }],
    ['257 principals', { principals: Array.from({ length: 257 }, (_, i) => `p${i}`) }],
    ['a principal that is two', { principals: ['alice,root'] }],
    ['a pattern as principal', { principals: ['*'] }],
    ['a principal with a line end', { principals: ['alice\nroot'] }],
    ['an empty principal', { principals: [''] }],
    ['no time', { validAfter: seconds, validBefore: seconds }],
    ['time that ends before it starts', { validAfter: seconds, validBefore: seconds - 1n }],
    ['a key id that changes a terminal', { keyId: 'a\u001b[2J' }],
    ['a short nonce', { nonce: Buffer.alloc(15) }],
    ['a flag with a value', { extensions: new Map([['permit-pty', 'yes']]) }],
    ['a command that is nothing', { criticalOptions: new Map([['force-command', '']]) }],
    ['a certificate as CA', { signatureKey: issue() }],
    ['a certificate as key', { publicKey: issue() }],
    ['a serial that is none', { serial: -1n }],
  ])('is never a certificate with %s', (_, wish) => {
    expect(() => encodeCertificate(fieldsOf())).not.toThrow()
    expect(() => encodeCertificate(fieldsOf(wish))).toThrow()
  })

  test('is sealed only with what has the form of a signature by its CA', () => {
    const ca = someKey('ssh-ed25519')
    const { toBeSigned } = encodeCertificate(fieldsOf())
    const signature = ca.sign(toBeSigned)
    expect(problemOf(sealCertificate(toBeSigned, signature))).toBeUndefined()
    const bad = [
      Buffer.alloc(0),
      signature.subarray(19),
      Buffer.concat([signature, Buffer.of(0)]),
      someKey('ecdsa-sha2-nistp256').sign(toBeSigned),
    ]
    for (const each of bad) expect(() => sealCertificate(toBeSigned, each)).toThrow(TypeError)
  })
})

describe('certificates that ssh-keygen made', () => {
  test.each(allKeyTypes)('for a key of type %s are read as they were asked for', (type) => {
    const directory = temporaryDirectory()
    const ca = writeKey(directory, 'ca', someKey('ssh-ed25519'))
    const key = makeKey(type)
    const path = writeKey(directory, 'user', key)
    const options = ['clear', 'force-command=echo "a b"', 'source-address=10.0.0.0/8', 'permit-pty']
    const sk = type.startsWith('sk-')
    if (sk) options.push('verify-required', 'no-touch-required')
    options.push('extension:login@acme.example=alice', 'extension:empty@acme.example')
    const wishes = options.flatMap((option) => ['-O', option])
    const names = [
      '-I',
      'id of it',
      '-n',
      'alice,bob',
      '-z',
      '77',
      '-V',
      '20261123195900Z:20261123200100Z',
    ]
    sshKeygen(['-q', '-s', ca, ...names, ...wishes, `${path}.pub`])
    const certificate = parsed(blobOf(readFileSync(`${path}-cert.pub`, 'utf8')))
    expect(certificate).toMatchObject({
      publicKey: key.blob,
      kind: 'user',
      keyId: 'id of it',
      principals: ['alice', 'bob'],
      serial: 77n,
      validAfter: seconds - 60n,
      validBefore: seconds + 60n,
      signatureKey: someKey('ssh-ed25519').blob,
    })
    expect([...certificate.criticalOptions]).toEqual([
      ['force-command', 'echo "a b"'],
      ['source-address', '10.0.0.0/8'],
      ...(sk ? [['verify-required', '']] : []),
    ])
    expect([...certificate.extensions]).toEqual([
      ['empty@acme.example', Buffer.alloc(0)],
      ['login@acme.example', strings('alice')],
      ...(sk ? [['no-touch-required', '']] : []),
      ['permit-pty', ''],
    ])
    expect(checkCertificate(certificate, use({ sourceAddress: '10.1.2.3' }))).toEqual({
      restrictions: {
        forceCommand: 'echo "a b"',
        extensions: new Set(['permit-pty']),
        requireUserVerification: sk,
        requireTouch: false,
      },
    })
  })

  test.each(['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521', 'ssh-rsa'])(
    'by a CA key of type %s are good',
    (type) => {
      const directory = temporaryDirectory()
      const ca = makeKey(type)
      const path = writeKey(directory, 'user', makeKey())
      sshKeygen([
        '-q',
        '-s',
        writeKey(directory, 'ca', ca),
        '-I',
        'x',
        '-n',
        'alice',
        `${path}.pub`,
      ])
      const certificate = parsed(blobOf(readFileSync(`${path}-cert.pub`, 'utf8')))
      expect(checkCertificate(certificate, use({ authorities: [ca.blob] }))).toHaveProperty(
        'restrictions.requireTouch',
        false,
      )
    },
  )

  test('with SHA-1 are refused, with SHA-2 by the same CA they are not', () => {
    const directory = temporaryDirectory()
    const ca = makeKey('ssh-rsa')
    const caPath = writeKey(directory, 'ca', ca)
    const path = writeKey(directory, 'user', makeKey())
    const problems = ['rsa-sha2-256', 'ssh-rsa'].map((algorithm) => {
      sshKeygen(['-q', '-s', caPath, '-t', algorithm, '-I', 'x', '-n', 'alice', `${path}.pub`])
      return problemOf(blobOf(readFileSync(`${path}-cert.pub`, 'utf8')))
    })
    expect(problems).toEqual([undefined, expect.stringContaining('algorithm')])
  })

  test.each(vectors.keys)('$name of the vectors is good', ({ line, certificate: text }) => {
    const certificate = parsed(blobOf(text))
    const key = parsePublicKey(line)
    expect(key).toHaveProperty('key.blob', certificate.publicKey)
    expect(
      checkCertificate(certificate, use({ authorities: [certificate.signatureKey] })),
    ).toHaveProperty('restrictions')
  })

  const refused = /dsa_1-|id_dsa|\/rsa_1/
  test.each(openssh.certificates)('$name of OpenSSH', ({ name, line }) => {
    if (refused.test(name.replace('ecdsa', 'ec'))) {
      // DSA, and RSA of 1024 bits.
      expect(problemOf(blobOf(line))).toMatch(/type is unknown|needs at least 2048 bits/)
      return
    }
    const certificate = parsed(blobOf(line))
    const { signatureKey, kind, principals } = certificate
    const its = { authorities: [signatureKey], kind, principal: principals[0] ?? '' }
    const inItsTime = new Date('2005-01-01T00:00:00Z')
    expect(checkCertificate(certificate, use({ ...its, now: inItsTime }))).toHaveProperty(
      'restrictions',
    )
  })
})

describe('what strangers send', () => {
  const textOption = (value: string) => strings('force-command', strings(value))
  const many = (count: number) => strings(...Array.from({ length: count }, (_, i) => `p${i}`))
  const attacks: { what: string; wish: Partial<RawCertificate> }[] = [
    { what: 'a type of the future', wish: { type: 'ssh-ed25519-cert-v02@openssh.com' } },
    { what: 'a type of the past', wish: { type: 'ssh-ed25519-cert-v00@openssh.com' } },
    { what: 'a plain type', wish: { type: 'ssh-ed25519' } },
    { what: 'the type of another key', wish: { type: 'ssh-rsa-cert-v01@openssh.com' } },
    { what: 'no nonce', wish: { nonce: Buffer.alloc(0) } },
    { what: 'a key that is too short', wish: { publicKey: strings(Buffer.alloc(31)) } },
    { what: 'kind 0', wish: { kind: 0 } },
    { what: 'kind 3', wish: { kind: 3 } },
    { what: 'kind 2^32-1', wish: { kind: 2 ** 32 - 1 } },
    { what: 'a key id that is not UTF-8', wish: { keyId: Buffer.of(0xff) } },
    { what: 'a key id with a NUL', wish: { keyId: Buffer.from('a\0b') } },
    { what: 'a key id with a line end', wish: { keyId: Buffer.from('a\nsshd: Accepted') } },
    { what: 'a key id written backwards', wish: { keyId: Buffer.from('a\u202eb') } },
    { what: 'an endless key id', wish: { keyId: Buffer.alloc(1025, 'a') } },
    { what: '257 principals', wish: { principals: many(257) } },
    { what: 'an empty principal', wish: { principals: strings('alice', '') } },
    ...['\0', ',root', '\n', '\r', '\t', ' ', '*', '?', '!', '\u00a0', '\u007f'].map((text) => ({
      what: `a principal with ${JSON.stringify(text)}`,
      wish: { principals: strings(`alice${text}`) },
    })),
    {
      what: 'a byte behind the principals',
      wish: { principals: Buffer.concat([many(1), Buffer.of(0)]) },
    },
    { what: 'principals that end too early', wish: { principals: many(1).subarray(0, -1) } },
    { what: 'a length of 2^32-1', wish: { principals: Buffer.of(255, 255, 255, 255) } },
    {
      what: 'a critical option twice',
      wish: { criticalOptions: Buffer.concat([textOption('a'), textOption('b')]) },
    },
    {
      what: 'options out of order',
      wish: { extensions: strings('permit-user-rc', '', 'permit-pty', '') },
    },
    {
      what: 'an extension twice',
      wish: { extensions: strings('permit-pty', '', 'permit-pty', '') },
    },
    { what: 'an option without a name', wish: { criticalOptions: strings('', '') } },
    {
      what: 'an option with a NUL in its name',
      wish: { criticalOptions: strings('force-command\0', '') },
    },
    { what: 'an option without a value', wish: { criticalOptions: strings('verify-required') } },
    {
      what: 'a command that is not wrapped',
      wish: { criticalOptions: strings('force-command', 'id') },
    },
    {
      what: 'a byte behind a command',
      wish: {
        criticalOptions: strings('force-command', Buffer.concat([strings('id'), Buffer.of(0)])),
      },
    },
    {
      what: 'two commands in one',
      wish: { criticalOptions: strings('force-command', strings('id', 'sh')) },
    },
    { what: 'an empty command', wish: { criticalOptions: textOption('') } },
    { what: 'a command with a NUL', wish: { criticalOptions: textOption('id\0sh') } },
    {
      what: 'source addresses that are nothing',
      wish: { criticalOptions: strings('source-address', '') },
    },
    { what: 'a flag with a value', wish: { extensions: strings('permit-pty', strings('1')) } },
    { what: 'something in the reserved field', wish: { reserved: Buffer.of(0) } },
    {
      what: 'a CA key with a byte more',
      wish: { signatureKey: Buffer.concat([someKey('ssh-ed25519').blob, Buffer.of(0)]) },
    },
    { what: 'no CA key', wish: { signatureKey: Buffer.alloc(0) } },
    { what: 'a CA key of an unknown type', wish: { signatureKey: strings('ssh-dss', '') } },
    { what: 'a nested certificate as CA', wish: { signatureKey: issue() } },
    { what: 'no signature', wish: { sign: () => Buffer.alloc(0) } },
    {
      what: 'a byte behind the signature',
      wish: { sign: (data) => Buffer.concat([someKey('ssh-ed25519').sign(data), Buffer.of(0)]) },
    },
    {
      what: 'a signature by another type of key',
      wish: { sign: (data) => someKey('ecdsa-sha2-nistp256').sign(data) },
    },
    {
      what: 'a signature that calls itself a certificate',
      wish: {
        sign: (data) =>
          someKey('ssh-ed25519').sign(data, { algorithm: 'ssh-ed25519-cert-v01@openssh.com' }),
      },
    },
    { what: 'a byte behind the certificate', wish: { behind: Buffer.of(0) } },
  ]
  test.each(attacks)('is no certificate with $what', ({ wish }) => {
    expect(problemOf(craft())).toBeUndefined()
    expect(problemOf(craft(wish))).toEqual(expect.any(String))
  })

  test('may have 256 principals, and none: the check refuses that', () => {
    expect(parsed(craft({ principals: many(256) })).principals).toHaveLength(256)
    expect(parsed(craft({ principals: Buffer.alloc(0) })).principals).toEqual([])
  })

  /** Of every level, what comes before its CA and what comes behind it; the innermost has a real CA. */
  function nest(depth: number): Buffer {
    const inner = craft()
    const ca = someKey('ssh-ed25519').blob
    const at = inner.lastIndexOf(ca)
    const head = inner.subarray(0, at - 4)
    const tail = inner.subarray(at + ca.length)
    let { length } = inner
    const parts: Buffer[] = [inner]
    for (let level = 0; level < depth; level++) {
      const size = new Writer().u32(length).build()
      parts.unshift(head, size)
      parts.push(tail)
      length += head.length + size.length + tail.length
    }
    return Buffer.concat(parts)
  }

  test.each([1, 100, 10_000])('is refused with CAs nested %i deep', (depth) => {
    expect(problemOf(nest(0))).toBeUndefined()
    expect(problemOf(nest(depth))).toMatch(/authority is not a plain key|too long/)
  })

  test('is refused as a nested certificate by ssh-keygen too', () => {
    const listing = (blob: Buffer) =>
      askSshKeygen(['-L', '-f', '-'], `ssh-ed25519-cert-v01@openssh.com ${blob.toString('base64')}`)
    expect([listing(nest(0)), listing(nest(1))]).toEqual([0, 1])
  })

  test.each(['ssh-ed25519', 'ecdsa-sha2-nistp256', 'ssh-rsa'])(
    'is refused with any byte flipped, cut off or added, by a CA of type %s',
    (type) => {
      const ca = someKey(type)
      const good = issue(
        {
          publicKey: someKey('ssh-ed25519').blob,
          criticalOptions: new Map([['source-address', '192.0.2.0/24']]),
          extensions: new Map([['permit-pty', '']]),
        },
        ca,
      )
      const isGood = (blob: Buffer) => {
        const result = parseCertificate(blob)
        if ('problem' in result) return false
        return (
          'restrictions' in checkCertificate(result.certificate, use({ authorities: [ca.blob] }))
        )
      }
      expect(isGood(good)).toBe(true)
      for (let at = 0; at < good.length; at++) {
        for (const mask of [0x01, 0x20, 0x80, 0xff]) {
          const flipped = Buffer.from(good)
          flipped[at] = (good[at] ?? 0) ^ mask
          expect(isGood(flipped), `byte ${at} with ${mask}`).toBe(false)
        }
        expect(problemOf(good.subarray(0, at)), `only ${at} bytes`).toEqual(expect.any(String))
      }
      expect(problemOf(Buffer.concat([good, Buffer.of(0)]))).toEqual(expect.any(String))
    },
  )

  test('never makes the parser throw', () => {
    const good = issue({ extensions: new Map([['permit-pty', '']]) })
    const change = fc.tuple(fc.nat({ max: good.length - 1 }), fc.uint8Array({ maxLength: 8 }))
    const mutated = fc.array(change, { minLength: 1, maxLength: 5 }).map((changes) => {
      const blob = Buffer.from(good)
      for (const [at, bytes] of changes) blob.set(bytes.subarray(0, blob.length - at), at)
      return blob
    })
    const noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes))
    const named = fc
      .tuple(fc.constantFrom(...certificateTypeNames), noise)
      .map(([name, bytes]) => new Writer().text(name).bytes(bytes).build())
    fc.assert(
      fc.property(fc.oneof(mutated, noise, named), (blob) => {
        const result = parseCertificate(blob)
        if ('problem' in result || blob.equals(good)) return
        expect(checkCertificate(result.certificate, use())).toHaveProperty('problem')
      }),
      { numRuns: 3000 },
    )
  })

  test('stays as it was parsed, whatever becomes of the buffer it came in', () => {
    const blob = issue()
    const certificate = parsed(blob)
    blob.fill(0)
    expect(checkCertificate(certificate, use())).toHaveProperty('restrictions')
  })

  test('is bounded in size', () => {
    expect(problemOf(randomBytes(70_000))).toMatch(/too long/)
  })
})

test('a login with a certificate names the algorithm, and its signature the plain one', () => {
  expect(certifiedSignatureAlgorithm('rsa-sha2-512-cert-v01@openssh.com')).toBe('rsa-sha2-512')
  expect(certifiedSignatureAlgorithm('sk-ssh-ed25519-cert-v01@openssh.com')).toBe(
    'sk-ssh-ed25519@openssh.com',
  )
  // SHA-1, and what is no certificate.
  expect(certifiedSignatureAlgorithm('ssh-rsa-cert-v01@openssh.com')).toBeUndefined()
  expect(certifiedSignatureAlgorithm('ssh-ed25519')).toBeUndefined()
  expect(now.getTime()).toBe(Number(seconds) * 1000)
})
