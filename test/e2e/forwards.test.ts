import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import {
  addGrant,
  addTarget,
  events,
  eventually,
  makeKey,
  sessions,
} from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd
/** Says what it is told, and ends when it is told that. */
let echo: Server
let echoPort = 0
const children: ReturnType<typeof spawn>[] = []

beforeAll(async () => {
  vaultterm = await VaultTerm.start({ VAULTTERM_LISTENERS_PER_CONNECTION_MAX: '10' })
  sshd = await Sshd.start([
    'AllowStreamLocalForwarding yes',
    'X11Forwarding yes',
    'GatewayPorts no',
  ])
  await addTarget(vaultterm, sshd)
  await addGrant(vaultterm, 'forward,remote-forward,agent,x11')
  ;({ server: echo, port: echoPort } = await listen((socket) => socket.pipe(socket)))
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  echo?.close()
  await sshd?.close()
  await vaultterm?.close()
})

function listen(serve: (socket: Socket) => void, at: object = { host: '127.0.0.1', port: 0 }) {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    serve(socket)
  })
  return new Promise<{ server: Server; port: number }>((resolve) => {
    server.listen(at, () => {
      const address = server.address()
      resolve({ server, port: typeof address === 'object' && address !== null ? address.port : 0 })
    })
  })
}

/** `ssh -N` with these, once its forwards are there. */
async function forwarding(...args: string[]) {
  const child = spawn(
    'ssh',
    [
      '-F',
      join(vaultterm.home, 'demo/ssh_config'),
      '-v',
      '-N',
      '-o',
      'ExitOnForwardFailure=yes',
      ...args,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  children.push(child)
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  await eventually(() => {
    if (child.exitCode !== null) throw new Error(said)
    return /pledge: |Entering interactive session/.test(said) ? true : undefined
  }, 'the forward')
  // What the server answers comes after that.
  if (args.includes('-R'))
    await eventually(
      () => (/remote forward success|Allocated port/.test(said) ? true : undefined),
      said,
    )
  return { child, said: () => said }
}

const dialled = async (port: number) => {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** What comes back for bytes, until the other side has ended. */
async function exchange(port: number, bytes: Buffer): Promise<Buffer> {
  const socket = await dialled(port)
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk))
  socket.end(bytes)
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

const bytes = randomBytes(8_000_000)

describe('carries', () => {
  test('-L, byte for byte and half by half', async () => {
    const port = await freePort()
    await forwarding('-L', `${port}:127.0.0.1:${echoPort}`, 'acme+real')
    expect((await exchange(port, bytes)).equals(bytes)).toBe(true)
    const again = await Promise.all(
      Array.from({ length: 10 }, () => exchange(port, bytes.subarray(0, 200_000))),
    )
    for (const each of again) expect(each.equals(bytes.subarray(0, 200_000))).toBe(true)
    const log = await eventually(async () => {
      const closed = (await events(vaultterm)).filter(({ type }) => type === 'forward.close')
      return closed.length >= 11 ? closed : undefined
    }, 'the end of all on record')
    expect(log.some(({ public: { bytesIn } }) => bytesIn === String(bytes.length))).toBe(true)
    const [opened] = (await events(vaultterm)).filter(({ type }) => type === 'forward.open')
    expect(opened?.private).toMatchObject({ host: '127.0.0.1', port: String(echoPort) })
  })

  test('-D', async () => {
    const port = await freePort()
    await forwarding('-D', String(port), 'acme+real')
    const socket = await dialled(port)
    // SOCKS 4: RFC 1928's elder.
    const ask = Buffer.from([4, 1, echoPort >> 8, echoPort & 255, 127, 0, 0, 1, 0])
    socket.write(ask)
    const [answer] = (await once(socket, 'data')) as [Buffer]
    expect(answer[1]).toBe(90)
    socket.write('well')
    expect(String((await once(socket, 'data'))[0])).toBe('well')
    socket.destroy()
  })

  test('-W', async () => {
    const { stdout } = await vaultterm.ssh(['-W', `127.0.0.1:${echoPort}`, 'acme+real'], 'through')
    expect(stdout).toBe('through')
  })

  test('-R, and a port that the target picks', async () => {
    const { said } = await forwarding('-R', `0:127.0.0.1:${echoPort}`, 'acme+real')
    const port = Number(/Allocated port (\d+) for remote/.exec(said())?.[1])
    expect(port).toBeGreaterThan(0)
    expect((await exchange(port, bytes.subarray(0, 1_000_000))).length).toBe(1_000_000)
  })

  test('sockets of the target, both ways', async () => {
    const directory = join(sshd.directory, 'sockets')
    mkdirSync(directory)
    const { server } = await listen((socket) => socket.pipe(socket), { path: `${directory}/there` })
    const port = await freePort()
    await forwarding('-L', `${port}:${directory}/there`, 'acme+real')
    expect(String(await exchange(port, Buffer.from('in')))).toBe('in')
    server.close()
    await forwarding('-R', `${directory}/back:127.0.0.1:${echoPort}`, 'acme+real')
    const socket = connect(`${directory}/back`)
    socket.end('back')
    expect(String((await once(socket, 'data'))[0])).toBe('back')
    rmSync(directory, { recursive: true })
  })

  test('what a target has no way to, with its own reason', async () => {
    const closed = await freePort()
    const { stderr, code } = await vaultterm.ssh(['-W', `127.0.0.1:${closed}`, 'acme+real'])
    expect(code).toBe(255)
    expect(stderr).toContain('connect failed')
  })

  test('an agent, eight at once, and only while it is lent', async () => {
    const key = makeKey(vaultterm, 'lent')
    const socket = join(vaultterm.home, 'agent')
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
    children.push(agent)
    const env = { ...process.env, SSH_AUTH_SOCK: socket }
    await eventually(() => {
      try {
        execFileSync('ssh-add', ['-q', key], { env, stdio: 'ignore' })
        return true
      } catch {
        return undefined
      }
    }, 'the agent')
    const ask = ['-A', '-o', `IdentityAgent=${socket}`, 'acme+real']
    const many = 'for i in 1 2 3 4 5 6 7 8; do ssh-add -l & done; wait'
    const { stdout } = await vaultterm.ssh([...ask, many])
    expect(stdout.match(/lent/g)).toHaveLength(8)
    const without = await vaultterm.ssh(['-a', 'acme+real', 'ssh-add -l; true'])
    expect(without.stdout).not.toContain('lent')
    // One session of a connection lends it after another: what the first lent has ended with it.
    const shared = ['-o', `ControlPath=${join(vaultterm.home, 'lending')}`]
    const master = [...shared, '-o', 'ControlMaster=auto', '-o', 'ControlPersist=30', ...ask]
    for (let session = 0; session < 3; session++) {
      expect((await vaultterm.ssh([...master, 'ssh-add -l'])).stdout).toContain('lent')
    }
    await vaultterm.ssh([...shared, '-O', 'exit', 'acme+real'])
    agent.kill()
  })

  test('a display, whose cookie is nowhere', async () => {
    // The display of the one who sits there, and what its cookie is.
    const { server, port } = await listen((socket) => socket.once('data', () => socket.end('seen')))
    const cookie = randomBytes(16).toString('hex')
    const xauth = join(vaultterm.home, 'xauth')
    writeFileSync(xauth, `#!/bin/sh\necho "x MIT-MAGIC-COOKIE-1 ${cookie}"\n`, { mode: 0o755 })
    // What a program there says first, with the cookie that it was given.
    const program = join(sshd.directory, 'program.mjs')
    writeFileSync(
      program,
      `import { execSync } from 'node:child_process'
      import { connect } from 'node:net'
      const [, number] = /:(\\d+)/.exec(process.env.DISPLAY)
      const [, given] = new RegExp(':' + number + ' .* ([0-9a-f]{32})').exec(execSync('xauth list'))
      const name = Buffer.from('MIT-MAGIC-COOKIE-1\\0\\0')
      const head = Buffer.from([0x6c, 0, 11, 0, 0, 0, 18, 0, 16, 0, 0, 0])
      const socket = connect(6000 + Number(number), '127.0.0.1')
      console.log('given', given)
      socket.write(Buffer.concat([head, name, Buffer.from(given, 'hex')]))
      socket.on('end', () => socket.end()).pipe(process.stdout)`,
    )
    const child = spawn(
      'ssh',
      [
        ...['-F', join(vaultterm.home, 'demo/ssh_config'), '-Y', '-o', `XAuthLocation=${xauth}`],
        ...['acme+real', `${process.execPath} ${program}`],
      ],
      {
        env: { ...process.env, DISPLAY: `127.0.0.1:${port - 6000}` },
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    children.push(child)
    let out = ''
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    await once(child, 'close')
    server.close()
    expect(out).toMatch(/given [0-9a-f]{32}\nseen$/)
    const given = out.slice('given '.length).split('\n')[0] ?? ''
    const { stdout: log } = await vaultterm.cli([
      'audit',
      'tail',
      'acme',
      '--json',
      '--limit',
      '1000',
    ])
    for (const secret of [cookie, given]) {
      expect(vaultterm.stderr).not.toContain(secret)
      expect(log).not.toContain(secret)
    }
  })

  test('sixty-four sessions on one connection', async () => {
    const path = join(vaultterm.home, 'mux')
    const shared = [
      '-o',
      'ControlMaster=auto',
      '-o',
      `ControlPath=${path}`,
      '-o',
      'ControlPersist=30',
    ]
    await vaultterm.ssh([...shared, 'acme+real', 'true'])
    const all = await Promise.all(
      Array.from({ length: 64 }, (_, at) =>
        vaultterm.ssh([...shared, 'acme+real', `echo ${at}; sleep 1`], undefined, 60_000),
      ),
    )
    expect(all.map(({ stdout }) => stdout)).toEqual(all.map((_, at) => `${at}\n`))
    await vaultterm.ssh([...shared, '-O', 'exit', 'acme+real'])
  })
})

test('one that stalls delays nobody', async () => {
  // It reads nothing of what comes.
  const { server, port: deaf } = await listen((socket) => void socket.pause())
  const [stalled, busy] = [await freePort(), await freePort()]
  await forwarding(
    ...['-L', `${stalled}:127.0.0.1:${deaf}`, '-L', `${busy}:127.0.0.1:${echoPort}`, 'acme+real'],
  )
  const socket = await dialled(stalled)
  const isFull = new Promise<void>((resolve) => {
    const more = () => {
      while (socket.write(bytes.subarray(0, 65_536)));
      const timer = setTimeout(resolve, 1000)
      socket.once('drain', () => {
        clearTimeout(timer)
        more()
      })
    }
    more()
  })
  await isFull
  expect((await exchange(busy, bytes)).equals(bytes)).toBe(true)
  expect((await vaultterm.ssh(['acme+real', 'echo in'])).stdout).toBe('in\n')
  socket.destroy()
  server.close()
})

describe('attack:', () => {
  const refused = async (where: string, more: readonly string[] = ['acme+real']) => {
    const { stderr, code } = await vaultterm.ssh(['-W', where, ...more])
    expect(code).toBe(255)
    return stderr
  }

  beforeEach(async () => {
    // The control of all of these: another port of the same host is reached.
    const { stdout } = await vaultterm.ssh(['-W', `127.0.0.1:${echoPort}`, 'acme+real'], 'well')
    expect(stdout).toBe('well')
  })

  test('CH-01 CH-03: the bastion’s own listeners and datastores, however they are called', async () => {
    const { admin, portal, ssh } = vaultterm.ready
    const ports = [admin, portal, ssh].map((place) => Number(place.split(':').at(-1)))
    const own = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .find(({ internal, family }) => !internal && family === 'IPv4')?.address
    const names = [
      ...[
        '127.0.0.1',
        '127.1',
        '0.0.0.0',
        '0',
        'localhost',
        'LOCALHOST.',
        '2130706433',
        '0177.0.0.1',
      ],
      ...['[::1]', '[::ffff:127.0.0.1]', '127.255.1.2', ...(own === undefined ? [] : [own])],
    ]
    const [port = 0] = ports
    for (const name of names)
      expect(await refused(`${name}:${port}`), name).toContain('ERR_FORWARD_REFUSED')
    for (const each of ports) {
      expect(await refused(`127.0.0.1:${each}`)).toContain(
        `a forward from real to 127.0.0.1:${each} is refused: the port is one of the bastion itself or of its datastores; choose another port (ERR_FORWARD_REFUSED`,
      )
    }
    expect(await refused(`[::1]:${port}`)).toContain(
      `a forward from real to [::1]:${port} is refused`,
    )
    expect(await refused(`name.invalid:${port}`)).toContain(
      `a forward from real to name.invalid:${port} is refused: the bastion finds no address for this name`,
    )
    const log = (await events(vaultterm)).filter(
      ({ public: { denied } }) => denied === 'no-forward',
    )
    expect(log.length).toBeGreaterThan(5)
  })

  test('CH-03: what clouds tell their machines', async () => {
    for (const where of ['169.254.169.254:80', '[fe80::1]:80', '2852039166:80']) {
      expect(await refused(where), where).toContain('ERR_FORWARD_REFUSED')
    }
    expect(await refused('169.254.169.254:80')).toContain(
      'a forward from real to 169.254.169.254:80 is refused: clouds keep secrets at this address',
    )
  })

  test('CH-04: the sockets of the datastores, and what lies beside', async () => {
    const refusals = async () =>
      (await events(vaultterm)).filter(({ public: { denied } }) => denied === 'no-forward').length
    const before = await refusals()
    const { redisUrl } = JSON.parse(readFileSync(join(vaultterm.home, 'run.json'), 'utf8'))
    const redis = new URL(redisUrl).pathname.slice(vaultterm.home.length + 1)
    expect(redis).toMatch(/^redis\/\w+\.sock$/)
    for (const path of ['postgres/socket/.s.PGSQL.5432', redis, '../x/../HOME/kek', 'demo']) {
      const place = path.includes('HOME')
        ? `${vaultterm.home}/../${vaultterm.home.split('/').at(-1)}/kek`
        : `${vaultterm.home}/${path}`
      const port = await freePort()
      await forwarding('-L', `${port}:${place}`, 'acme+real')
      expect(await exchange(port, Buffer.from('x')).catch(() => Buffer.alloc(0))).toHaveLength(0)
    }
    expect(await refusals()).toBe(before + 4)
  })

  test('CH-05: no more listeners than the setting allows, here ten, and none of another’s is stopped', async () => {
    // Each to another place of the client's, or ssh takes them for one.
    const args = Array.from({ length: 11 }, (_, at) => ['-R', `0:127.0.0.1:${20_000 + at}`]).flat()
    const { stderr, code } = await vaultterm.ssh([
      '-N',
      '-o',
      'ExitOnForwardFailure=yes',
      ...args,
      'acme+real',
    ])
    expect(code).toBe(255)
    expect(stderr).toContain('remote port forwarding failed')
    const ten = await forwarding(...args.slice(0, 20), 'acme+real')
    expect(ten.said().match(/Allocated port/g)?.length).toBeGreaterThan(0)
  })

  test('CH-10: nobody without a grant lends an agent, or forwards at all', async () => {
    await vaultterm.json('user', 'add', 'acme', 'eve')
    const key = makeKey(vaultterm, 'eve')
    await vaultterm.json('key', 'add', 'acme', 'eve', `${key}.pub`)
    await vaultterm.json('grant', 'add', 'acme', '--user', 'eve', '--target', 'real')
    const as = ['-i', key, '-o', 'IdentityAgent=none', '-o', 'IdentitiesOnly=yes', '-F', 'none']
    const eve = [
      ...as,
      ...[
        '-o',
        'StrictHostKeyChecking=no',
        '-o',
        'UserKnownHostsFile=/dev/null',
        '-p',
        vaultterm.sshPort,
      ],
      ...['-l', 'acme+real', '127.0.0.1'],
    ]
    expect(await refused(`127.0.0.1:${echoPort}`, eve)).toContain('ERR_KIND_NOT_GRANTED')
    const agent = await vaultterm.ssh(['-A', ...eve, 'echo "[$SSH_AUTH_SOCK]"'])
    expect(agent.stdout).toBe('[]\n')
    const remote = await vaultterm.ssh([
      '-N',
      '-o',
      'ExitOnForwardFailure=yes',
      '-R',
      '0:127.0.0.1:1',
      ...eve,
    ])
    expect(remote.code).toBe(255)
  })

  /** Somebody new, and what `ssh` is told to be them. */
  async function newcomer(user: string) {
    await vaultterm.json('user', 'add', 'acme', user)
    const key = makeKey(vaultterm, user)
    await vaultterm.json('key', 'add', 'acme', user, `${key}.pub`)
    return [
      ...['-F', 'none', '-i', key, '-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=no'],
      ...['-o', 'UserKnownHostsFile=/dev/null', '-p', vaultterm.sshPort, '-l', 'acme+real'],
    ]
  }

  test('CH-17: what was taken away is gone with the next channel', async () => {
    const kim = await newcomer('kim')
    const grant = (...forward: string[]) => addGrant(vaultterm, 'forward', { user: 'kim', forward })
    const { id } = await grant()
    await grant('db.example.org:5432')
    const port = await freePort()
    await forwarding(...kim, '-L', `${port}:127.0.0.1:${echoPort}`, '127.0.0.1')
    expect(String(await exchange(port, Buffer.from('in')))).toBe('in')
    await vaultterm.json('grant', 'remove', 'acme', id)
    expect(await exchange(port, Buffer.from('in')).catch(() => Buffer.alloc(0))).toHaveLength(0)
  })

  test('CH-04: who may reach some ports only reaches no socket', async () => {
    const ann = await newcomer('ann')
    const path = join(sshd.directory, 'echo.sock')
    const server = createServer((socket) => socket.on('error', () => {}).pipe(socket))
    await once(server.listen(path), 'listening')
    try {
      await addGrant(vaultterm, 'forward', { user: 'ann', forward: ['*:*'] })
      const port = await freePort()
      const { said } = await forwarding(...ann, '-L', `${port}:${path}`, '127.0.0.1')
      expect(await exchange(port, Buffer.from('in')).catch(() => Buffer.alloc(0))).toHaveLength(0)
      expect(said()).toContain('without --forward')
      const refusals = (await events(vaultterm)).filter(
        ({ public: { denied }, private: hidden }) =>
          denied === 'no-destination' && hidden?.userName === 'ann',
      )
      expect(refusals).toMatchObject([{ private: { path } }])
      // Who may forward without a list may go there.
      await addGrant(vaultterm, 'forward', { user: 'ann' })
      expect(String(await exchange(port, Buffer.from('in')))).toBe('in')
    } finally {
      server.close()
    }
  })

  /** How long it takes until something has ended. */
  async function lasts(ended: Promise<unknown>): Promise<number> {
    const since = performance.now()
    await ended
    return performance.now() - since
  }

  /** What is on the log of forwards of a kind that were taken away. */
  const revoked = (kind: string) =>
    eventually(async () => {
      const ends = (await events(vaultterm)).filter(({ type, public: { ended, kind: its } }) => {
        return type === 'forward.close' && ended === 'revoked' && its === kind
      })
      return ends.length > 0 ? ends : undefined
    }, 'the end on record')

  test('CH-17: one that is open ends when no grant leads there any more, and the others go on', async () => {
    const lou = await newcomer('lou')
    const grant = (...forward: string[]) => addGrant(vaultterm, 'forward', { user: 'lou', forward })
    const wide = await grant('127.0.0.1:*')
    await grant(`127.0.0.1:${echoPort}`)
    const other = await listen((socket) => socket.pipe(socket))
    const [kept, taken] = [await freePort(), await freePort()]
    const { child } = await forwarding(
      ...[...lou, '-L', `${kept}:127.0.0.1:${echoPort}`, '-L', `${taken}:127.0.0.1:${other.port}`],
      '127.0.0.1',
    )
    const sockets = await Promise.all([dialled(kept), dialled(taken)])
    const echoes = async (socket: Socket, text: string) => {
      const came = once(socket, 'data')
      socket.write(text)
      return String((await came)[0])
    }
    const [goesOn, goes] = sockets
    for (const socket of sockets) expect(await echoes(socket, 'before')).toBe('before')
    const gone = once(goes, 'end')
    await vaultterm.json('grant', 'remove', 'acme', wide.id)
    expect(await lasts(gone)).toBeLessThan(5000)
    expect(await revoked('forward')).toMatchObject([
      {
        public: { bytesIn: '6', bytesOut: '6' },
        private: { reason: expect.stringContaining('no longer allow this destination') },
      },
    ])
    expect(await echoes(goesOn, 'after')).toBe('after')
    expect(String(await exchange(kept, Buffer.from('anew')))).toBe('anew')
    expect(await exchange(taken, Buffer.from('in')).catch(() => Buffer.alloc(0))).toHaveLength(0)
    for (const socket of sockets) socket.destroy()
    other.server.close()
    child.kill()
  })

  test('CH-17: an agent that is in use is taken back with its grant, and the session goes on', async () => {
    const max = await newcomer('max')
    await vaultterm.json('grant', 'add', 'acme', '--user', 'max', '--target', 'real')
    const { id } = await addGrant(vaultterm, 'agent', { user: 'max' })
    const socket = join(vaultterm.home, 'agent-of-max')
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
    children.push(agent)
    // Asks for the list of keys, keeps the channel, and says when it ends.
    const program = join(sshd.directory, 'keeper.mjs')
    writeFileSync(
      program,
      `import { connect } from 'node:net'
      const agent = connect(process.env.SSH_AUTH_SOCK)
      agent.write(Buffer.from([0, 0, 0, 1, 11]))
      agent.once('data', () => console.log('lent'))
      agent.on('close', () => console.log('gone'))
      process.stdin.on('data', (chunk) => process.stdout.write(chunk)).on('end', () => process.exit())`,
    )
    await eventually(() => existsSync(socket) || undefined, 'the agent')
    const child = spawn(
      'ssh',
      [
        ...['-A', '-o', `IdentityAgent=${socket}`, ...max],
        '127.0.0.1',
        `${process.execPath} ${program}`,
      ],
      { stdio: ['pipe', 'pipe', 'ignore'], env: { ...process.env, SSH_AUTH_SOCK: socket } },
    )
    children.push(child)
    let out = ''
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    const says = (what: string) =>
      eventually(() => out.includes(what) || undefined, `${what}: ${out}`)
    await says('lent')
    expect(out).not.toContain('gone')
    await vaultterm.json('grant', 'remove', 'acme', id)
    expect(await lasts(says('gone'))).toBeLessThan(5000)
    expect(await revoked('agent')).toMatchObject([
      { private: { reason: expect.stringContaining('no longer allow agent') } },
    ])
    child.stdin.write('goes on')
    await says('goes on')
    child.stdin.end()
    await once(child, 'exit')
    expect(child.exitCode).toBe(0)
    agent.kill()
  })
})

test('a killed session takes its forwards along', async () => {
  const port = await freePort()
  await forwarding('-L', `${port}:127.0.0.1:${echoPort}`, 'acme+real')
  const socket = await dialled(port)
  socket.write('in')
  await once(socket, 'data')
  const live = (await sessions(vaultterm)).filter((one) => one.live && one.kind === 'forward')
  expect(live.length).toBeGreaterThan(0)
  const ended = once(socket, 'end')
  for (const { id } of live) await vaultterm.json('session', 'kill', id)
  await ended
  socket.destroy()
  await eventually(async () => {
    const left = (await sessions(vaultterm)).filter(({ id }) => live.some((one) => one.id === id))
    return left.every((one) => !one.live && one.reason === 'killed') ? true : undefined
  }, 'the end on record')
  // With what went through them.
  const ends = (await events(vaultterm)).filter(
    ({ type, public: { session } }) =>
      type === 'forward.close' && live.some(({ id }) => id === session),
  )
  expect(ends).toContainEqual(
    expect.objectContaining({ public: expect.objectContaining({ ended: 'ended', bytesIn: '2' }) }),
  )
})

test('a forward has no recording, and export and verify say why', async () => {
  const port = await freePort()
  const { child } = await forwarding('-L', `${port}:127.0.0.1:${echoPort}`, 'acme+real')
  await exchange(port, Buffer.from('once'))
  const forward = await eventually(
    async () => (await sessions(vaultterm)).find(({ kind }) => kind === 'forward'),
    'the forward on record',
  )
  for (const command of ['export', 'verify']) {
    expect(await vaultterm.cli(['session', command, forward.id])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(
        `session ${forward.id} is a forward, and forwards are not recorded`,
      ),
    })
  }
  child.kill()
})
