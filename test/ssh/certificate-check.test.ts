import { describe, expect, test } from 'vitest'
import {
  type CertificateFields,
  type CertificateUse,
  checkCertificate,
  encodeRevocationList,
  type KeyRevocationList,
  parseRevocationList,
  type RevocationListContents,
} from '../../src/ssh/index.ts'
import {
  craft,
  issue,
  makeKey,
  now,
  parsed,
  type RawCertificate,
  seconds,
  someKey,
  strings,
  use,
} from './certificate-fixture.ts'

const ca = someKey('ssh-ed25519')
const stranger = makeKey()
const sk = makeKey('sk-ssh-ed25519@openssh.com')

function revoking(wish: Partial<RevocationListContents>): KeyRevocationList {
  const parsed = parseRevocationList(
    encodeRevocationList({
      version: 1n,
      date: now,
      comment: '',
      authorities: [],
      keys: [],
      fingerprints: [],
      ...wish,
    }),
  )
  if ('problem' in parsed) throw new Error(parsed.problem)
  return parsed.list
}

const options = (...entries: [string, string | Buffer][]) => new Map(entries)
const at = (offset: number) => new Date(now.getTime() + offset * 1000)

/** Each is refused beside a certificate and a use that differ from it in nothing else. */
const refusals: {
  what: string
  problem: RegExp
  wish?: Partial<CertificateFields>
  raw?: Partial<RawCertificate>
  use?: Partial<CertificateUse>
}[] = [
  {
    what: 'of a foreign CA',
    problem: /authority that is not trusted/,
    use: { authorities: [stranger.blob] },
  },
  { what: 'when no CA is trusted', problem: /not trusted/, use: { authorities: [] } },
  {
    what: 'of which the CA is trusted as a certificate',
    problem: /not trusted/,
    use: { authorities: [issue({ publicKey: ca.blob })] },
  },
  {
    what: 'that names a CA which did not sign it',
    problem: /signature/,
    raw: { sign: (data) => stranger.sign(data) },
  },
  {
    what: 'with the signature of another certificate',
    problem: /signature/,
    raw: { sign: () => ca.sign(Buffer.from('something else')) },
  },
  {
    what: 'for a host, from a user',
    problem: /for a host, not for a user/,
    wish: { kind: 'host' },
  },
  {
    what: 'for a user, from a host',
    problem: /for a user, not for a host/,
    use: { kind: 'host' },
  },
  { what: 'a second too early', problem: /not valid yet/, use: { now: at(-31) } },
  { what: 'in the second in which it ends', problem: /expired/, use: { now: at(90) } },
  {
    what: 'whose time ends before it starts',
    problem: /expired/,
    raw: { validAfter: seconds, validBefore: seconds - 1n },
  },
  {
    what: 'that starts at the end of time',
    problem: /not valid yet/,
    raw: { validAfter: 2n ** 64n - 1n, validBefore: 2n ** 64n - 1n },
  },
  { what: 'without principals', problem: /no principals/, raw: { principals: Buffer.alloc(0) } },
  { what: 'for somebody else', problem: /other principals/, use: { principal: 'root' } },
  { what: 'for nobody in particular', problem: /other principals/, use: { principal: '' } },
  {
    what: 'for somebody by another case',
    problem: /other principals/,
    use: { principal: 'Alice' },
  },
  { what: 'for the start of a name', problem: /other principals/, use: { principal: 'alic' } },
  {
    what: 'with an unknown critical option',
    problem: /unknown critical option/,
    wish: { criticalOptions: options(['unknown@example.com', '1']) },
  },
  {
    what: 'with an extension as critical option',
    problem: /unknown critical option/,
    wish: { criticalOptions: options(['permit-pty', Buffer.alloc(0)]) },
  },
  {
    what: 'with a command that the caller cannot force',
    problem: /unknown critical option/,
    wish: { criticalOptions: options(['force-command', 'id']) },
    use: { knownOptions: ['source-address'] },
  },
  ...[
    '192.0.2.6',
    '10.0.0.1,192.0.2.8/29',
    '2001:db8::/32',
    '192.0.2.7/33',
    '192.0.2.7/24',
    'x',
    ',',
  ].map((list) => ({
    what: `for source addresses ${list}`,
    problem: /other source addresses/,
    wish: { criticalOptions: options(['source-address', list]) },
  })),
  {
    what: 'for a source address, from nobody knows where',
    problem: /other source addresses/,
    wish: { criticalOptions: options(['source-address', '0.0.0.0/0,::/0']) },
    use: { sourceAddress: 'localhost' },
  },
  {
    what: 'that asks a plain key to know its holder',
    problem: /security key/,
    wish: { criticalOptions: options(['verify-required', '']) },
  },
  {
    what: 'for a host with a critical option',
    problem: /host certificate has no critical options/,
    wish: { kind: 'host', criticalOptions: options(['force-command', 'id']) },
    use: { kind: 'host' },
  },
  {
    what: 'with a revoked serial',
    problem: /revoked/,
    use: {
      revocations: revoking({
        authorities: [{ authority: ca.blob, serials: [42n], serialRanges: [], keyIds: [] }],
      }),
    },
  },
  {
    what: 'of a revoked CA',
    problem: /revoked/,
    use: { revocations: revoking({ keys: [ca.blob] }) },
  },
  {
    what: 'for a revoked key',
    problem: /revoked/,
    wish: { publicKey: stranger.blob },
    use: { revocations: revoking({ keys: [stranger.blob] }) },
  },
]

test.each(refusals)('refuses a certificate $what', ({ problem, wish = {}, raw, use: wanted }) => {
  expect(checkCertificate(parsed(raw ? craft() : issue()), use())).toHaveProperty('restrictions')
  const certificate = parsed(raw ? craft(raw) : issue(wish))
  expect(checkCertificate(certificate, use(wanted))).toEqual({
    problem: expect.stringMatching(problem),
  })
})

test('takes no signature by SHA-1 from a certificate that no parser saw', () => {
  const rsa = someKey('ssh-rsa')
  const certificate = parsed(issue({}, rsa))
  const signature = rsa.sign(certificate.toBeSigned, { algorithm: 'ssh-rsa' })
  const wanted = use({ authorities: [rsa.blob] })
  expect(checkCertificate(certificate, wanted)).toHaveProperty('restrictions')
  expect(checkCertificate({ ...certificate, signature }, wanted)).toHaveProperty('problem')
})

describe('lets in', () => {
  test.each([
    ['in its first second', { now: at(-30) }],
    ['in its last second', { now: at(89) }],
    ['of one of several CAs', { authorities: [stranger.blob, ca.blob] }],
    ['beside a list that revokes others', { revocations: revoking({ keys: [stranger.blob] }) }],
  ])('a certificate %s', (_, wanted) => {
    expect(checkCertificate(parsed(issue()), use(wanted))).toHaveProperty('restrictions')
  })

  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['192.0.2.0/24', '::ffff:192.0.2.7'],
    ['10.0.0.0/8,192.0.2.0/29', '192.0.2.7'],
    ['0.0.0.0/0', '192.0.2.7'],
    ['2001:db8::/32', '2001:db8:0:1::7'],
  ])('a certificate for source addresses %s from %s', (list, sourceAddress) => {
    const certificate = parsed(issue({ criticalOptions: options(['source-address', list]) }))
    expect(checkCertificate(certificate, use({ sourceAddress }))).toHaveProperty('restrictions')
  })

  test('a certificate that is valid for ever', () => {
    const certificate = parsed(issue({ validAfter: 0n, validBefore: 2n ** 64n - 1n }))
    expect(checkCertificate(certificate, use())).toHaveProperty('restrictions')
  })

  test('a host by each of its names, exactly', () => {
    const certificate = parsed(issue({ kind: 'host', principals: ['web1.example', '192.0.2.9'] }))
    const as = (principal: string) =>
      'restrictions' in checkCertificate(certificate, use({ kind: 'host', principal }))
    expect(['web1.example', '192.0.2.9', 'example', '*.example'].map(as)).toEqual([
      true,
      true,
      false,
      false,
    ])
  })
})

describe('what people are bound to', () => {
  const none = {
    extensions: new Set(),
    requireUserVerification: false,
    requireTouch: false,
  }

  test('without extensions, nothing is permitted', () => {
    expect(checkCertificate(parsed(issue()), use())).toEqual({ restrictions: none })
  })

  test('is the forced command, and the extensions that are known', () => {
    const extensions = options(['permit-pty', ''], ['permit-port-forwarding', ''], ['x@y', 'z'])
    const certificate = parsed(
      issue({ extensions, criticalOptions: options(['force-command', 'uptime']) }),
    )
    expect(checkCertificate(certificate, use())).toEqual({
      restrictions: {
        ...none,
        forceCommand: 'uptime',
        extensions: new Set(['permit-pty', 'permit-port-forwarding']),
      },
    })
  })

  test('is a touch of a security key, unless the CA says otherwise', () => {
    const touch = parsed(issue({ publicKey: sk.blob }))
    const noTouch = parsed(
      issue({ publicKey: sk.blob, extensions: options(['no-touch-required', '']) }),
    )
    expect(checkCertificate(touch, use())).toHaveProperty('restrictions.requireTouch', true)
    expect(checkCertificate(noTouch, use())).toEqual({ restrictions: none })
  })

  test('is a security key that knows its holder, when the CA says so', () => {
    const certificate = parsed(
      issue({ publicKey: sk.blob, criticalOptions: options(['verify-required', '']) }),
    )
    expect(checkCertificate(certificate, use())).toHaveProperty(
      'restrictions.requireUserVerification',
      true,
    )
    expect(checkCertificate(certificate, use({ knownOptions: [] }))).toHaveProperty('problem')
  })

  test('is nothing that stands among the extensions and belongs among the critical options', () => {
    const certificate = parsed(craft({ extensions: strings('force-command', strings('id')) }))
    expect(checkCertificate(certificate, use())).toEqual({ restrictions: none })
  })
})
