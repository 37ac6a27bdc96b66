import { encode, message, mutate, string, type Tampering, tamperings, u32, yes } from './fields.ts'
import {
  connectionMessages,
  loginMessages,
  strangeMessages,
  transportMessages,
} from './messages.ts'
import type { Random } from './random.ts'

/**
 * How far a stranger has come: the packets are plain, sealed, after a login, with a channel open,
 * with something running in it.
 */
export const stages = ['plain', 'sealed', 'inside', 'open', 'running'] as const
export type Stage = (typeof stages)[number]

/** What is sent at one stage. Bytes are no packets: they go out as they are. */
export interface StrangerCase {
  readonly name: string
  readonly payloads: readonly Buffer[]
  readonly bytes?: Buffer
  /** In pieces, and by a connection of its own. */
  readonly torn?: boolean
  /** What goes out in place of the identification. */
  readonly ident?: Buffer
  /** Whether it goes on a connection that has already been used for another case. */
  readonly shared: boolean
}

const shapes = {
  plain: transportMessages,
  sealed: [...transportMessages, ...loginMessages, ...connectionMessages],
  inside: [...connectionMessages, ...transportMessages, ...loginMessages],
  open: connectionMessages,
  running: connectionMessages,
}

const everything = [
  ...transportMessages,
  ...loginMessages,
  ...connectionMessages,
  ...strangeMessages,
]

/** Every boundary value in every place of a stage's messages, in the order of the seed. */
export function boundaryCases(stage: Stage, random: Random): readonly StrangerCase[] {
  const cases = shapes[stage].flatMap((shape) =>
    tamperings(shape).map((tampering: Tampering) => ({
      name: tampering.name,
      payloads: [tampering.apply(shape)],
      shared: true,
    })),
  )
  return [...random.shuffle(stage === 'inside' ? termsCases() : []), ...random.shuffle(cases)]
}

/** Channels on odd terms, with something to send on them: a writer must not go round in circles. */
function termsCases(): readonly StrangerCase[] {
  const terms = [u32(0), u32(2 ** 21), u32(2 ** 15)]
  const open = message('CHANNEL_OPEN', 90, string('session'), ...terms)
  const exec = message('exec', 98, u32(0), string('exec'), yes, string('x'))
  const adjust = message('CHANNEL_WINDOW_ADJUST', 93, u32(0), u32(2 ** 31))
  return tamperings(open).map((tampering) => ({
    name: `used: ${tampering.name}`,
    payloads: [tampering.apply(open), encode(exec), encode(adjust)],
    shared: false,
  }))
}

/** One of the other things that can be wrong at a stage. */
export function randomCase(
  stage: Stage,
  random: Random,
  recorded: readonly Buffer[],
): StrangerCase {
  if (stage === 'plain' && random.chance(0.7)) return plainCase(random, recorded)
  const torn = random.chance(0.3)
  if (random.chance(0.3)) {
    return { name: 'replay', payloads: replay(stage, random, recorded), torn, shared: false }
  }
  const messages = Array.from({ length: 1 + random.int(20) }, () => {
    const shape = random.pick(random.chance(0.5) ? shapes[stage] : everything)
    if (random.chance(0.5)) return { name: shape.name, payload: encode(shape) }
    if (random.chance(0.5)) return { name: shape.name, payload: mutate(random, encode(shape)) }
    const tampering = tamperings(shape)
    const one = tampering.length === 0 ? undefined : random.pick(tampering)
    return { name: one?.name ?? shape.name, payload: one?.apply(shape) ?? encode(shape) }
  })
  return {
    name: messages.map(({ name }) => name).join('; '),
    payloads: messages.map(({ payload }) => payload),
    torn,
    shared: !torn,
  }
}

/** A valid session, in which something is changed, missing, twice or at another place. */
function replay(stage: Stage, random: Random, recorded: readonly Buffer[]): readonly Buffer[] {
  const from = stage === 'plain' ? 20 : stage === 'sealed' ? 5 : 80
  const payloads = recorded.filter(([type = 0]) => type >= from)
  const wounds = random.int(4)
  for (let wound = 0; wound < wounds && payloads.length > 0; wound++) {
    const at = random.int(payloads.length)
    const payload = payloads[at] ?? Buffer.alloc(0)
    switch (random.int(4)) {
      case 0:
        payloads.splice(at, 1)
        break
      case 1:
        payloads.splice(random.int(payloads.length), 0, payload)
        break
      case 2:
        payloads.splice(random.int(payloads.length), 0, ...payloads.splice(at, 1))
        break
      default:
        payloads[at] = mutate(random, payload)
    }
  }
  return payloads
}

const idents = [
  'SSH-1.5-old\r\n',
  'SSH-2.0-x\n',
  'SSH-2.0-\r\n',
  'SSH-2.0-\0\0\r\n',
  `SSH-2.0-${'A'.repeat(244)}\r\n`,
  `SSH-2.0-${'A'.repeat(8192)}\r\n`,
  `${'hello\r\n'.repeat(200)}SSH-2.0-late\r\n`,
  'SSH-2.0-half',
  'PROXY TCP4 10.0.0.1 10.0.0.2 1 22\r\nSSH-2.0-x\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  '\r\n\r\n\r\n\r\n',
  'SSH-2.0-\x1b]52;c;QQ==\x07\r\n',
]

function plainCase(random: Random, recorded: readonly Buffer[]): StrangerCase {
  const shared = false
  const torn = random.chance(0.3)
  switch (random.int(4)) {
    case 0: {
      const ident = Buffer.from(random.pick(idents), 'latin1')
      const name = `ident ${JSON.stringify(ident.toString('latin1', 0, 40))}`
      return { name, ident, payloads: replay('plain', random, recorded), torn, shared }
    }
    case 1: {
      const ident = random.bytes(random.int(2000))
      return { name: 'garbage for an ident', ident, payloads: [], torn, shared }
    }
    case 2: {
      const bytes = header(random)
      const name = `packet ${bytes.toString('hex', 0, 5)}`
      return { name, payloads: [], bytes, torn, shared }
    }
    default: {
      const bytes = random.bytes(1 + random.int(4000))
      return { name: 'garbage behind the ident', payloads: [], bytes, torn, shared }
    }
  }
}

/** A packet whose lengths are not its own. */
function header(random: Random): Buffer {
  const lengths = [0, 1, 4, 5, 12, 255, 32_768, 35_000, 35_001, 262_144, 262_145]
  const boundaries = [2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1]
  const packet = random.bytes(5 + random.int(600))
  packet.writeUInt32BE(random.pick([...lengths, ...boundaries]), 0)
  packet.writeUInt8(random.pick([0, 1, 4, 254, 255]), 4)
  return packet
}
