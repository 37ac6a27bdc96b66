import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  buildLibsshClient,
  foreignKeys,
  hostFingerprint,
  runProgram,
  runPython,
  savePuttySessions,
  writeKnownHosts,
} from '../support/clients.ts'
import { isInstalled } from '../support/debian.ts'
import { freePort } from '../support/free-port.ts'
import { addGrant, addTarget, demoKey, eventually } from '../support/installation.ts'
import { SessionLog } from '../support/session-log.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Nobody has to change how they work: each client does what it always does, and it is on record. */
let vaultterm: VaultTerm
let sshd: Sshd
let log: SessionLog
let config: string
const bytes = randomBytes(5_000_000)
const sum = createHash('sha256').update(bytes).digest('hex')

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  log = new SessionLog(vaultterm)
  config = join(vaultterm.home, 'demo/ssh_config')
  writeFileSync(join(sshd.directory, 'many'), bytes)
})
afterAll(async () => {
  await log?.close()
  await sshd?.close()
  await vaultterm?.close()
})

type Way = 'straight' | 'by a jump'

/** The way that a name of the demo's settings leads: `acme+real`, or `real.acme`. */
const wayOf = (host: string): Way => (host.includes('+') ? 'straight' : 'by a jump')

/** The sessions since the last time have ended, came this way, and are on record, each with its recording. */
async function recorded(way: Way, kinds: readonly string[]): Promise<void> {
  const ended = await log.next(kinds.length)
  expect(ended.map(({ kind }) => kind)).toEqual(kinds)
  expectRecorded(way, ended)
}

function expectRecorded(way: Way, ended: Awaited<ReturnType<SessionLog['next']>>): void {
  const via = way === 'straight' ? 'direct' : 'jump'
  // What goes through a forward is on the log, and in no recording.
  for (const session of ended)
    expect(session).toMatchObject({ via, isRecorded: session.kind !== 'forward' })
}

describe('PuTTY', () => {
  let key: string
  let PUTTYDIR: string
  beforeAll(async () => {
    key = foreignKeys(vaultterm).putty
    PUTTYDIR = await savePuttySessions(vaultterm, key, sshd.login)
  })
  const putty = (program: string, args: readonly string[], input?: Buffer) =>
    runProgram(program, args, { env: { PUTTYDIR }, ...(input === undefined ? {} : { input }) })
  const keys = () => ['-batch', '-i', key, '-hostkey', hostFingerprint(vaultterm)]
  const carrier = () => `-P ${vaultterm.sshPort} -l acme 127.0.0.1 -nc %host:%port`
  const ways: readonly [string, Way, () => readonly string[], () => string][] = [
    [
      'straight',
      'straight',
      () => [...keys(), '-P', vaultterm.sshPort],
      () => 'acme+real@127.0.0.1',
    ],
    ['through its own proxy', 'by a jump', () => ['-batch'], () => 'real'],
    [
      'through plink -nc',
      'by a jump',
      () => [...keys(), '-proxycmd', `plink ${keys().join(' ')} ${carrier()}`],
      () => `${sshd.login}@real`,
    ],
  ]

  test.each(ways)(
    'plink, %s: a command, its status, its errors, and bytes both ways',
    async (_name, way, args, place) => {
      const plink = (command: string, input?: Buffer) =>
        putty('plink', ['-ssh', ...args(), place(), command], input)
      const { stdout, stderr, code } = await plink('echo out; echo err >&2; exit 7')
      expect({ stdout, code }).toEqual({ stdout: 'out\n', code: 7 })
      expect(stderr).toMatch(/^err$/m)
      expect((await plink('sha256sum', bytes)).stdout).toContain(sum)
      expect((await plink(`cat ${sshd.directory}/many`)).bytes.equals(bytes)).toBe(true)
      await recorded(way, ['exec', 'exec', 'exec'])
    },
  )

  test('plink -nc ends when what it carries has ended', async () => {
    const [, , args, place] = ways.find(([name]) => name === 'through plink -nc') ?? expect.fail()
    expect((await putty('plink', ['-ssh', ...args(), place(), 'echo in'])).stdout).toBe('in\n')
    await recorded('by a jump', ['exec'])
    const running = () => execFileSync('ps', ['-eo', 'args='], { encoding: 'utf8' }).split('\n')
    const isCarrier = (line: string) =>
      line.startsWith('plink') && line.includes(` ${vaultterm.sshPort} `)
    const isOver = () => (running().some(isCarrier) ? undefined : true)
    expect(await eventually(isOver, 'the end of plink -nc')).toBe(true)
  })

  test.each(ways.slice(0, 2))(
    'pscp, %s: files both ways, by either protocol',
    async (name, way, args, place) => {
      for (const [protocol, kind] of [
        ['-sftp', 'sftp'],
        ['-scp', 'exec'],
      ] as const) {
        const there = join(sshd.directory, `pscp${protocol} ${name}`.replaceAll(' ', '-'))
        const pscp = (from: string, to: string) => putty('pscp', [protocol, ...args(), from, to])
        expect((await pscp(join(sshd.directory, 'many'), `${place()}:${there}`)).code).toBe(0)
        expect((await pscp(`${place()}:${there}`, `${there}.back`)).code).toBe(0)
        expect(readFileSync(`${there}.back`).equals(bytes)).toBe(true)
        await recorded(way, [kind, kind])
      }
    },
  )

  test.each(ways)('psftp, %s: a batch', async (name, way, args, place) => {
    const there = join(sshd.directory, `psftp ${name}`.replaceAll(' ', '-'))
    const batch = `${there}.batch`
    writeFileSync(
      batch,
      `put ${sshd.directory}/many ${there}\nls ${sshd.directory}\nmv ${there} ${there}2\nget ${there}2 ${there}3\nquit\n`,
    )
    const { code, stderr } = await putty('psftp', [...args(), '-b', batch, place()])
    expect({ code, stderr }).toMatchObject({ code: 0 })
    expect(readFileSync(`${there}3`).equals(bytes)).toBe(true)
    await recorded(way, ['sftp'])
  })
})

describe('Dropbear', () => {
  let settings: readonly string[]
  beforeAll(() => {
    settings = ['-y', '-y', '-i', foreignKeys(vaultterm).dropbear]
  })
  // By its whole path: it starts itself anew for each host of a list.
  const program = '/usr/bin/dbclient'
  const ways: readonly [string, Way, () => readonly string[]][] = [
    ['straight', 'straight', () => ['-p', vaultterm.sshPort, '-l', 'acme+real', '127.0.0.1']],
    [
      'through a list of hosts',
      'by a jump',
      () => [`acme@127.0.0.1/${vaultterm.sshPort},${sshd.login}@real`],
    ],
    [
      'through -J with another one',
      'by a jump',
      () => {
        const way = [
          program,
          ...settings,
          '-p',
          vaultterm.sshPort,
          '-B',
          'real:22',
          'acme@127.0.0.1',
        ]
        return ['-J', way.join(' '), `${sshd.login}@real`]
      },
    ],
  ]

  test.each(ways)(
    'dbclient, %s: a command, its status, and bytes both ways',
    async (_name, way, args) => {
      const dbclient = (command: string, input?: Buffer) =>
        runProgram(program, [...settings, ...args(), command], input === undefined ? {} : { input })
      const { stdout, stderr, code } = await dbclient('echo out; echo err >&2; exit 7')
      expect({ stdout, code }).toEqual({ stdout: 'out\n', code: 7 })
      expect(stderr).toMatch(/^err$/m)
      expect((await dbclient('sha256sum', bytes)).stdout).toContain(sum)
      expect((await dbclient(`cat ${sshd.directory}/many`)).bytes.equals(bytes)).toBe(true)
      await recorded(way, ['exec', 'exec', 'exec'])
    },
  )
})

describe.runIf(givesTerminals && isInstalled('libssh'))('libssh', () => {
  let client: string
  beforeAll(() => {
    client = buildLibsshClient(vaultterm)
  })
  const ways: readonly [string, Way, () => string][] = [
    ['straight', 'straight', () => 'straight'],
    ['through a channel of its own', 'by a jump', () => 'channel'],
    ['through a ProxyCommand', 'by a jump', () => `ssh -F ${config} -W [%h]:%p acme`],
  ]

  test.each(ways)(
    '%s: commands, a keepalive, files, and a shell, with new keys under way',
    async (_name, way, settings) => {
      const { stdout, stderr } = await runProgram(client, [
        ...[vaultterm.sshPort, demoKey(vaultterm), writeKnownHosts(vaultterm), sshd.directory],
        ...[sshd.login, settings()],
      ])
      expect(stderr).toBe('')
      expect(JSON.parse(stdout)).toEqual({
        out: 'out',
        err: 'err',
        status: 7,
        alive: true,
        echo: 'in',
        sum,
        files: true,
        size: true,
        shell: 3,
      })
      expect(readFileSync(join(sshd.directory, 'libssh')).equals(bytes)).toBe(true)
      await recorded(way, ['exec', 'exec', 'exec', 'sftp', 'shell'])
    },
  )
})

test.runIf(givesTerminals && isInstalled('Paramiko')).each<[Way]>([['straight'], ['by a jump']])(
  'Paramiko, %s: commands, a shell, and files',
  async (way) => {
    const answer = await runPython(
      vaultterm,
      `
import hashlib, json, paramiko, sys, time
port, key, known, directory, way, login = int(sys.argv[1]), *sys.argv[2:7]
def connected(host, port, user, sock=None):
    client = paramiko.SSHClient()
    client.load_host_keys(known)
    client.connect(host, port, user, key_filename=key, allow_agent=False, look_for_keys=False, sock=sock)
    return client
if way == 'straight':
    client = connected('127.0.0.1', port, 'acme+real')
else:
    outer = connected('127.0.0.1', port, 'acme')
    sock = outer.get_transport().open_channel('direct-tcpip', ('real.acme', 22), ('127.0.0.1', 0))
    client = connected('real.acme', 22, login, sock)
_, out, err = client.exec_command('echo out; echo err >&2; exit 7')
answer = {'out': out.read().decode(), 'err': err.read().decode(), 'status': out.channel.recv_exit_status()}
sftp = client.open_sftp()
place = directory + '/paramiko-' + way
sftp.put(directory + '/many', place)
sftp.get(place, place + '2')
answer['sum'] = hashlib.sha256(open(place + '2', 'rb').read()).hexdigest()
answer['listed'] = place[len(directory) + 1:] in sftp.listdir(directory)
sftp.rename(place, place + '3')
try: sftp.stat(directory + '/nothing')
except FileNotFoundError: answer['missing'] = True
shell = client.invoke_shell(width=100, height=30)
shell.send('stty size; exit 3\\n')
seen = b''
while True:
    more = shell.recv(4096)
    if not more: break
    seen += more
answer['size'] = b'30 100' in seen
answer['shell'] = shell.recv_exit_status()
client.close()
print(json.dumps(answer))
`,
      ...[sshd.directory, way, sshd.login],
    )
    expect(answer).toEqual({
      out: 'out\n',
      err: 'err\n',
      status: 7,
      sum,
      listed: true,
      missing: true,
      size: true,
      shell: 3,
    })
    await recorded(way, ['exec', 'sftp', 'shell'])
  },
)

test.runIf(isInstalled('AsyncSSH')).each<[Way]>([['straight'], ['by a jump']])(
  'AsyncSSH, %s: many at once, files, and a signal',
  async (way) => {
    const answer = await runPython(
      vaultterm,
      `
import asyncio, asyncssh, hashlib, json, sys
port, key, directory, way, login, known = int(sys.argv[1]), sys.argv[2], *sys.argv[4:8]
def connected(host, port, user, tunnel=None):
    return asyncssh.connect(host, port, username=user, client_keys=[key], known_hosts=known, tunnel=tunnel)
async def main():
    if way == 'straight': return await use(connected('127.0.0.1', port, 'acme+real'))
    async with connected('127.0.0.1', port, 'acme') as outer:
        await use(connected('real.acme', 22, login, outer))
async def use(connection):
    answer = {}
    async with connection as c:
        ran = await asyncio.gather(*[c.run('echo %d; exit %d' % (i, i)) for i in range(10)])
        answer['many'] = [[r.stdout, r.exit_status] for r in ran]
        async with c.start_sftp_client() as sftp:
            await sftp.put(directory + '/many', directory + '/asyncssh')
            await sftp.get(directory + '/asyncssh', directory + '/asyncssh2')
        answer['sum'] = hashlib.sha256(open(directory + '/asyncssh2', 'rb').read()).hexdigest()
        process = await c.create_process('kill -TERM $$')
        await process.wait()
        answer['signal'] = process.exit_signal and process.exit_signal[0]
        answer['echo'] = (await c.run('cat', input='in')).stdout
    print(json.dumps(answer))
asyncio.run(main())
`,
      // It takes the line that trusts the tenant's host authority.
      ...[sshd.directory, way, sshd.login, join(vaultterm.home, 'demo/known_hosts')],
    )
    expect(answer).toEqual({
      many: Array.from({ length: 10 }, (_, at) => [`${at}\n`, at]),
      sum,
      signal: 'TERM',
      echo: 'in',
    })
    const many = Array.from({ length: 10 }, () => 'exec')
    await recorded(way, [...many, 'sftp', 'exec', 'exec'])
  },
)

test.each(['acme+real', 'real.acme'])('sftp by %s: a batch', async (host) => {
  const there = join(sshd.directory, `sftp-${host}`)
  const batch = `put ${sshd.directory}/many ${there}\nrename ${there} ${there}2\nget ${there}2 ${there}3\n`
  const { code, stderr } = await runProgram('sftp', ['-q', '-F', config, '-b', '-', host], {
    input: batch,
  })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(readFileSync(`${there}3`).equals(bytes)).toBe(true)
  await recorded(wayOf(host), ['sftp'])
})

test.each([
  ['-O', 'exec'],
  ['-s', 'sftp'],
])('scp %s by a jump: files both ways', async (protocol, kind) => {
  const there = join(sshd.directory, `scp${protocol}`)
  const scp = (from: string, to: string) =>
    runProgram('scp', ['-q', '-F', config, protocol, from, to])
  expect(await scp(join(sshd.directory, 'many'), `real.acme:${there}`)).toMatchObject({ code: 0 })
  expect(await scp(`real.acme:${there}`, `${there}2`)).toMatchObject({ code: 0 })
  expect(readFileSync(`${there}2`).equals(bytes)).toBe(true)
  await recorded('by a jump', [kind, kind])
})

describe('git', () => {
  const git = (directory: string, ...args: string[]) =>
    runProgram('git', ['-C', directory, ...args], {
      env: {
        GIT_SSH_COMMAND: `ssh -F ${config}`,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_AUTHOR_NAME: 'a',
        GIT_AUTHOR_EMAIL: 'a@example.org',
        GIT_COMMITTER_NAME: 'a',
        GIT_COMMITTER_EMAIL: 'a@example.org',
      },
    })

  test.each(['acme+real', 'real.acme'])('push, clone and fetch by %s', async (host) => {
    const place = join(sshd.directory, `git-${host}`)
    const work = join(place, 'work')
    mkdirSync(work, { recursive: true })
    execFileSync('git', ['init', '-q', '--bare', `${place}/bare`])
    await git(work, 'init', '-q', '-b', 'main')
    writeFileSync(join(work, 'many'), bytes)
    await git(work, 'add', '.')
    await git(work, 'commit', '-q', '-m', 'one')
    const url = `${host}:${place}/bare`
    const pushed = await git(work, 'push', '-q', url, 'main')
    expect(pushed).toMatchObject({ code: 0, stderr: '' })
    expect(await git(place, 'clone', '-q', '-b', 'main', url, 'again')).toMatchObject({ code: 0 })
    expect(readFileSync(`${place}/again/many`).equals(bytes)).toBe(true)
    await git(work, 'commit', '-q', '--allow-empty', '-m', 'two')
    await git(work, 'push', '-q', url, 'main')
    expect(await git(`${place}/again`, 'fetch', '-q')).toMatchObject({ code: 0 })
    expect((await git(`${place}/again`, 'log', '--format=%s', 'origin/main')).stdout).toBe(
      'two\none\n',
    )
    await recorded(wayOf(host), ['exec', 'exec', 'exec', 'exec'])
  })
})

describe('rsync', () => {
  test.each(['acme+real', 'real.acme'])(
    'there, back, and only what has changed, by %s',
    async (host) => {
      const place = join(sshd.directory, `rsync-${host}`)
      mkdirSync(`${place}/from/deep`, { recursive: true })
      for (let at = 0; at < 200; at++) writeFileSync(`${place}/from/deep/${at}`, `${at}`)
      writeFileSync(`${place}/from/many`, bytes)
      const rsync = (...args: string[]) =>
        runProgram('rsync', ['-a', '--delete', '--stats', '-e', `ssh -F ${config}`, ...args])
      expect(await rsync(`${place}/from/`, `${host}:${place}/there`)).toMatchObject({
        code: 0,
        stderr: '',
      })
      expect(await rsync(`${host}:${place}/there/`, `${place}/back`)).toMatchObject({ code: 0 })
      expect(readFileSync(`${place}/back/many`).equals(bytes)).toBe(true)
      expect(readFileSync(`${place}/back/deep/199`, 'utf8')).toBe('199')
      writeFileSync(`${place}/from/deep/7`, 'seven')
      const { stdout } = await rsync(`${place}/from/`, `${host}:${place}/there`)
      expect(stdout).toMatch(/Number of regular files transferred: 1\b/)
      await recorded(wayOf(host), ['exec', 'exec', 'exec'])
    },
  )
})

describe('Ansible', () => {
  test.runIf(givesTerminals && isInstalled('Ansible')).each([['acme+real'], ['real.acme']])(
    'pings, copies, and runs on many at once, by %s',
    async (host) => {
      const place = join(sshd.directory, `ansible-${host}`)
      mkdirSync(place)
      const hosts = Array.from({ length: 8 }, (_, at) => `h${at} ansible_host=${host}`)
      writeFileSync(join(place, 'inventory'), `${hosts.join('\n')}\n`)
      writeFileSync(join(place, 'file'), bytes.subarray(0, 100_000))
      const ansible = (...args: string[]) =>
        runProgram('ansible', ['-i', join(place, 'inventory'), '-f', '8', 'all', ...args], {
          env: {
            ANSIBLE_HOST_KEY_CHECKING: 'True',
            ANSIBLE_SSH_ARGS: `-F ${config} -o ControlMaster=auto -o ControlPersist=30s`,
            ANSIBLE_SSH_CONTROL_PATH_DIR: join(place, 'cp'),
            ANSIBLE_PYTHON_INTERPRETER: '/usr/bin/python3',
            ANSIBLE_LOCAL_TEMP: join(place, 'tmp'),
            ANSIBLE_REMOTE_TEMP: join(place, 'remote'),
            ANSIBLE_NOCOLOR: '1',
            LC_ALL: 'C.UTF-8',
          },
        })
      const ping = await ansible('-m', 'ping')
      expect(ping.stderr.replace(/\[WARNING\].*/gs, '')).toBe('')
      expect(ping.stdout.match(/"ping": "pong"/g)).toHaveLength(8)
      const copy = await ansible(
        '-l',
        'h0',
        '-m',
        'copy',
        '-a',
        `src=${place}/file dest=${place}/copied`,
      )
      expect(copy.code).toBe(0)
      expect(readFileSync(join(place, 'copied')).equals(bytes.subarray(0, 100_000))).toBe(true)
      const failing = await ansible('-l', 'h0', '-m', 'shell', '-a', 'echo out; exit 3')
      expect(failing.stdout).toContain('rc=3')
      // Eight at least for the ping alone, and as many more as it likes: a shell is none of them, and comes after all.
      const leave = Buffer.from('echo done\nexit\n')
      expect(await runProgram('ssh', ['-T', '-F', config, host], { input: leave })).toMatchObject({
        code: 0,
      })
      const sessions = await log.through('shell')
      expect(sessions.length).toBeGreaterThan(8)
      expectRecorded(wayOf(host), sessions)
    },
  )
})

describe('an editor’s way', () => {
  test.each(['acme+real', 'real.acme'])(
    'an installer on the input of a shell, and many forwards while it runs, by %s',
    async (host) => {
      const server = createServer((socket) => socket.on('error', () => {}).pipe(socket))
      await once(server.listen(0, '127.0.0.1'), 'listening')
      const address = server.address()
      const port = typeof address === 'object' ? (address?.port ?? 0) : 0
      const { id } = await addGrant(vaultterm, 'shell,exec,forward', {
        forward: [`127.0.0.1:${port}`],
      })
      const marker = randomBytes(8).toString('hex')
      const place = join(sshd.directory, `editor-${host}`)
      const socks = await freePort()
      const child = spawn('ssh', ['-F', config, '-T', '-D', String(socks), host, 'bash'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      const exited = once(child, 'close')
      let said = ''
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString()
      })
      child.stdin.write(
        `echo ${marker}:start\nmkdir -p "${place}" && cat > "${place}/run" <<'EOS'\n${'x'.repeat(200_000)}\nEOS\nwc -c < "${place}/run"\necho ${marker}:end:$?\n`,
      )
      await eventually(() => (said.includes(':end:') ? true : undefined), 'the installer’s end')
      const piece = bytes.subarray(0, 100_000)
      const back = await Promise.all(
        Array.from({ length: 40 }, () => exchangeBySocks(socks, port, piece)),
      )
      expect(back.every((one) => one.equals(piece))).toBe(true)
      child.stdin.end('echo still here\n')
      expect(await exited).toEqual([0, null])
      expect(said).toBe(`${marker}:start\n200001\n${marker}:end:0\nstill here\n`)
      await recorded(wayOf(host), ['exec', 'forward'])
      await vaultterm.json('grant', 'remove', 'acme', id)
      server.close()
    },
  )
})

/** What comes back for bytes, of as many as they are, from a port of the target's: SOCKS 5, RFC 1928. */
async function exchangeBySocks(socks: number, port: number, sent: Buffer): Promise<Buffer> {
  const socket = connect({ port: socks, host: '127.0.0.1' })
  const chunks: Buffer[] = []
  let length = 0
  const wanted = 2 + 10 + sent.length
  const all = new Promise<void>((done, failed) => {
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
      if (length >= wanted) done()
    })
    socket.on('error', failed)
    socket.on('close', () => failed(new Error(`closed after ${length} bytes`)))
  })
  // Who is let in without a word has no need to wait for the answers.
  socket.write(Buffer.of(5, 1, 0))
  socket.write(Buffer.of(5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255))
  socket.write(sent)
  await all
  socket.destroy()
  return Buffer.concat(chunks).subarray(2 + 10)
}
