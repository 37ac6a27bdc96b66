import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { init, message, open, read, remove, write } from '../bastion/worker/sftp/sftp-packets.ts'
import { runProgram } from '../support/clients.ts'
import { addTarget, events, eventually, newestEnded, sessions } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** What is done to files is on the log, with what was in them. */
let vaultterm: VaultTerm
let sshd: Sshd
let config: string
const bytes = randomBytes(20_000_000)
const sum = createHash('sha256').update(bytes).digest('hex')

beforeAll(async () => {
  // A killed one's sessions end when its lease has run out.
  vaultterm = await VaultTerm.start({ VAULTTERM_NODE_LEASE_SECONDS: '15' })
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  config = join(vaultterm.home, 'demo/ssh_config')
  writeFileSync(join(sshd.directory, 'many'), bytes)
})
afterAll(async () => {
  await sshd?.close()
  await vaultterm?.close()
})

/** The operations of the newest session, once it has ended. */
async function operations() {
  const session = await newestEnded(vaultterm)
  return (await events(vaultterm))
    .filter(({ type, public: { session: id } }) => type === 'file.operation' && id === session.id)
    .map(({ public: said, private: hidden }) => {
      const { session: _session, user: _user, target: _target, node: _node, ...rest } = said
      const { number: _number, bytes: size, ...shown } = rest
      return {
        ...shown,
        ...(size === undefined ? {} : { size: size === 'unknown' ? size : Number(size) }),
        ...hidden,
      }
    })
    .filter((told): told is Told => 'operation' in told)
}

interface Told {
  readonly operation: string
  readonly size?: number | 'unknown'
  readonly status?: string
  readonly state?: string
  readonly path?: string
  readonly [key: string]: unknown
}

/** Without the requests that clients send at their start, and those that only look. */
async function acts() {
  const looks = ['realpath', 'readlink', 'lookup', 'extended']
  return (await operations()).filter(({ operation }) => !looks.includes(operation))
}

/** A client of our own: it writes packets as they are, and reads answers. */
class RawClient {
  readonly #child: ChildProcess
  #answers = Buffer.alloc(0)
  stderr = ''
  readonly exited: Promise<unknown>

  constructor({ target = 'real', options = [] as readonly string[] } = {}) {
    this.#child = spawn('ssh', ['-F', config, ...options, '-s', `acme+${target}`, 'sftp'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#answers = Buffer.concat([this.#answers, chunk])
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString()
    })
    this.#child.stdin?.on('error', () => {})
    this.exited = new Promise((done) => this.#child.once('close', done))
  }

  send(...packets: Buffer[]): void {
    this.#child.stdin?.write(Buffer.concat(packets))
  }

  /** The answers that have come whole, without their lengths. */
  get answers(): Buffer[] {
    const packets: Buffer[] = []
    let rest = this.#answers
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
      const end = 4 + rest.readUInt32BE(0)
      packets.push(rest.subarray(4, end))
      rest = rest.subarray(end)
    }
    return packets
  }

  async expect(count: number): Promise<Buffer[]> {
    return eventually(
      () => (this.answers.length >= count ? this.answers : undefined),
      `${count} answers; on stderr: ${this.stderr}`,
      60_000,
    )
  }

  /** Gone without a word. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }

  async end(): Promise<void> {
    this.#child.stdin?.end()
    await this.exited
  }
}

/** The handle in an answer. */
const handleOf = (answer: Buffer | undefined) => {
  if (answer?.[0] !== 102) throw new Error('no HANDLE')
  return answer.subarray(9).toString('latin1')
}

async function sftp(...lines: string[]) {
  const batch = join(sshd.directory, 'batch')
  writeFileSync(batch, `${lines.join('\n')}\n`)
  return runProgram('sftp', ['-F', config, '-b', batch, 'acme+real'])
}

test('transfers are on the log with what was in them', async () => {
  const place = sshd.directory
  const { code } = await sftp(`put ${place}/many ${place}/up`, `get ${place}/up ${place}/down`)
  expect(code).toBe(0)
  expect(readFileSync(join(place, 'down')).equals(bytes)).toBe(true)
  const whole = { path: `${place}/up`, size: bytes.length, status: '0', sha256: sum }
  const opened = { operation: 'open', path: `${place}/up`, state: 'open', status: '0' }
  expect((await acts()).filter(({ state }) => state !== 'running')).toEqual([
    {
      ...opened,
      flags: ['write', 'creat', 'trunc'],
      attributes: [expect.stringMatching(/^mode=6\d\d$/)],
    },
    { operation: 'write', ...whole },
    { ...opened, flags: ['read'] },
    { operation: 'read', ...whole },
  ])
})

test('everything else that is done to files, and what came of it', async () => {
  const place = sshd.directory
  await sftp(
    `mkdir ${place}/d`,
    `-put ${place}/batch ${place}/nowhere/x`,
    `rename ${place}/up ${place}/d/renamed`,
    `ln -s ${place}/d ${place}/link`,
    `chmod 600 ${place}/d/renamed`,
    `rm ${place}/d/renamed`,
    `ls ${place}/d`,
    `rmdir ${place}/d`,
    `-rm ${place}/nothing`,
  )
  const told = (await operations()).map(({ operation, status }) => `${operation} ${status}`)
  expect(told).toEqual(
    expect.arrayContaining([
      'mkdir 0',
      'open 2',
      'rename 0',
      'symlink 0',
      'setstat 0',
      'remove 0',
      'list 0',
      'rmdir 0',
      'remove 2',
    ]),
  )
})

test('scp, which speaks it too', async () => {
  const place = sshd.directory
  const { code } = await runProgram('scp', [
    '-q',
    '-F',
    config,
    `${place}/many`,
    `acme+real:${place}/scp`,
  ])
  expect(code).toBe(0)
  expect(await operations()).toContainEqual({
    operation: 'write',
    path: `${place}/scp`,
    size: bytes.length,
    status: '0',
    sha256: sum,
  })
})

test('a client that goes away in the middle leaves what it had done on the log', async () => {
  const place = sshd.directory
  const half = join(place, 'half')
  // Half a megabyte a second: it is not done when it is killed.
  const slowly = ['-F', config, '-l', '4000', '-b', '-', 'acme+real']
  const child = spawn('sftp', slowly, { stdio: ['pipe', 'ignore', 'ignore'] })
  const gone = new Promise((done) => child.once('close', done))
  child.stdin.end(`put ${place}/many ${half}\n`)
  await eventually(
    () => (existsSync(half) && statSync(half).size > 0 ? true : undefined),
    'the beginning of the file',
  )
  child.kill('SIGKILL')
  await gone
  const told = await acts()
  expect(told).toContainEqual(
    expect.objectContaining({ operation: 'open', path: `${place}/half`, state: 'open' }),
  )
  const end = told.find(({ operation, state }) => operation === 'write' && state !== 'running')
  expect(end).toMatchObject({ path: `${place}/half`, state: 'interrupted' })
  expect(end?.status).toBeUndefined()
})

test('attack: CH-19: what is no SFTP ends the session, and not the bastion', async () => {
  for (const [input, code] of [
    ['\xff\xff\xff\xff\x05', 'ERR_SFTP_UNREADABLE'],
    ['\0\0\0\x05\x63\0\0\0\x01', 'ERR_SFTP_UNREADABLE'],
  ] as const) {
    const { stderr } = await runProgram('ssh', ['-F', config, '-s', 'acme+real', 'sftp'], {
      input: Buffer.from(input, 'latin1'),
    })
    expect(stderr).toContain(code)
    const session = await newestEnded(vaultterm)
    expect(session).toMatchObject({ kind: 'sftp', reason: 'sftp-unreadable' })
  }
  // What is SFTP goes on.
  expect(await sftp('pwd')).toMatchObject({ code: 0 })
})

test('attack: of many removals at once, not one is missing on the log when the client is gone', async () => {
  const place = join(sshd.directory, 'removals')
  mkdirSync(place)
  const count = 800
  const paths = Array.from({ length: count }, (_, at) => join(place, `f${at}`))
  for (const path of paths) writeFileSync(path, '')
  const client = new RawClient()
  client.send(init(), ...paths.map((path, id) => remove(id, path)))
  // The first of them are answered: the client has seen enough, and is gone.
  await client.expect(2)
  await client.kill()
  const told = new Set((await acts()).map(({ path }) => path))
  const gone = paths.filter((path) => !existsSync(path))
  expect(gone.length).toBeGreaterThan(0)
  expect(gone.filter((path) => !told.has(path))).toEqual([])
})

test('attack: a worker that dies leaves its open files on the log', async () => {
  const place = sshd.directory
  const client = new RawClient()
  client.send(init(), open(1, `${place}/dropped`, 0x1a), open(2, `${place}/many`, 1))
  const [, up, down] = await client.expect(3)
  client.send(
    write(3, handleOf(up), 0, bytes.subarray(0, 30_000)),
    read(4, handleOf(down), 0, 1000),
  )
  await client.expect(5)
  for (const pid of vaultterm.workers) process.kill(pid, 'SIGKILL')
  await client.exited
  const told = await acts()
  expect(told).toContainEqual(
    expect.objectContaining({
      operation: 'open',
      path: `${place}/dropped`,
      flags: ['write', 'creat', 'trunc'],
    }),
  )
  for (const [operation, path] of [
    ['write', `${place}/dropped`],
    ['read', `${place}/many`],
  ] as const) {
    const end = told.find((one) => one.operation === operation)
    expect(end).toMatchObject({ path, state: 'interrupted' })
    expect(end?.size).toSatisfy((size) => size === 'unknown' || Number(size) > 0)
  }
  const session = await newestEnded(vaultterm)
  expect(session).toMatchObject({ kind: 'sftp', reason: 'interrupted' })
})

test('attack: no terminal changes the bytes between the inspection and the target', async () => {
  // A terminal would make a newline of the carriage return, and send back all that it gets.
  writeFileSync(join(sshd.directory, 'a\rb'), '')
  writeFileSync(join(sshd.directory, 'a\nb'), '')
  const client = new RawClient({ options: ['-tt'] })
  client.send(init(), remove(1, join(sshd.directory, 'a\rb')))
  const [, answer] = await client.expect(2)
  expect(answer?.subarray(0, 9).toString('hex')).toBe('650000000100000000')
  await client.end()
  expect(existsSync(join(sshd.directory, 'a\rb'))).toBe(false)
  expect(existsSync(join(sshd.directory, 'a\nb'))).toBe(true)
  expect(await newestEnded(vaultterm)).toMatchObject({ kind: 'sftp' })
})

test('a target that ends in the middle of an answer ends the session', async () => {
  // Its VERSION, and in the same write the beginning of a STATUS.
  const answers = '\\000\\000\\000\\005\\002\\000\\000\\000\\003\\000\\000\\000\\074\\145'
  const broken = await Sshd.start([`ForceCommand head -c 18 > /dev/null; printf '${answers}'`])
  try {
    await addTarget(vaultterm, broken, { name: 'broken' })
    const client = new RawClient({ target: 'broken' })
    client.send(init(), remove(1, '/x'))
    await client.exited
    expect(client.answers).toHaveLength(1)
    expect(await newestEnded(vaultterm)).toMatchObject({ target: 'broken', exitStatus: 0 })
  } finally {
    await broken.close()
  }
})

test('attack: a path that is mostly nothing does not hide its name', async () => {
  const path = `${sshd.directory}/${'./'.repeat(700)}${'x/../'.repeat(400)}hidden`
  const client = new RawClient()
  client.send(init(), remove(1, path))
  await client.expect(2)
  await client.end()
  const [told] = await acts()
  expect(told).toMatchObject({
    operation: 'remove',
    pathBytes: String(path.length),
    pathSha256: createHash('sha256').update(path).digest('hex'),
  })
  expect(told?.path?.startsWith(`${sshd.directory}/x/../`)).toBe(true)
  expect(told?.path?.endsWith('/hidden')).toBe(true)
})

test('a client that offers version 6 speaks version 3 with its target', async () => {
  const client = new RawClient()
  client.send(init(6), remove(1, `${sshd.directory}/none`))
  const [version, answer] = await client.expect(2)
  expect(version?.subarray(0, 5)).toEqual(Buffer.from([2, 0, 0, 0, 3]))
  expect(answer?.[0]).toBe(101)
  await client.end()
})

test('an operation that was answered is on the log when the main process is killed', async () => {
  const path = join(sshd.directory, 'answered')
  writeFileSync(path, '')
  const client = new RawClient()
  client.send(init(), remove(1, path))
  await client.expect(2)
  await vaultterm.crash()
  await client.exited
  await vaultterm.up()
  // The next process ends the session once the lease of the killed one has run out.
  const isOver = async () => (await sessions(vaultterm)).every(({ live }) => !live) || undefined
  await eventually(isOver, 'the end of the session', 90_000)
  expect(await acts()).toMatchObject([{ operation: 'remove', path, status: '0' }])
})

describe('attack: a target that answers as it likes', () => {
  /** A target that runs this in place of its server: `say(packet)` on each packet of the client. */
  async function withServer(script: string, act: () => Promise<void>) {
    const file = join(sshd.directory, 'server.cjs')
    writeFileSync(file, `${serverHead}${script}`)
    sshd.settings.push(`ForceCommand ${process.execPath} ${file}`)
    await sshd.down()
    await sshd.up()
    try {
      await act()
    } finally {
      sshd.settings.pop()
      await sshd.down()
      await sshd.up()
    }
  }

  test('a shell in the answers to look-ups ends the session', async () => {
    const shell = `serve((type, id, path) =>
      name(id, ...require('node:child_process').execSync(path).toString().split('\\n')))`
    await withServer(shell, async () => {
      const client = new RawClient()
      client.send(init())
      await client.expect(1)
      client.send(message(17, 1, (writer) => writer.text('id; uname -a')))
      await client.exited
      expect(client.stderr).toContain('ERR_SFTP_UNREADABLE')
      expect(client.answers).toHaveLength(1)
    })
  })

  test('a shell in REALPATH is on the log with what was asked and answered', async () => {
    const shell = `serve((type, id, path) =>
      name(id, require('node:child_process').execSync(path).toString().trim()))`
    await withServer(shell, async () => {
      const client = new RawClient()
      client.send(
        init(),
        message(16, 1, (writer) => writer.text('echo over the wall')),
      )
      await client.expect(2)
      await client.end()
      expect(await operations()).toMatchObject([
        { operation: 'realpath', path: 'echo over the wall', to: 'over the wall', status: '0' },
      ])
    })
  })

  test('more data than was asked for end the session', async () => {
    const greedy = `serve((type, id) => type === 3 ? send(102, id, text('h')) : send(103, id, text('x'.repeat(20))))`
    await withServer(greedy, async () => {
      const client = new RawClient()
      client.send(init(), open(1, '/a'))
      await client.expect(2)
      client.send(read(2, 'h', 0, 10))
      await client.exited
      expect(client.stderr).toContain('more data than was asked for')
    })
  })

  test('a server of another version is told of', async () => {
    await withServer(`serverVersion = 6; serve(() => {})`, async () => {
      const client = new RawClient()
      client.send(init())
      await client.exited
      expect(client.stderr).toContain('a server of version 6')
    })
  })
})

const serverHead = `
let serverVersion = 3
const u32 = (value) => { const b = Buffer.alloc(4); b.writeUInt32BE(value); return b }
const text = (value) => Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)])
const packet = (...parts) => {
  const body = Buffer.concat(parts)
  process.stdout.write(Buffer.concat([u32(body.length), body]))
}
const send = (type, id, ...parts) => packet(Buffer.from([type]), u32(id), ...parts)
const name = (id, ...paths) =>
  send(104, id, u32(paths.length), ...paths.flatMap((path) => [text(path), text(''), u32(0)]))
function serve(say) {
  let held = Buffer.alloc(0)
  process.stdin.on('data', (chunk) => {
    held = Buffer.concat([held, chunk])
    while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
      const body = held.subarray(4, 4 + held.readUInt32BE(0))
      held = held.subarray(4 + body.length)
      if (body[0] === 1) packet(Buffer.from([2]), u32(serverVersion))
      else {
        const length = body.length > 9 ? body.readUInt32BE(5) : 0
        say(body[0], body.readUInt32BE(1), body.subarray(9, 9 + length).toString())
      }
    }
  })
}
`
