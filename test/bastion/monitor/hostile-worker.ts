import { createPrivateKey, sign } from 'node:crypto'
import { openSync, writeFileSync, writeSync } from 'node:fs'
import { createServer, connect as dial, type Socket } from 'node:net'
import { pipeDescriptors } from '../../../src/bastion/wire/message-pipe.ts'
import { Writer } from '../../../src/ssh/index.ts'
import { boundLogin } from '../../support/bound-login.ts'
import { publicKeyOf } from '../../support/ssh-authority.ts'
import { openWorkerPipe } from '../../support/worker-process.ts'

/**
 * A worker in the hands of an attacker: once it may serve, it does what it is told by its first
 * argument, or says what its second and third argument give it, and so many times.
 */
const [what = 'say', words = '[]', times = '1'] = process.argv.slice(2)

/** Is called when the session is killed. */
let killed: (() => void) | undefined
/** Is called at a ping. */
let pinged: (() => void) | undefined
const answers: ((value: unknown) => void)[] = []
const pipe = openWorkerPipe((message) => {
  if (message.type === 'answer' && message.id !== undefined) answers[message.id]?.(message.value)
  if (message.type === 'ping') pipe.send({ type: 'pong', id: message.id })
  if (message.type === 'ping') pinged?.()
  if (message.type === 'kill' && what === 'cut-and-wait') {
    pipe.send({ type: 'cut', id: message.session })
  }
  if (message.type === 'kill' && what === 'note-files') {
    pipe.send({ type: 'cut', id: message.session })
    killed?.()
    killed = undefined
  }
  // One that lingers still has sessions.
  if (message.type === 'drain' && what !== 'linger') process.exit(0)
  if (message.type === 'stop') process.exit(0)
  if (message.type !== 'start') return
  if (what === 'never-ready') return
  pipe.send({ type: 'ready' })
  act()
})

function call(method: string, ...args: unknown[]) {
  return new Promise<{ id: string; session: string }>((resolve) => {
    const id = answers.push((value) => resolve(value as { id: string; session: string })) - 1
    pipe.send({ type: 'call', id, call: { method, args } })
  })
}

/** Has a session and a forward, as an honest one comes to them, and ends neither. */
async function goOn(connection: string, cookie: Buffer): Promise<void> {
  const { user, pem, marker } = JSON.parse(words) as { user: string; pem: string; marker: string }
  await call('login', connection, boundLogin(cookie, keyOf(pem), user))
  const { id } = await call('authorize', connection, 'shell')
  const facts = { kind: 'shell', clientIdent: 'SSH-2.0-hostile' }
  const { session } = await call('startSession', connection, id, facts)
  await call('openForward', connection, session, { kind: 'agent' })
  if (what !== 'note-files' && what !== 'note-when-pinged') return
  const note = () => {
    for (let number = 0; number < 12; number++) {
      const path = { base64: Buffer.from(`/${number}`).toString('base64') }
      const notes = { asked: [{ number, op: 'remove', path }], moved: [] }
      const isLast = number === 11
      pipe.send({ type: 'files', connection, session, notes }, () => {
        // From now on an honest worker sends the requests on.
        if (isLast) writeFileSync(marker, '')
      })
    }
  }
  if (what === 'note-files') note()
  else pinged = note
  killed = () => void call('endSession', connection, session, { bytes: 0, reason: 'killed' })
}

function keyOf(pem: string) {
  const privateKey = createPrivateKey(pem)
  const algorithm = 'ssh-ed25519'
  return {
    blob: publicKeyOf(privateKey).blob,
    algorithm,
    sign: (data: Buffer) =>
      new Writer()
        .text(algorithm)
        .string(sign(null, data, privateKey))
        .build(),
  }
}

/** Straight to the descriptor, and again when it is full. */
function write(descriptor: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(descriptor, bytes, at)
    } catch (err) {
      if (!(err instanceof Error && 'code' in err && err.code === 'EAGAIN')) throw err
    }
  }
}

function act(): void {
  switch (what) {
    case 'say':
      for (let time = 0; time < Number(times); time++) {
        for (const word of JSON.parse(words)) pipe.send(word)
      }
      return
    case 'frame-of-nothing':
      return write(pipeDescriptors.toMain, Buffer.from('\0\0\0\x08not json'))
    case 'frame-too-long':
      return write(
        pipeDescriptors.toMain,
        Buffer.concat([Buffer.from('ffffff00', 'hex'), Buffer.alloc(1e6)]),
      )
    case 'hang-up':
      return pipe.close()
    case 'receipt-of-nothing':
      return void process.send?.({ cmd: 'NODE_HANDLE_ACK' })
    case 'internal-message':
      return void process.send?.({ cmd: 'NODE_HANDLE', type: 'nonsense', msg: 1 })
    case 'message':
      return void process.send?.({ type: 'ready' })
    case 'bytes':
      return write(3, Buffer.from('}{\n'))
    case 'endless':
      return write(3, Buffer.alloc(64 * 1048576, 0x20))
    case 'disconnect':
      return process.disconnect()
    case 'socket': {
      const server = createServer((socket) => process.send?.({ type: 'pong', id: 1 }, socket))
      server.listen(0, '127.0.0.1', () => {
        const address = server.address()
        if (typeof address === 'object' && address !== null) dial(address.port, '127.0.0.1')
      })
      return
    }
    case 'hold':
      // Takes nothing that it is given.
      return void setInterval(() => {}, 1000)
    case 'stand':
      for (;;);
    case 'work': {
      // As one that serves so many clients that it does not come to its pipe.
      const nothing = openSync('/dev/null', 'w')
      for (;;) writeSync(nothing, 'x')
    }
  }
}

process.on('message', (given: { connection: string; cookie: string }, socket?: Socket) => {
  const { connection } = given
  if (what === 'hold') return
  if (socket !== undefined) pipe.send({ type: 'taken', connection })
  if (what === 'drop') {
    pipe.send({ type: 'closed', connection })
    socket?.destroy()
  }
  if (['go-on', 'cut-and-wait', 'note-files', 'note-when-pinged'].includes(what)) {
    void goOn(connection, Buffer.from(given.cookie, 'hex'))
  }
  if (what !== 'forge') return
  // Nobody has logged in there.
  for (let id = 0; id < 30; id++) {
    pipe.send({ type: 'call', id, call: { method: 'authorize', args: [connection, 'shell'] } })
  }
})
