import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatPublicKey, parsePublicKeyBlob, publicKeyBlob, Reader } from '../../src/ssh/index.ts'
import { Attacker, msg } from '../support/ssh-attacker.ts'
import { Impostor } from '../support/ssh-impostor.ts'
import { channelMsg, channelRequest, openChannel, signedLogin } from '../support/ssh-lab.ts'
import { encode, type Message, message, nested, no, string, u32 } from './fields.ts'
import { inPieces } from './pieces.ts'
import { Random } from './random.ts'
import { recordServer } from './recording.ts'
import {
  extInfo,
  type TargetCase,
  type Turn,
  targetBoundaryCases,
  targetRandomCase,
} from './target-cases.ts'
import { openTrace, readJob, type Tally } from './trace.ts'

/** A target that does what no server does, and people who open it. */
const job = readJob()
const privateKey = createPrivateKey(job.key)
const hostKey = generateKeyPairSync('ed25519').privateKey
const trace = openTrace(job.trace)
const startedMs = performance.now()
const recorded = await recordServer()
/** How long a person waits for a target that has forgotten them: longer where all takes longer. */
const patienceMs = Math.max(300, performance.now() - startedMs)
const boundary = targetBoundaryCases(new Random(job.seed))
const tally = { cases: 0, boundaryCases: 0, messages: 0 }

const visitorsMax = 16
const sessionsPerVisit = 8
/** How long a command runs. */
const commandMs = 10

let count = 0
const server = createServer((socket) => {
  const random = new Random(job.seed, count + 1)
  const systematic = count % 3 === 2 ? undefined : boundary[count - Math.floor((count + 1) / 3)]
  const testCase = systematic ?? targetRandomCase(random, recorded)
  trace.note(count++, `target: ${testCase.name}`)
  tally.cases++
  if (systematic !== undefined) tally.boundaryCases++
  socket.on('error', () => {})
  const impostor = new Impostor(testCase.torn ? inPieces(socket, random) : socket, hostKey)
  play(impostor, testCase, socket).catch(() => socket.destroy())
  // Whoever is kept waiting is let go: the next case is due.
  setTimeout(() => socket.destroy(), 2 * patienceMs)
})
server.listen(0, '127.0.0.1', () => {
  const parsed = parsePublicKeyBlob(publicKeyBlob(hostKey))
  const address = server.address()
  if (!('key' in parsed) || typeof address !== 'object') throw new Error('no host key')
  console.log(JSON.stringify({ port: address?.port, hostKey: formatPublicKey(parsed.key) }))
})

/** A session as it should be, but for one turn. */
async function play(impostor: Impostor, testCase: TargetCase, socket: Socket): Promise<void> {
  const turn = (at: Turn, due: Message) => {
    if (testCase.at !== at) return impostor.send(encode(due))
    if (testCase.bytes !== undefined) impostor.write(testCase.bytes)
    const payloads = testCase.replace(due)
    tally.messages += payloads.length
    impostor.send(...payloads)
    leave(testCase, socket)
  }
  if (testCase.at === 'ident') {
    impostor.write(testCase.bytes ?? '')
    leave(testCase, socket)
  }
  impostor.sendIdent()
  turn('kexInit', readKexInit(impostor.makeKexInit(testCase.name.length % 2 === 0)))
  const init = await impostor.next()
  const initiate = await impostor.next()
  if (init === undefined || initiate === undefined) return
  const { publicValue, ...reply } = impostor.makeKexReply(init, initiate)
  const parts = [readPair(reply.hostKey), string(publicValue), readPair(reply.signature)] as const
  turn('kexReply', message('KEX_REPLY', msg.kexReply, ...parts))
  if (testCase.at === 'newKeys') turn('newKeys', message('NEWKEYS', msg.newKeys))
  else impostor.sendNewKeys()
  turn('extInfo', extInfo)
  for (;;) {
    const payload = await impostor.next()
    if (payload === undefined) return
    switch (payload[0]) {
      case msg.serviceRequest:
        turn('service', message('SERVICE_ACCEPT', msg.serviceAccept, string('ssh-userauth')))
        break
      case msg.authRequest:
        loginAsked(payload, turn)
        break
      case channelMsg.open: {
        const terms = [u32(0), u32(0), u32(2 ** 21), u32(2 ** 15)]
        turn('open', message('CONFIRMATION', channelMsg.confirmation, ...terms))
        break
      }
      case channelMsg.request:
        if (!isExec(payload)) break
        turn('reply', message('SUCCESS', channelMsg.success, u32(0)))
        turn('output', message('DATA', channelMsg.data, u32(0), string('output\n')))
        setTimeout(() => {
          impostor.send(encode(message('EOF', channelMsg.eof, u32(0))))
          impostor.send(encode(message('CLOSE', channelMsg.close, u32(0))))
        }, commandMs)
        break
    }
  }
}

function leave({ leave }: TargetCase, socket: Socket): void {
  if (leave === 'end') socket.end()
  if (leave === 'reset') socket.resetAndDestroy()
  if (leave === 'stop reading') socket.pause()
}

/** The fields of a real message, for what is to be changed in it. */
function readKexInit(payload: Buffer): Message {
  const reader = new Reader(payload)
  reader.u8()
  const cookie = reader.bytes(16)
  const lists = Array.from({ length: 10 }, () => string(reader.string()))
  return message(
    'KEXINIT',
    msg.kexInit,
    { is: 'bytes', value: cookie },
    ...lists,
    {
      is: 'byte',
      value: reader.u8(),
    },
    u32(reader.u32()),
  )
}

function readPair(blob: Buffer) {
  const reader = new Reader(blob)
  return nested(string(reader.string()), string(reader.string()))
}

function readLogin(payload: Buffer) {
  const reader = new Reader(payload)
  reader.u8()
  for (let field = 0; field < 2; field++) reader.string()
  const method = reader.text()
  if (!method.startsWith('publickey')) return undefined
  return { signed: reader.u8() !== 0, algorithm: reader.string(), key: reader.string() }
}

function loginAsked(payload: Buffer, turn: (at: Turn, due: Message) => void): void {
  const login = readLogin(payload)
  // Whoever only asks for the methods there are.
  if (login === undefined)
    turn('offer', message('FAILURE', msg.authFailure, string('publickey'), no))
  else if (login.signed) turn('login', message('USERAUTH_SUCCESS', msg.authSuccess))
  else {
    const shown = [string(login.algorithm), string(login.key)]
    turn('offer', message('USERAUTH_PK_OK', msg.authMethod60, ...shown))
  }
}

function isExec(payload: Buffer): boolean {
  return payload.includes('exec', 9)
}

/** Somebody who opens the target again and again. */
async function visit(random: Random): Promise<void> {
  const host = [127, 1 + random.int(200), random.int(250), 1 + random.int(250)].join('.')
  const socket = connect({ port: job.port, host: '127.0.0.1', localAddress: host })
  socket.on('error', () => {})
  try {
    const attacker = new Attacker(socket)
    await attacker.handshakeForLogin()
    attacker.send(
      signedLogin(attacker.sessionId, String(user), { privateKey, publicKey: privateKey }),
    )
    await attacker.first(msg.authSuccess)
    for (let session = 0; session < sessionsPerVisit && !attacker.ended; session++) {
      if (performance.now() > deadline) return
      const from = attacker.received.length
      const seen = (type: number) =>
        attacker.until(() => attacker.received.slice(from).find((payload) => payload[0] === type))
      attacker.send(openChannel(session))
      const number = (await seen(channelMsg.confirmation))?.readUInt32BE(5) ?? 0
      attacker.send(
        channelRequest(number, 'exec', true, encode({ name: '', fields: [string('x')] })),
        encode(message('DATA', channelMsg.data, u32(number), string('input\n'))),
      )
      await Promise.race([seen(channelMsg.close), sleep(patienceMs)])
      attacker.send(encode(message('CLOSE', channelMsg.close, u32(number))))
      await Promise.race([seen(channelMsg.close), sleep(patienceMs)])
    }
  } finally {
    socket.destroy()
  }
}

// Whoever started us registers the target, and then says so.
const [user] = await once(createInterface(process.stdin), 'line')
const deadline = performance.now() + job.seconds * 1000
let visits = 0
const visitor = async () => {
  while (performance.now() < deadline) {
    const random = new Random(job.seed, 1_000_000 + visits++)
    const over = visit(random).catch(() => sleep(20))
    await Promise.race([over, sleep(20_000, undefined, { ref: false })])
  }
}
await Promise.all(Array.from({ length: visitorsMax }, visitor))
trace.close()
const said: Tally = { ...tally, boundaryCasesInAll: boundary.length, violations: [] }
console.log(JSON.stringify(said))
process.exit(0)
