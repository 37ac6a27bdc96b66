import { createPrivateKey } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Attacker, msg } from '../support/ssh-attacker.ts'
import { channelMsg, channelRequest, openChannel, signedLogin } from '../support/ssh-lab.ts'
import { encode, message, string, yes } from './fields.ts'
import { inPieces } from './pieces.ts'
import { Random } from './random.ts'
import { recordClient } from './recording.ts'
import { boundaryCases, randomCase, type Stage, type StrangerCase } from './stranger-cases.ts'
import { openTrace, readJob, type Tally } from './trace.ts'

/** Strangers at the port, and people who were let in and do what no client does. */
const job = readJob()
const privateKey = createPrivateKey(job.key)
const trace = openTrace(job.trace)
const deadline = performance.now() + job.seconds * 1000
const recorded = await recordClient()
const tally = { cases: 0, boundaryCases: 0, boundaryCasesInAll: 0, messages: 0 }
const violations: string[] = []

/** How many work at each stage at a time, of whom each waits for the bastion most of its time. */
const workers: Readonly<Record<Stage, number>> = {
  plain: 2,
  sealed: 3,
  inside: 2,
  open: 2,
  running: 2,
}
/** Long enough for an answer on a busy machine; whoever gets none goes on without. */
const answerMs = 400
const caseMs = 10_000
const casesPerVisit = 50

/** What nobody may see before a login: a channel, its data, a yes to any request. */
const privileges: readonly number[] = [
  ...[msg.authSuccess, 81, channelMsg.confirmation, channelMsg.adjust, channelMsg.data],
  ...[channelMsg.extendedData, channelMsg.success],
]

interface Visit {
  readonly attacker: Attacker
  readonly socket: Socket
  cases: number
}

function dial(random: Random, torn: boolean): Visit {
  // Many sources: one alone would be kept waiting before anybody read what it has to say.
  const host = [127, 1 + random.int(200), random.int(250), 1 + random.int(250)].join('.')
  const socket = connect({ port: job.port, host: '127.0.0.1', localAddress: host })
  socket.on('error', () => {})
  const attacker = new Attacker(torn ? inPieces(socket, random) : socket)
  return { attacker, socket, cases: 0 }
}

async function enter(stage: Stage, random: Random, torn = false): Promise<Visit> {
  const visit = dial(random, torn)
  const { attacker } = visit
  if (stage === 'plain') return visit
  await attacker.handshake()
  if (stage === 'sealed') return visit
  attacker.send(encode(message('', msg.serviceRequest, string('ssh-userauth'))))
  await attacker.first(msg.serviceAccept)
  attacker.send(signedLogin(attacker.sessionId, job.user, { privateKey, publicKey: privateKey }))
  await attacker.first(msg.authSuccess)
  if (stage !== 'inside') await openOne(visit, stage === 'running')
  return visit
}

/** A channel of number 0, in which something runs. */
async function openOne({ attacker }: Visit, running: boolean): Promise<void> {
  const from = attacker.received.length
  const seen = (type: number) =>
    attacker.until(() => attacker.received.slice(from).find((payload) => payload[0] === type))
  attacker.send(openChannel(0))
  const confirmation = await seen(channelMsg.confirmation)
  if (confirmation?.readUInt32BE(5) !== 0) throw new Error('not channel 0')
  if (!running) return
  attacker.send(channelRequest(0, 'exec', true, encodeText('cat')))
  await seen(channelMsg.success)
}

function encodeText(text: string): Buffer {
  return encode({ name: '', fields: [string(text)] })
}

/** A visit that can be used for a case: the one there is, or a new one. */
async function visitFor(
  stage: Stage,
  testCase: StrangerCase,
  random: Random,
  last: Visit | undefined,
): Promise<Visit> {
  const usable =
    last !== undefined &&
    testCase.shared &&
    stage !== 'plain' &&
    stage !== 'sealed' &&
    !last.attacker.ended &&
    last.cases < casesPerVisit
  if (!usable) {
    last?.socket.destroy()
    return enter(stage, random, testCase.torn)
  }
  const closed = last.attacker.received.some(([type]) => type === channelMsg.close)
  if (stage === 'inside' || !closed) return last
  last.socket.destroy()
  return enter(stage, random)
}

async function runCase(
  stage: Stage,
  testCase: StrangerCase,
  random: Random,
  last: Visit | undefined,
): Promise<Visit> {
  const visit = await visitFor(stage, testCase, random, last)
  const { attacker, socket } = visit
  visit.cases++
  if (stage === 'plain') {
    if (testCase.ident === undefined) attacker.sendIdent()
    else attacker.write(testCase.ident)
  }
  const payloads = [...testCase.payloads]
  // A login that is good but for one bit.
  if (stage === 'sealed' && random.chance(0.2)) payloads.push(...forgedLogin(attacker, random))
  if (random.chance(0.5)) attacker.send(...payloads)
  else for (const payload of payloads) attacker.send(payload)
  if (testCase.bytes !== undefined) attacker.write(testCase.bytes)
  tally.messages += payloads.length
  if (random.chance(0.1)) socket.resetAndDestroy()
  else await answered(stage, attacker, payloads)
  if (stage === 'plain' || stage === 'sealed') {
    const seen = attacker.received.find(([type = 0]) => privileges.includes(type))
    if (seen !== undefined) violations.push(`${stage}: ${testCase.name} got message ${seen[0]}`)
  }
  return visit
}

function forgedLogin(attacker: Attacker, random: Random): Buffer[] {
  const login = signedLogin(attacker.sessionId, job.user, { privateKey, publicKey: privateKey })
  const at = 1 + random.int(login.length - 1)
  login[at] = (login[at] ?? 0) ^ (1 << random.int(8))
  return [encode(message('', msg.serviceRequest, string('ssh-userauth'))), login]
}

/** Until the bastion has taken all that was sent, or has had enough of it. */
async function answered(
  stage: Stage,
  attacker: Attacker,
  payloads: readonly Buffer[],
): Promise<void> {
  if (stage === 'plain' || stage === 'sealed') {
    // Who does not wait for the database has it work for hundreds at once, and measures only that.
    const asks = stage === 'sealed' && payloads.some(([type]) => type === msg.authRequest)
    const told = asks ? attacker.until(() => attacker.received.find(isVerdict)) : attacker.closed
    await Promise.race([told, sleep(asks ? 2 * answerMs : 20)])
    return
  }
  const from = attacker.received.length
  attacker.send(encode(message('', msg.globalRequest, string('keepalive@openssh.com'), yes)))
  const reply = attacker.until(() => attacker.received.slice(from).find(([type]) => type === 82))
  const came = await Promise.race([reply, sleep(answerMs, 'silence' as const)])
  // An exchange of keys that was begun and not ended, most likely.
  if (came === 'silence') attacker.end()
}

function isVerdict([type = 0]: Buffer): boolean {
  return type === msg.disconnect || (type >= msg.authFailure && type <= msg.authMethod60)
}

async function work(stage: Stage, counter: { next: number }, salt: number) {
  const boundary = boundaryCases(stage, new Random(job.seed, salt))
  if (counter.next === 0) tally.boundaryCasesInAll += boundary.length
  let last: Visit | undefined
  while (performance.now() < deadline && violations.length === 0) {
    const count = counter.next++
    const random = new Random(job.seed, salt + 1 + count)
    const systematic = count % 4 === 3 ? undefined : boundary[count - Math.floor((count + 1) / 4)]
    const testCase = systematic ?? randomCase(stage, random, recorded)
    trace.note(count, `${stage}: ${testCase.name}`)
    tally.cases++
    if (systematic !== undefined) tally.boundaryCases++
    const run = runCase(stage, testCase, random, last).catch(() => undefined)
    last = (await Promise.race([run, sleep(caseMs, undefined, { ref: false })])) ?? undefined
  }
  last?.socket.destroy()
}

const stageWork = Object.entries(workers).flatMap(([stage, count], number) => {
  const counter = { next: 0 }
  return Array.from({ length: count }, () => work(stage as Stage, counter, number * 10_000_000))
})
await Promise.all(stageWork)
trace.close()
const said: Tally = { ...tally, violations }
console.log(JSON.stringify(said))
process.exit(0)
