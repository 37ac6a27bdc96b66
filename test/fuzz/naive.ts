import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatOpenSshPrivateKey, verifyUserSignature, Writer } from '../../src/ssh/index.ts'
import { type LoginRequest, loadSsh2, makeHostKeys } from '../support/ssh2-library.ts'

/**
 * A bastion as it is quickly written: `node naive.ts DIRECTORY_OF_SSH2 trusting|late`, on a stock ssh2
 * and with the handlers of its manual. Prints its port, and dials the port of each line of its input
 * for whoever logs in as that port. A fuzzer that finds nothing here finds nothing.
 */
interface Session {
  on(event: 'exec', listener: (accept: () => Stream | undefined) => void): void
}

interface Stream {
  write(text: string): void
  exit(status: number): void
  end(): void
  on(event: 'error' | 'data' | 'close', listener: (chunk: Buffer) => void): void
}

interface Client {
  on(event: string, listener: (...args: never[]) => void): Client
}

const [path = '', manner] = process.argv.slice(2)
const ssh2 = loadSsh2(path)
const known = new Set<string>()
createInterface(process.stdin).on('line', (line) => known.add(line))

const server = new ssh2.Server({ hostKeys: makeHostKeys() }, (connection) => {
  const client: Client = connection
  let user = ''
  connection.on('error', () => {})
  connection.on('authentication', (request) => {
    user = request.username
    // Whoever shows a key is somebody, and nobody looks at the signature.
    if (manner === 'trusting') {
      if (request.method === 'publickey') request.accept()
      else request.reject()
      return
    }
    // As one does who asks a database, and does not expect an answer to throw.
    void sleep(20).then(() => (isSigned(request) ? request.accept() : request.reject()))
  })
  client.on('session', (accept: () => Session) => {
    accept().on('exec', (accept) => {
      const stream = accept()
      stream?.on('error', () => {})
      if (known.has(user)) return dial(Number(user), stream)
      stream?.write('well\n')
      stream?.exit(0)
      stream?.end()
    })
  })
})

function isSigned(request: LoginRequest): boolean {
  const signature: unknown = Reflect.get(request, 'signature')
  if (request.method !== 'publickey' || !(signature instanceof Buffer)) return false
  return verifyUserSignature({
    key: request.key.data,
    algorithm: request.key.algo,
    signature: new Writer().text(request.key.algo).string(signature).build(),
    data: request.blob ?? Buffer.alloc(0),
  })
}

function dial(port: number, stream: Stream | undefined): void {
  const target = new ssh2.Client()
  target.on('error', () => stream?.end())
  target.on('ready', () => {
    const exec: unknown = Reflect.get(target, 'exec')
    if (typeof exec !== 'function') return
    exec.call(target, 'x', (err: Error | undefined, remote: Stream) => {
      if (err !== undefined) return stream?.end()
      remote.on('data', (chunk) => stream?.write(chunk.toString()))
      remote.on('close', () => stream?.end())
      remote.write('hello\n')
    })
  })
  const [privateKey] = [formatOpenSshPrivateKey(generateKeyPairSync('ed25519').privateKey)]
  target.connect({ host: '127.0.0.1', port, username: 'root', privateKey })
}

const listener = createServer((socket) => {
  socket.on('error', () => {})
  server.injectSocket(socket)
})
listener.listen(0, '127.0.0.1', () => {
  const address = listener.address()
  console.log(typeof address === 'object' ? address?.port : '')
})
