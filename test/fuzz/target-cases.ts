import {
  encode,
  type Message,
  message,
  mutate,
  no,
  string,
  tamperings,
  u32,
  yes,
} from './fields.ts'
import {
  connectionMessages,
  kexInit,
  loginMessages,
  strangeMessages,
  transportMessages,
} from './messages.ts'
import { boundaries, type Random } from './random.ts'

/** What an honest target does next, and may be replaced. In the order of a session. */
export const turns = [
  'ident',
  'kexInit',
  'kexReply',
  'newKeys',
  'extInfo',
  'service',
  'offer',
  'login',
  'open',
  'reply',
  'output',
] as const
export type Turn = (typeof turns)[number]

/** What a target does at one of its turns. */
export interface TargetCase {
  readonly name: string
  readonly at: Turn
  /** In place of the message that is due, and what is sent beside it. */
  replace(due: Message): readonly Buffer[]
  /** Goes out as it is, before everything else. */
  readonly bytes?: Buffer
  readonly leave?: 'end' | 'reset' | 'stop reading'
  readonly torn?: boolean
}

/** Without it nobody signs with an RSA key for us. */
export const extInfo = message(
  ...(['EXT_INFO', 7, u32(1), string('server-sig-algs')] as const),
  string('ssh-ed25519,rsa-sha2-512,rsa-sha2-256'),
)

const shown = string(Buffer.alloc(51))
/** The forms of what is due at each turn. Values do not matter: the real ones take their place. */
const dueShapes: Readonly<Record<Exclude<Turn, 'ident' | 'newKeys'>, Message>> = {
  kexInit: kexInit('curve25519-sha256'),
  kexReply: message(
    'KEX_REPLY',
    31,
    { is: 'nested', fields: [string('ssh-ed25519'), string(Buffer.alloc(32))] },
    string(Buffer.alloc(32)),
    { is: 'nested', fields: [string('ssh-ed25519'), string(Buffer.alloc(64))] },
  ),
  extInfo,
  service: message('SERVICE_ACCEPT', 6, string('ssh-userauth')),
  offer: message('USERAUTH_PK_OK', 60, string('ssh-ed25519'), shown),
  login: message('USERAUTH_SUCCESS', 52),
  open: message('CONFIRMATION', 91, u32(0), u32(0), u32(2 ** 21), u32(2 ** 15)),
  reply: message('CHANNEL_SUCCESS', 99, u32(0)),
  output: message('CHANNEL_DATA', 94, u32(0), string('output\n')),
}

const afterLogin: readonly Turn[] = ['open', 'reply', 'output']
const afterKeys: readonly Turn[] = ['extInfo', 'service', 'offer', 'login', ...afterLogin]

/** Every boundary value in what is due at each turn, and in all else that a target may send. */
export function targetBoundaryCases(random: Random): readonly TargetCase[] {
  const due = Object.entries(dueShapes).flatMap(([at, shape]) =>
    tamperings(shape).map((tampering) => ({
      name: `${at}: ${tampering.name}`,
      at: at as Turn,
      replace: (real: Message) => [tampering.apply(real)],
    })),
  )
  const besides = (at: Turn, shapes: readonly Message[]) =>
    shapes.flatMap((shape) =>
      tamperings(shape).map((tampering) => ({
        name: `${at}: and ${tampering.name}`,
        at,
        replace: (real: Message) => [tampering.apply(shape), encode(real)],
      })),
    )
  // First what is at the heart of a session, and is looked at most closely.
  return [
    ...random.shuffle(due),
    ...random.shuffle([
      ...besides('kexReply', transportMessages),
      ...besides('offer', loginMessages),
      ...besides('output', connectionMessages),
      ...besides('reply', connectionMessages),
    ]),
  ]
}

const greetings = [
  'SSH-1.5-old\r\n',
  'SSH-2.0-x\n',
  `SSH-2.0-${'A'.repeat(8192)}\r\n`,
  `${'hello\r\n'.repeat(1024)}SSH-2.0-late\r\n`,
  `${`${'B'.repeat(8192)}\r\n`.repeat(64)}`,
  'SSH-2.0-half',
  'HTTP/1.1 400 Bad Request\r\n\r\n',
  '\0'.repeat(70_000),
  '\x1b]52;c;QQ==\x07\r\nSSH-2.0-x\r\n',
]

/** One of the other things that a target can do wrong. */
export function targetRandomCase(random: Random, recorded: readonly Buffer[]): TargetCase {
  const at = random.pick(turns)
  const torn = random.chance(0.2)
  switch (random.int(7)) {
    case 0: {
      const leave = random.pick(['end', 'reset', 'stop reading'] as const)
      const honest = random.chance(0.5)
      const replace = (due: Message) => (honest ? [encode(due)] : [])
      return { name: `${at}: ${leave}`, at, replace, leave }
    }
    case 1: {
      const bytes = random.chance(0.5)
        ? Buffer.from(random.pick(greetings), 'latin1')
        : random.bytes(1 + random.int(4000))
      const turn = random.chance(0.5) ? 'ident' : at
      return { name: `${turn}: bytes`, at: turn, bytes, replace: () => [], torn }
    }
    case 2: {
      const turn = random.pick(afterLogin)
      const payloads = flood(random)
      return { name: `${turn}: flood`, at: turn, replace: () => payloads }
    }
    case 3: {
      const turn = random.pick(afterKeys)
      const payloads = recorded.filter(
        ([type = 0]) => type >= (afterLogin.includes(turn) ? 80 : 50),
      )
      const count = 1 + random.int(4)
      for (let wound = 0; wound < count; wound++) {
        const place = random.int(payloads.length)
        payloads[place] = mutate(random, payloads[place] ?? Buffer.alloc(0))
      }
      return { name: `${turn}: replay`, at: turn, replace: () => payloads, torn }
    }
    case 4:
      return {
        name: `${at}: mutated`,
        at,
        replace: (due) => [mutate(random, encode(due))],
        torn,
      }
    default: {
      const turn = random.chance(0.7) ? random.pick(afterKeys) : at
      const payloads = sequence(random)
      const honest = random.chance(0.5)
      return {
        name: `${turn}: ${payloads.map(({ name }) => name).join('; ')}`,
        at: turn,
        replace: (due) => [
          ...payloads.map(({ payload }) => payload),
          ...(honest ? [encode(due)] : []),
        ],
        torn,
      }
    }
  }
}

function sequence(random: Random): { readonly name: string; readonly payload: Buffer }[] {
  const all = [transportMessages, loginMessages, connectionMessages, strangeMessages]
  return Array.from({ length: 1 + random.int(12) }, () => {
    const shape = random.pick(random.chance(0.6) ? connectionMessages : random.pick(all))
    const payload = encode(shape)
    return { name: shape.name, payload: random.chance(0.5) ? payload : mutate(random, payload) }
  })
}

/** More of one thing than anybody should have to take. */
function flood(random: Random): Buffer[] {
  const kinds: readonly (readonly [Message, number])[] = [
    [message('', 94, u32(0), string(Buffer.alloc(32_000, 'x'))), 100],
    [message('', 94, u32(0), string('')), 3000],
    [message('', 95, u32(0), u32(random.pick(boundaries)), string(Buffer.alloc(9000))), 300],
    [message('', 80, string('hostkeys-00@openssh.com'), yes, string('x')), 2000],
    [message('', 80, string('keepalive@openssh.com'), yes), 2000],
    [message('', 98, u32(0), string('exit-status'), no, u32(0)), 2000],
    [message('', 98, u32(0), string('no such request'), yes), 2000],
    [message('', 90, string('x11'), u32(1), u32(2 ** 21), u32(2 ** 15)), 1000],
    [message('', 90, string('auth-agent@openssh.com'), u32(1), u32(1), u32(1)), 1000],
    [message('', 93, u32(0), u32(random.pick(boundaries))), 1000],
    [message('', 2, string(Buffer.alloc(32_000))), 100],
    [kexInit('curve25519-sha256'), 1],
    [message('', 81, u32(0)), 2000],
    [message('', 99, u32(0)), 2000],
  ]
  const [shape, count] = random.pick(kinds)
  return Array.from({ length: count }, () => encode(shape))
}
