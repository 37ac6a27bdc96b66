import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Attacker, msg } from '../support/ssh-attacker.ts'
import { channelMsg, channelRequest, openChannel, signedLogin } from '../support/ssh-lab.ts'
import { encode, string } from './fields.ts'
import type { Subject } from './subject.ts'

/** The naive bastion, on this copy of ssh2. */
export async function startNaive(library: string, manner: 'trusting' | 'late'): Promise<Subject> {
  const script = join(import.meta.dirname, 'naive.ts')
  const child = spawn(process.execPath, [script, library, manner], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const exited = new Promise<number | null>((done) => child.once('exit', (code) => done(code)))
  const [line] = await once(createInterface(child.stdout), 'line')
  child.stdin.on('error', () => {})
  const port = Number(line)
  const key = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' })
  const subject: Subject = {
    port,
    pid: child.pid ?? 0,
    key: key.toString(),
    user: 'somebody',
    exited,
    onStderr: undefined,
    async login() {
      const socket = connect(port, '127.0.0.1')
      try {
        const person = new Attacker(socket)
        await person.handshakeForLogin()
        person.send(signedLogin(person.sessionId))
        await person.first(msg.authSuccess)
        person.send(openChannel(0))
        await person.first(channelMsg.confirmation)
        const command = encode({ name: '', fields: [string('x')] })
        person.send(channelRequest(0, 'exec', true, command))
        await person.first(channelMsg.data)
      } finally {
        socket.destroy()
      }
    },
    ready: async () => true,
    open: async () => ({}),
    accused: async () => ({}),
    async addTarget(targetPort) {
      child.stdin.write(`${targetPort}\n`)
      return String(targetPort)
    },
    async close() {
      child.kill('SIGKILL')
      await exited
    },
  }
  child.stderr.on('data', (chunk: Buffer) => subject.onStderr?.(chunk.toString()))
  return subject
}
