import { execFileSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDatabase, type TenantId } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { publicKeyBlob, Writer } from '../../src/ssh/index.ts'
import { ChangeReports } from '../../src/vault/change-reports.ts'
import { openKek } from '../../src/vault/index.ts'
import { withTenantKek } from '../../src/vault/keyring.ts'
import { vaultMetrics } from '../../src/vault/metrics.ts'
import { listSecrets } from '../../src/vault/queries.ts'
import { SealState } from '../../src/vault/seal-state.ts'
import { SecretStore } from '../../src/vault/secrets.ts'
import { sshKeyPath } from '../../src/vault/ssh-key.ts'
import { addTarget, eventually, metric, sessions } from '../support/installation.ts'
import { findInMemory, formsOf } from '../support/memory.ts'
import { silent } from '../support/postgres.ts'
import { Attacker, authRequest, msg, publicKeyFields } from '../support/ssh-attacker.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd
const terminals: SshTerminal[] = []

beforeAll(async () => {
  // Keys that it has made itself may be in its memory too.
  vaultterm = await VaultTerm.startNew({ VAULTTERM_WORKERS: '2' })
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
})
afterAll(async () => {
  for (const terminal of terminals) terminal.close()
  await sshd?.close()
  await vaultterm?.close()
})

const workers = () => vaultterm.workers

/** A shell of a new connection. */
async function open(): Promise<{ terminal: SshTerminal; say(text: string): Promise<void> }> {
  const terminal = new SshTerminal(['-F', `${vaultterm.home}/demo/ssh_config`, 'acme+web1'])
  terminals.push(terminal)
  await terminal.waitFor(/[#$] /)
  let count = 0
  return {
    terminal,
    async say(text) {
      const mark = `${text}-${++count}-`
      terminal.type(`echo ${mark}$((40+2))\r`)
      await terminal.waitFor(new RegExp(`${mark}42`))
    },
  }
}

/** How many connections of clients a worker has, by the system's account. */
function connectionsOf(worker: number): number {
  const port = Number(vaultterm.sshPort).toString(16).toUpperCase().padStart(4, '0')
  const ours = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local]) => local?.endsWith(`:${port}`) === true)
    .map((fields) => `socket:[${fields[9]}]`)
  const held = readdirSync(`/proc/${worker}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${worker}/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return held.filter((link) => ours.includes(link)).length
}

type Needles = ReadonlyMap<string, readonly Buffer[]>

/** What is searched for in memory, by what it is: taken out of the vault as only a test that is root can. */
async function secretsOf({ home }: VaultTerm): Promise<Readonly<Record<SecretName, Needles>>> {
  const run = JSON.parse(readFileSync(join(home, 'run.json'), 'utf8'))
  const url = String(run.database.app)
  const password = formsOf('password', Buffer.from(decodeURIComponent(new URL(url).password)))
  const database = openDatabase({
    url: new Secret(url),
    role: 'vaultterm_app',
    log: silent,
    metrics: new Registry(),
  })
  try {
    const kek = await openKek(`file:${join(home, 'kek')}`)
    const metrics = vaultMetrics(new Registry())
    const state = new SealState(database, kek, metrics, silent)
    const reports = new ChangeReports(database, metrics, silent)
    const secrets = new SecretStore(database, kek, state, metrics, reports)
    const tenants = await database.system((tx) =>
      tx.many<{ tenant: TenantId }>('select tenant_id as tenant from tenant'),
    )
    const numbers = new Map<string, readonly Buffer[]>()
    const files = new Map<string, readonly Buffer[]>()
    const tenantKeks = new Map<string, readonly Buffer[]>()
    for (const { tenant } of tenants) {
      const path = sshKeyPath(tenant, 'admin_ssh')
      const [row] = await secrets.read(tenant, (tx) => listSecrets(tx, path))
      if (row === undefined) continue
      const tenantKek = { version: row.kekVersion, wrapped: row.wrappedKek }
      await withTenantKek(kek, tenant, tenantKek, async ({ bytes }) => {
        for (const [name, forms] of formsOf('tenant key', Buffer.from(bytes))) {
          tenantKeks.set(name, forms)
        }
      })
      await secrets.use({ tenant, path, version: row.version }, row, async (pem) => {
        const { p = '', q = '' } = createPrivateKey(pem).export({ format: 'jwk' })
        // As OpenSSL has numbers in memory, lowest word first, and as they are in files.
        for (const [name, text] of Object.entries({ p, q })) {
          const prime = Buffer.from(text, 'base64url')
          const reversed = Buffer.from(prime).reverse().subarray(0, 32)
          numbers.set(`${name} as a number`, [reversed])
          for (const [form, bytes] of formsOf(name, prime.subarray(0, 32))) files.set(form, bytes)
        }
        // A line out of the middle: any part of the text is as good as the whole.
        const line = pem.toString('latin1').split('\n')[20] ?? ''
        files.set('a line of the PEM', [Buffer.from(line), Buffer.from(line, 'utf16le')])
      })
    }
    if (numbers.size === 0) throw new Error('no admin key was found')
    const text = readFileSync(join(home, 'kek'), 'latin1').trim()
    const kekForms = formsOf('key of keys', Buffer.from(text, 'base64'))
    return { numbers, files, tenantKeks, kek: kekForms, password }
  } finally {
    await database.close()
  }
}

type SecretName = 'numbers' | 'files' | 'tenantKeks' | 'kek' | 'password'

test('there are two at the least, and each of them serves', async () => {
  expect(workers()).toHaveLength(2)
  const done = await Promise.all(
    Array.from({ length: 6 }, () => vaultterm.ssh(['acme+real', 'echo in'])),
  )
  for (const each of done) expect(each).toMatchObject({ stdout: 'in\n', code: 0 })
})

test.runIf(process.getuid?.() === 0)(
  'attack: whoever reads a worker’s memory finds no key but the host’s, in any encoding',
  async () => {
    await Promise.all(Array.from({ length: 8 }, () => vaultterm.ssh(['acme+real', 'echo in'])))
    const secrets = await secretsOf(vaultterm)
    const all = new Map(Object.values(secrets).flatMap((needles) => [...needles]))
    const hostKey = new Map([['host key', [Buffer.from('BEGIN OPENSSH PRIVATE KEY')]]])
    for (const pid of workers()) {
      expect(findInMemory(pid, all)).toEqual([])
      // The same search finds what is there.
      expect(findInMemory(pid, hostKey)).toEqual(['host key'])
    }
    expect(findInMemory(vaultterm.pid, secrets.kek)).toEqual(['key of keys, raw'])
    expect(findInMemory(vaultterm.pid, secrets.password)).toContain('password, raw')
  },
  600_000,
)

test.runIf(process.getuid?.() === 0)(
  'attack: whoever reads the main process’s memory after a seal finds no key of keys, no tenant’s key and no private key, in any encoding',
  async () => {
    await Promise.all(Array.from({ length: 8 }, () => vaultterm.ssh(['acme+real', 'echo in'])))
    await vaultterm.json('target', 'onboard', 'acme', 'real')
    const { kek, tenantKeks, numbers, files } = await secretsOf(vaultterm)
    expect(findInMemory(vaultterm.pid, kek), 'before').not.toEqual([])
    await vaultterm.json('vault', 'seal')
    const after = new Map([...kek, ...tenantKeks, ...numbers, ...files])
    try {
      // The other processes hear of it; nothing here asks them to collect garbage.
      await expect
        .poll(() => findInMemory(vaultterm.pid, after), { timeout: 120_000, interval: 500 })
        .toEqual([])
      for (const pid of workers()) expect(findInMemory(pid, after)).toEqual([])
    } finally {
      await vaultterm.json('vault', 'unseal')
    }
    // Read anew, it is there again, and in no other form.
    expect((await vaultterm.ssh(['acme+real', 'echo in'])).stdout).toBe('in\n')
    expect(findInMemory(vaultterm.pid, kek)).toEqual(['key of keys, raw'])
  },
  600_000,
)

test('a search of memory knows a secret in every form, wherever it stands', () => {
  const secret = randomBytes(32)
  for (const before of [0, 1, 2, 3]) {
    const padded = Buffer.concat([randomBytes(before), secret, randomBytes(5)])
    for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
      const text = padded.toString(encoding)
      for (const bytes of [Buffer.from(text, 'latin1'), Buffer.from(text, 'utf16le')]) {
        if (encoding === 'latin1' && bytes.length !== text.length) continue
        const forms = [...formsOf('secret', secret).values()].flat()
        expect(
          forms.some((form) => bytes.includes(form)),
          `${encoding} ${before}`,
        ).toBe(true)
      }
    }
  }
})

test('a worker’s environment and command line name no database and no key', () => {
  for (const pid of workers()) {
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1')
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
    expect(environment + command).not.toMatch(/postgres|redis|VAULTTERM_KEK|DATABASE/i)
    // Node itself keeps it from files and from starting anything.
    expect(command).toContain('--permission')
    expect(command).not.toContain('--allow-child-process')
    // The state lies in the program's own directory where nobody says otherwise: of either it reads
    // no more than it needs.
    const paths = [...command.matchAll(/--allow-fs-(?:read|write)=([^\0]*)/g)].map(
      ([, path]) => path,
    )
    const root = join(import.meta.dirname, '../..')
    expect(paths).not.toContain(`${root}/`)
    for (const path of paths) {
      for (const secret of [join(root, '.vaultterm/kek'), join(vaultterm.home, 'kek')]) {
        expect(secret.startsWith(path ?? ''), path).toBe(false)
      }
    }
  }
})

test('attack: a worker opens a debugger in the main process, or in another worker', async () => {
  // Whatever has the same user may send it.
  for (const pid of [vaultterm.pid, ...workers()]) process.kill(pid, 'SIGUSR1')
  await sleep(500)
  await expect(fetch('http://127.0.0.1:9229/json/list')).rejects.toThrow()
  expect((await vaultterm.ssh(['acme+real', 'echo in'])).stdout).toBe('in\n')
})

describe('a worker that', () => {
  /** A session on each of the two. Chance decides where one goes: those on the same one are closed again. */
  async function two() {
    const before = workers()
    const first = await open()
    for (;;) {
      const second = await open()
      if (before.every((pid) => connectionsOf(pid) === 1)) return { before, first, second }
      second.terminal.close()
      const count = () => before.reduce((sum, pid) => sum + connectionsOf(pid), 0)
      await eventually(() => (count() === 1 ? true : undefined), 'the end of the surplus session')
    }
  }

  /** Hits one worker; the other's session goes on, the hit one's ends on record. */
  async function hit(signal: NodeJS.Signals): Promise<void> {
    const { before, first, second } = await two()
    const [victim = 0] = before
    const live = await eventually(async () => {
      const now = (await sessions(vaultterm)).filter((one) => one.live)
      return now.length === 2 ? now : undefined
    }, 'two live sessions')
    process.kill(victim, signal)
    const ended = await eventually(async () => {
      const now = await sessions(vaultterm)
      const gone = now.filter(({ id, live: is }) => !is && live.some((one) => one.id === id))
      return gone.length > 0 ? gone : undefined
    }, 'the end of the session on record')
    expect(ended).toHaveLength(1)
    expect(ended[0]).toMatchObject({ reason: 'interrupted', recording: true })
    expect(await vaultterm.json('session', 'verify', ended[0]?.id ?? '')).toMatchObject({
      ok: true,
    })
    const cast = await vaultterm.cli(['session', 'export', ended[0]?.id ?? ''])
    expect(cast.stdout).toContain('interrupted')
    const survivor = await Promise.race([
      first.terminal.exited.then(() => second),
      second.terminal.exited.then(() => first),
    ])
    await survivor.say(`still-${signal.toLowerCase()}`)
    survivor.terminal.close()
    await eventually(() => (workers().length === 2 ? true : undefined), 'a new worker')
    expect(workers()).not.toContain(victim)
    expect((await vaultterm.ssh(['acme+real', 'echo after'])).stdout).toBe('after\n')
    await eventually(
      async () => ((await sessions(vaultterm)).some((one) => one.live) ? undefined : true),
      'no live session',
    )
  }

  test('is killed is replaced, and nobody else notices', () => hit('SIGKILL'))

  test('hangs is killed within seconds, and nobody else notices', () => hit('SIGSTOP'))

  test('hangs keeps nobody from logging in', async () => {
    const [victim = 0] = workers()
    process.kill(victim, 'SIGSTOP')
    // Before it is found out, some connections are its; after that none is.
    await eventually(() => (workers().includes(victim) ? undefined : true), 'its end')
    const done = await Promise.all(
      Array.from({ length: 4 }, () => vaultterm.ssh(['acme+real', 'echo in'])),
    )
    for (const each of done) expect(each.stdout).toBe('in\n')
  })
})

test('all are replaced one by one while people come and go, and nobody is refused', async () => {
  await eventually(() => (workers().length === 2 ? true : undefined), 'two workers')
  const before = workers()
  const stayer = await open()
  let stop = false
  const visits: Promise<number | null>[] = []
  const visitor = async () => {
    while (!stop) {
      const visit = vaultterm.ssh(['acme+real', 'true']).then(({ code }) => code)
      visits.push(visit)
      await visit
    }
  }
  const visitors = [visitor(), visitor()]
  vaultterm.signal('SIGUSR2')
  await eventually(() => {
    const isDone = workers().filter((pid) => !before.includes(pid)).length === 2
    return isDone && visits.length > 5 ? true : undefined
  }, 'two new workers, and visitors all the while')
  stop = true
  await Promise.all(visitors)
  expect(new Set(await Promise.all(visits))).toEqual(new Set([0]))
  // Who was there before goes on in the old worker, which ends when they leave.
  await stayer.say('stayed')
  await eventually(
    () => (workers().filter((pid) => before.includes(pid)).length === 1 ? true : undefined),
    'the end of the old one that nobody is in',
  )
  stayer.terminal.type('exit\r')
  await stayer.terminal.exited
  await eventually(
    () => (workers().some((pid) => before.includes(pid)) ? undefined : true),
    'the end of the old worker',
  )
})

/** How long a connection rests before a restart ends it. */
const restMs = 2000

test('a restart ends a connection when it rests, not between two of its sessions', async () => {
  await eventually(() => (workers().length === 2 ? true : undefined), 'two workers')
  const before = workers()
  const control = ['-o', `ControlPath=${join(vaultterm.home, 'mux')}`]
  const master = [...control, '-o', 'ControlMaster=auto', '-o', 'ControlPersist=60']
  expect(await vaultterm.ssh([...master, 'acme+real', 'true'])).toMatchObject({ code: 0 })
  const isUp = async () =>
    (await vaultterm.ssh([...control, '-O', 'check', 'acme+real'])).code === 0
  vaultterm.signal('SIGUSR2')
  let replacedAt = Number.POSITIVE_INFINITY
  let restsSince = performance.now()
  while (performance.now() < replacedAt + 1500) {
    if (!(await isUp())) {
      // It may end where this machine was so slow that it did rest.
      expect(performance.now() - restsSince).toBeGreaterThan(restMs)
      return
    }
    restsSince = performance.now()
    expect(await vaultterm.ssh([...control, 'acme+real', 'echo in'])).toMatchObject({
      stdout: 'in\n',
    })
    const isReplaced = before.filter((pid) => workers().includes(pid)).length < 2
    if (isReplaced) replacedAt = Math.min(replacedAt, performance.now())
    await sleep(200)
  }
  await eventually(
    async () => ((await isUp()) ? undefined : true),
    'the end of a connection at rest',
  )
})

test('a restart cuts off no client between its jump and the login there', async () => {
  await eventually(() => (workers().length === 2 ? true : undefined), 'two workers')
  const before = workers()
  const config = join(vaultterm.home, 'demo/ssh_config')
  // The client inside begins to speak when the old workers would have gone.
  const proxy = `ssh -F ${config} -W [real.acme]:22 acme`
  const slow = `sh -c 'exec 3<&0; ${proxy} < /dev/fd/3 | (sleep 5; cat)'`
  const visit = vaultterm.ssh(['-o', `ProxyCommand=${slow}`, 'real.acme', 'echo in'])
  await eventually(
    async () => ((await metric(vaultterm, 'bastion_connections')) > 0 ? true : undefined),
    'the connection outside',
  )
  vaultterm.signal('SIGUSR2')
  expect(await visit).toMatchObject({ stdout: 'in\n', code: 0 })
  await eventually(
    () => (workers().some((pid) => before.includes(pid)) ? undefined : true),
    'the end of the old workers',
  )
})

test('what the workers count is on one page', async () => {
  // Whoever counted most of it has been killed, or replaced, by now.
  const { length } = await sessions(vaultterm)
  expect(length).toBeGreaterThan(10)
  const counted = await eventually(async () => {
    const sum = await metric(vaultterm, 'bastion_sessions_total')
    return sum > length / 2 ? sum : undefined
  }, 'the count of all')
  expect(counted).toBeLessThanOrEqual(length)
  expect(await metric(vaultterm, 'bastion_relay_bytes_total')).toBeGreaterThan(0)
  await eventually(
    async () => ((await metric(vaultterm, 'bastion_connections')) === 0 ? true : undefined),
    'no connection',
  )
})

test('a worker that grows too large gives way to another, and its sessions go on', async () => {
  const small = await VaultTerm.start({
    VAULTTERM_WORKERS: '1',
    VAULTTERM_WORKER_MEMORY_MIB: '90',
  })
  try {
    // Every worker is larger than this from the first, and not by half: each is replaced as soon as it
    // is looked at, and none is killed.
    const pids = () =>
      execFileSync('ps', ['-o', 'pid=', '--ppid', String(small.pid)], { encoding: 'utf8' })
    const before = pids()
    await eventually(() => (pids() === before ? undefined : true), 'another worker')
    expect((await small.ssh(['acme+web1', 'echo in'])).stdout).toBe('in\n')
  } finally {
    await small.close()
  }
})

test('attack: nobody ends a worker by names and numbers that are too large', async () => {
  const before = workers()
  const long = await vaultterm.ssh(['-l', 'x'.repeat(20_000), 'acme'])
  expect(long.code).toBe(255)
  const attacker = new Attacker(connect(Number(vaultterm.sshPort), '127.0.0.1'))
  await attacker.handshakeForLogin()
  const key = generateKeyPairSync('ed25519').privateKey
  const fields = publicKeyFields('ssh-ed25519', publicKeyBlob(key), true)
  const signature = new Writer().text('ssh-ed25519').string(Buffer.alloc(64)).build()
  for (const user of ['x'.repeat(4097), 'y'.repeat(30_000)]) {
    attacker.send(
      authRequest(user, 'publickey', new Writer().bytes(fields).string(signature).build()),
    )
  }
  await attacker.until(
    () => attacker.received.filter(([type]) => type === msg.authFailure).length === 2 || undefined,
  )
  attacker.end()
  // The same from who is in: ports, hosts and paths.
  for (const where of ['web1:70000', `${'h'.repeat(300)}:22`, `${'h'.repeat(2000)}:22`]) {
    expect((await vaultterm.ssh(['-W', where, 'acme+real'])).code).not.toBe(0)
  }
  expect((await vaultterm.ssh(['acme+real', 'echo in'])).stdout).toBe('in\n')
  expect(workers()).toEqual(before)
  expect(vaultterm.stderr).not.toContain('a worker was not understood')
})
