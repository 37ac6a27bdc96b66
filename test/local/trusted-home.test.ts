import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  claimHome,
  keepHostKeys,
  keepKekFile,
  keepNodeName,
  startLocalDatabase,
  startPostgres,
  startRedis,
  visitHome,
} from '../../src/local/index.ts'
import { writePrivateFile } from '../../src/local/private-file.ts'
import { assertFilesTrusted } from '../../src/main/datastores.ts'
import { administer } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { silent } from '../support/postgres.ts'

/** Another unprivileged user of the machine. */
const mallory = 4711
const nobody = 65534
const isRoot = process.getuid?.() === 0
const what = 'a test'
const migrations = 'migrations'

let base: string
let path: string
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'trust-'))
  // Others may pass through, so that the attacks below are not stopped by this directory.
  chmodSync(base, 0o755)
  path = join(base, 'home')
})
afterEach(() => rmSync(base, { recursive: true, force: true }))

async function stoppedHome(): Promise<void> {
  await (await claimHome(path, { what })).release()
}

const visit = () => visitHome({ path, what, migrations, log: silent })

describe.runIf(isRoot)('attack: another user plants files for root', () => {
  test('a home that is theirs: each way into it is refused, in a line with owner and mode', async () => {
    await stoppedHome()
    mkdirSync(join(path, 'postgres/data'), { recursive: true })
    writeFileSync(join(path, 'postgres/data/PG_VERSION'), '18')
    chownSync(path, mallory, mallory)
    const refusal = {
      code: 'ERR_HOME_UNUSABLE',
      message: expect.stringMatching(
        new RegExp(
          `${path} .*owner user ${mallory}, mode 0700\\).*: run this as user ${mallory}, its owner, or set VAULTTERM_HOME to a directory of your own; .*chown.*with VaultTerm stopped`,
        ),
      ),
    }
    await expect(claimHome(path, { what })).rejects.toMatchObject(refusal)
    await expect(visit()).rejects.toMatchObject(refusal)
  })

  test("a plain user is not told to take root's home: they run it as root, or use a home of their own", async () => {
    await stoppedHome()
    const script = `
      import { claimHome, visitHome } from ${JSON.stringify(resolve('src/local/index.ts'))}
      process.setgid(${nobody})
      process.setuid(${nobody})
      const path = ${JSON.stringify(path)}
      const tell = (err) => console.log(err.code, err.message)
      await claimHome(path, { what: 'a test' }).catch(tell)
      await visitHome({ path, what: 'a test', migrations: 'migrations' }).catch(tell)`
    const args = ['--input-type=module', '-e', script]
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    const line = `ERR_HOME_UNUSABLE VAULTTERM_HOME cannot be used: ${path} belongs to another user (owner root (user 0), mode 0700): run this as root (user 0), its owner, or set VAULTTERM_HOME to a directory of your own\n`
    expect(stdout, stderr).toBe(line + line)
  })

  test('a home below a directory of theirs, which they can rename', async () => {
    await stoppedHome()
    chownSync(base, mallory, mallory)
    await expect(claimHome(path, { what })).rejects.toMatchObject({
      code: 'ERR_HOME_UNUSABLE',
      message: expect.stringContaining(`${base} belongs to another user (owner user ${mallory}`),
    })
    // A new one is not even made there.
    await expect(claimHome(`${path}-new`, { what })).rejects.toMatchObject({
      code: 'ERR_HOME_UNUSABLE',
    })
    expect(existsSync(`${path}-new`)).toBe(false)
  })

  test('a symbolic link of theirs in the place of a home', async () => {
    const real = join(base, 'real')
    mkdirSync(real, { mode: 0o700 })
    symlinkSync(real, path)
    // Our own link is followed.
    await stoppedHome()
    lchownSync(path, mallory, mallory)
    await expect(claimHome(path, { what })).rejects.toMatchObject({ code: 'ERR_HOME_UNUSABLE' })
  })

  test('a home that they make first under a directory like /tmp', async () => {
    chmodSync(base, 0o1777)
    await stoppedHome()
    rmSync(path, { recursive: true })
    mkdirSync(path)
    chownSync(path, mallory, mallory)
    await expect(claimHome(path, { what })).rejects.toMatchObject({ code: 'ERR_HOME_UNUSABLE' })
  })

  test('a run file that names their database: no command connects to it', async () => {
    const home = await claimHome(path, { what })
    const url = new Secret('postgres://planted')
    await home.announce({
      ...{ ssh: '', portal: '', admin: '', publicUrl: '', kek: '', recordings: '' },
      ...{ database: { owner: url, app: url, bastion: url, jobs: url }, redisUrl: undefined },
    })
    mkdirSync(join(path, 'postgres/data'), { recursive: true })
    writeFileSync(join(path, 'postgres/data/PG_VERSION'), '18')
    const { close } = await visit()
    await close()
    chownSync(home.paths.run, mallory, mallory)
    await expect(visit()).rejects.toMatchObject({
      code: 'ERR_FILE_UNTRUSTED',
      message: expect.stringContaining(home.paths.run),
    })
    await home.release()
  })

  test('the logins of the database, its directory, or a setting in it', async () => {
    const home = await claimHome(path, { what })
    const start = async () => {
      const { server } = await startLocalDatabase({ home, migrations, log: silent })
      await server.stop()
    }
    await start()
    const data = join(home.paths.postgres, 'data')
    const planted = [
      home.paths.logins,
      home.paths.postgres,
      data,
      ...['postgresql.conf', 'postgresql.auto.conf', 'pg_hba.conf', 'pg_ident.conf'].map((name) =>
        join(data, name),
      ),
    ]
    for (const one of planted) {
      chownSync(one, mallory, mallory)
      await expect(start(), one).rejects.toMatchObject({
        code: 'ERR_FILE_UNTRUSTED',
        message: expect.stringMatching(new RegExp(`${one} .*user ${mallory}, mode 0\\d{3}.*chown`)),
      })
      chownSync(one, 0, 0)
    }
    await start()
    await home.release()
  })

  test('a host key, its certificate, or the directory of both', async () => {
    const directory = join(base, 'hostkeys')
    await keepHostKeys(directory)
    const key = join(directory, 'ssh_host_ed25519_key')
    for (const one of [key, directory]) {
      chownSync(one, mallory, mallory)
      await expect(keepHostKeys(directory), one).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_(HOST_KEY_UNUSABLE|FILE_UNTRUSTED)$/),
        message: expect.stringContaining(one),
      })
      chownSync(one, 0, 0)
    }
    const certificate = `${key}-cert.pub`
    writeFileSync(certificate, 'ssh-ed25519-cert-v01@openssh.com AAAA\n')
    chownSync(certificate, mallory, mallory)
    await expect(keepHostKeys(directory)).rejects.toMatchObject({
      code: 'ERR_HOST_KEY_UNUSABLE',
      message: expect.stringContaining('belongs to another user'),
    })
  })

  test('a link of theirs to a host key of theirs', async () => {
    const directory = join(base, 'hostkeys')
    await keepHostKeys(join(base, 'theirs'))
    mkdirSync(directory, { mode: 0o700 })
    const key = join(directory, 'ssh_host_ed25519_key')
    symlinkSync(join(base, 'theirs/ssh_host_ed25519_key'), key)
    await keepHostKeys(directory)
    chownSync(join(base, 'theirs'), mallory, mallory)
    await expect(keepHostKeys(directory)).rejects.toMatchObject({ code: 'ERR_HOST_KEY_UNUSABLE' })
    chownSync(join(base, 'theirs'), 0, 0)
    lchownSync(key, mallory, mallory)
    await expect(keepHostKeys(directory)).rejects.toMatchObject({ code: 'ERR_HOST_KEY_UNUSABLE' })
  })

  test('the name of the node, and the lock', async () => {
    const home = await claimHome(path, { what })
    await keepNodeName(home.paths.node)
    chownSync(home.paths.node, mallory, mallory)
    await expect(keepNodeName(home.paths.node)).rejects.toMatchObject({
      code: 'ERR_FILE_UNTRUSTED',
    })
    chownSync(home.paths.lock, mallory, mallory)
    await expect(claimHome(path, { what })).rejects.toMatchObject({ code: 'ERR_FILE_UNTRUSTED' })
  })

  test('a directory above the key of keys or the recordings, wherever the settings put them', async () => {
    const kek = join(base, 'secrets/kek')
    const recordings = join(base, 'disk/recordings')
    mkdirSync(join(base, 'secrets'))
    mkdirSync(recordings, { recursive: true })
    await keepKekFile(kek)
    const url = new Secret('')
    const datastores = {
      database: { owner: url, app: url, bastion: url, jobs: url },
      redisUrl: undefined,
      kek: `file:${kek}`,
      recordings: `dir:${recordings}`,
    }
    await assertFilesTrusted(datastores)
    for (const one of [join(base, 'secrets'), join(base, 'disk'), recordings, kek]) {
      chownSync(one, mallory, mallory)
      await expect(assertFilesTrusted(datastores), one).rejects.toMatchObject({
        code: 'ERR_FILE_UNTRUSTED',
        message: expect.stringContaining(one),
      })
      chownSync(one, 0, 0)
    }
  })
})

describe('attack: a directory that others can write', () => {
  test.each([
    ['0777', 0o777],
    ['0757', 0o757],
  ])('mode %s of the home or above it is refused', async (_, mode) => {
    await stoppedHome()
    for (const one of [path, base]) {
      const before = statSync(one).mode & 0o7777
      chmodSync(one, mode)
      await expect(claimHome(path, { what })).rejects.toMatchObject({
        code: 'ERR_HOME_UNUSABLE',
        message: expect.stringMatching(
          new RegExp(
            `${one} can be written by others .*mode 0${mode.toString(8)}.*chmod go-w ${one}`,
          ),
        ),
      })
      chmodSync(one, before)
    }
  })

  test('a group with other members is refused, and one without is not', async () => {
    await stoppedHome()
    chmodSync(base, 0o775)
    await stoppedHome()
    if (!isRoot) return
    // The group of another account.
    const users = readFileSync('/etc/passwd', 'utf8').match(/^(?:[^:]*:){2}[1-9]\d*:(\d+):/m)?.[1]
    chownSync(base, 0, Number(users))
    await expect(claimHome(path, { what })).rejects.toMatchObject({ code: 'ERR_HOME_UNUSABLE' })
  })
})

test('makes everything for its owner alone, whatever the umask is', async () => {
  const before = process.umask(0)
  try {
    const home = await claimHome(path, { what })
    await keepHostKeys(home.paths.hostKeys)
    await keepKekFile(home.paths.kek)
    await keepNodeName(home.paths.node)
    const names = readdirSync(path, { recursive: true, encoding: 'utf8' })
    expect(names.length).toBeGreaterThan(3)
    for (const name of ['.', ...names])
      expect(statSync(join(path, name)).mode & 0o077, name).toBe(0)
    await home.release()
  } finally {
    process.umask(before)
  }
})

test('attack: a link in the place of a draft is not written through', async () => {
  const victim = join(base, 'victim')
  writeFileSync(victim, 'untouched')
  symlinkSync(victim, join(base, 'file.new'))
  await writePrivateFile(join(base, 'file'), 'new')
  expect(readFileSync(victim, 'utf8')).toBe('untouched')
  expect(readFileSync(join(base, 'file'), 'utf8')).toBe('new')
})

describe.runIf(isRoot)('a database that runs as nobody', () => {
  const superuserPassword = new Secret('secret')
  const start = (options = {}) =>
    startPostgres({
      directory: join(base, 'postgres'),
      superuserPassword,
      log: silent,
      settings: { fsync: 'off' },
      ...options,
    })

  test('is never run with the rights of root again, whose files its settings could change', async () => {
    const first = await start({ posture: 'nobody' })
    const owner = () => statSync(join(base, 'postgres/data')).uid
    expect(owner()).toBe(nobody)
    await first.stop()
    const second = await start()
    const [row] = await administer(second.superuserUrl, (server) =>
      server.many<{ uid: string }>(
        "select pg_read_file('/proc/self/status') ~ E'\\nUid:\\t65534\\t' as uid",
      ),
    )
    await second.stop()
    expect(row?.uid).toBe(true)
    expect(owner()).toBe(nobody)
  })

  test('gets no file by a link that lies in its directory', async () => {
    const first = await start({ posture: 'namespace' })
    await first.stop()
    const data = join(base, 'postgres/data')
    expect(statSync(data).uid).toBe(0)
    const victim = join(base, 'victim')
    mkdirSync(victim)
    writeFileSync(join(victim, 'file'), '')
    symlinkSync(victim, join(data, 'directory'))
    symlinkSync(join(victim, 'file'), join(data, 'file'))
    const second = await start({ posture: 'nobody' })
    await second.stop()
    expect(statSync(data).uid).toBe(nobody)
    expect([statSync(victim).uid, statSync(join(victim, 'file')).uid]).toEqual([0, 0])
    chownSync(data, 0, 0)
    linkSync(join(victim, 'file'), join(data, 'hard'))
    await expect(start({ posture: 'nobody' })).rejects.toMatchObject({ code: 'ERR_FILE_UNTRUSTED' })
    expect(statSync(join(victim, 'file')).uid).toBe(0)
  })

  test('attack: has nothing in its half-made cluster removed by root, whom a link could lead away', async () => {
    const draft = join(base, 'postgres/data.new')
    // Nobody but root can remove it. It stands for whatever a process of nobody is about to exchange.
    mkdirSync(join(draft, 'of root'), { recursive: true })
    chmodSync(join(base, 'postgres'), 0o700)
    writeFileSync(join(draft, 'of root/file'), '')
    chownSync(draft, nobody, nobody)
    await expect(start({ posture: 'nobody' })).rejects.toMatchObject({ code: 'ERR_LOCAL_POSTGRES' })
    expect(existsSync(join(draft, 'of root/file'))).toBe(true)
    rmSync(join(draft, 'of root'), { recursive: true })
    await (await start({ posture: 'nobody' })).stop()
  })

  test('cannot make root remove files elsewhere, nor put a socket of another in the place of its own', async () => {
    const server = await start({ posture: 'nobody' })
    const socketDirectory = decodeURIComponent(new URL(server.superuserUrl.reveal()).hostname)
    const victim = join(base, 'victim')
    mkdirSync(victim)
    writeFileSync(join(victim, 'file'), '')
    symlinkSync(victim, join(socketDirectory, 'link'))
    lchownSync(join(socketDirectory, 'link'), nobody, nobody)
    // Its directory lies in one of root's: it can be filled, and not exchanged.
    const above = join(socketDirectory, '..')
    expect(statSync(socketDirectory).uid).toBe(nobody)
    expect([statSync(above).uid, statSync(above).mode & 0o022]).toEqual([0, 0])
    await server.stop()
    expect(existsSync(above)).toBe(false)
    expect(existsSync(join(victim, 'file'))).toBe(true)
  })
})

describe('the local redis', () => {
  const start = async (directory: string) => {
    const server = await startRedis({ directory, log: silent })
    if (server === undefined) throw new Error('no redis-server: apt-get install redis-server')
    return { ...server, socket: decodeURIComponent(new URL(server.url.reveal()).pathname) }
  }

  test('listens on no port, and on a socket that only we can reach', async () => {
    mkdirSync(path, { mode: 0o700 })
    const { pid, socket, stop } = await start(join(path, 'redis'))
    expect(socket.startsWith(`${path}/redis/`)).toBe(true)
    expect(statSync(join(path, 'redis')).mode & 0o777).toBe(0o700)
    expect(statSync(socket).mode & 0o077).toBe(0)
    const sockets = readdirSync(`/proc/${pid}/fd`).flatMap((name) =>
      linkOf(`/proc/${pid}/fd/${name}`),
    )
    for (const table of ['tcp', 'tcp6']) {
      const listening = readFileSync(`/proc/net/${table}`, 'utf8')
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter((fields) => fields[3] === '0A')
        .map((fields) => `socket:[${fields[9]}]`)
      expect(listening.filter((one) => sockets.includes(one))).toEqual([])
    }
    await stop()
    expect(existsSync(socket)).toBe(false)
  })

  test('finds a place for its socket when the path of the home is too long for one', async () => {
    const deep = join(base, 'x'.repeat(120))
    mkdirSync(deep, { mode: 0o700 })
    const { socket, stop } = await start(join(deep, 'redis'))
    const above = join(socket, '..')
    expect(above.startsWith(deep)).toBe(false)
    expect([statSync(above).uid, statSync(above).mode & 0o777]).toEqual([process.getuid?.(), 0o700])
    await stop()
    expect(existsSync(above)).toBe(false)
  })

  test('starts over what a killed server left behind', async () => {
    const first = await start(path)
    process.kill(first.pid, 'SIGKILL')
    await first.exited
    expect(existsSync(first.socket)).toBe(true)
    const second = await start(path)
    expect(readdirSync(path)).toHaveLength(1)
    await second.stop()
  })

  test.runIf(isRoot)('attack: a local user races the server for its socket', async () => {
    mkdirSync(path, { mode: 0o700 })
    const racer = race(join(path, 'redis'))
    await once(racer.child.stdout, 'data')
    const { pid, socket, stop } = await start(join(path, 'redis'))
    // One that listens there itself now, or connects, after the start.
    racer.child.stdin.end(`${socket}\n`)
    const [status] = await once(racer.child, 'exit')
    const left = readdirSync(join(path, 'redis'))
    await stop()
    expect([racer.won(), status]).toEqual(['trying\nlost\n', 0])
    expect(pid).toBeGreaterThan(0)
    expect(left).toEqual([socket.split('/').at(-1)])
  })
})

/** Another user who tries to own the socket before the server does, then to use the server's. */
function race(directory: string) {
  const script = `
    const { mkdirSync, writeFileSync, renameSync } = require('node:fs')
    const { connect, createServer } = require('node:net')
    const [directory] = process.argv.slice(1)
    const acts = [() => mkdirSync(directory), () => writeFileSync(directory + '/x', ''),
      () => renameSync(directory, directory + '-away')]
    let won = false
    const attempt = () => { for (const act of acts) try { act(); won = true } catch {} }
    attempt()
    const timer = setInterval(attempt, 1)
    console.log('trying')
    let path = ''
    process.stdin.on('data', (chunk) => { path += chunk })
    process.stdin.on('end', () => {
      clearInterval(timer)
      attempt()
      const tell = (text) => { console.log(text); process.exit(0) }
      connect(path.trim()).on('connect', () => tell('connected')).on('error', () =>
        createServer().on('error', () => tell(won ? 'won' : 'lost')).listen(directory + '/mine', () => tell('listens')))
    })`
  const child = spawn(process.execPath, ['-e', script, directory], {
    cwd: '/',
    uid: mallory,
    gid: mallory,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  return { child, won: () => text }
}

function linkOf(link: string): string[] {
  try {
    return [readlinkSync(link)]
  } catch {
    return [] // It was closed in the meantime.
  }
}
