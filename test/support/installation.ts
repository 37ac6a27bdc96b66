import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Sshd } from './sshd.ts'
import type { Finished, VaultTerm } from './vaultterm.ts'

/** What the log of a tenant says, as `audit tail --json` prints it. */
export interface Event {
  readonly index: number
  readonly type: string
  readonly public: { readonly [key: string]: unknown }
  readonly private: { readonly [key: string]: unknown }
}

export interface SessionRow {
  readonly id: string
  readonly tenant: string
  readonly kind: string
  readonly via: string
  readonly target: string
  readonly login: string
  readonly live: boolean
  readonly recording: boolean
  readonly exitStatus: number | null
  readonly exitSignal: string | null
  readonly reason: string | null
  readonly bytes: number | null
}

/** Registers a real server as a target, lets our key in there, and grants it. */
export async function addTarget(
  vaultterm: VaultTerm,
  sshd: Sshd,
  { tenant = 'acme', name = 'real', user = 'demo' } = {},
): Promise<void> {
  await vaultterm.json(
    ...['target', 'add', tenant, name, '--host', sshd.host, '--port', String(sshd.port)],
    ...['--login', sshd.login, '--host-key', sshd.hostKeyFile],
  )
  await onboard(vaultterm, sshd, tenant, name)
  await vaultterm.json('grant', 'add', tenant, '--user', user, '--target', name)
}

/** A second tenant, globex, whose owner gina may open its target db. Gives the file of her key. */
export async function addGlobex(vaultterm: VaultTerm, sshd: Sshd): Promise<string> {
  await vaultterm.json('tenant', 'create', 'globex')
  await vaultterm.json('user', 'add', 'globex', 'gina', '--role', 'owner')
  const key = makeKey(vaultterm, 'gina')
  await vaultterm.json('key', 'add', 'globex', 'gina', `${key}.pub`)
  await addTarget(vaultterm, sshd, { tenant: 'globex', name: 'db', user: 'gina' })
  return key
}

/** A grant of what is not in one by default, with the places that forwards may lead to. */
export function addGrant(
  vaultterm: VaultTerm,
  allow: string,
  { user = 'demo', forward = [] as readonly string[] } = {},
): Promise<{ readonly id: string }> {
  return vaultterm.json(
    ...['grant', 'add', 'acme', '--user', user, '--target', 'real', '--allow', allow],
    ...forward.flatMap((place) => ['--forward', place]),
  )
}

export async function onboard(vaultterm: VaultTerm, sshd: Sshd, tenant: string, name: string) {
  const onboarding = await vaultterm.json<{ publicKey: string }>('target', 'onboard', tenant, name)
  sshd.authorize(onboarding.publicKey)
}

/** A new key pair: the path of its private half. */
export function makeKey(vaultterm: VaultTerm, name: string): string {
  const directory = join(vaultterm.home, 'keys')
  mkdirSync(directory, { recursive: true })
  const file = join(directory, name)
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', file])
  return file
}

/** `ssh` with another user name or key than the demo's. */
export function sshAs(
  vaultterm: VaultTerm,
  user: string,
  key: string,
  args: readonly string[] = ['true'],
): Promise<Finished> {
  return vaultterm.ssh([
    ...['-F', 'none', '-i', key, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
    ...['-o', 'LogLevel=ERROR', '-p', vaultterm.sshPort, '-l', user, '127.0.0.1', ...args],
  ])
}

/** A JSON file of the home of a running installation. */
export function readHome(vaultterm: VaultTerm, file: 'run.json' | 'logins.json') {
  return JSON.parse(readFileSync(join(vaultterm.home, file), 'utf8'))
}

/** The superuser of the embedded Postgres of a running installation; its password is in the home. */
export async function connectSuperuser(vaultterm: VaultTerm): Promise<pg.Client> {
  const url = new URL(readHome(vaultterm, 'run.json').database.owner)
  const password = readHome(vaultterm, 'logins.json').superuser
  Object.assign(url, { username: 'postgres', password })
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  return client
}

export function demoKey(vaultterm: VaultTerm): string {
  return join(vaultterm.home, 'demo/demo_ed25519')
}

export function events(vaultterm: VaultTerm, tenant = 'acme'): Promise<Event[]> {
  return vaultterm.json('audit', 'tail', tenant, '--limit', '1000')
}

export function sessions(vaultterm: VaultTerm, tenant = 'acme'): Promise<SessionRow[]> {
  return vaultterm.json('session', 'list', tenant)
}

/** The newest session, once it has ended: its client may leave before its end is on record. */
export function newestEnded(vaultterm: VaultTerm, tenant = 'acme'): Promise<SessionRow> {
  return eventually(async () => {
    const [newest] = await sessions(vaultterm, tenant)
    return newest?.live === false ? newest : undefined
  }, 'the end of the newest session')
}

/** Asks until the answer is there: what is audited beside an answer comes a moment after it. */
export async function eventually<T>(
  ask: () => Promise<T | undefined> | T | undefined,
  what: string,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (performance.now() > deadline) throw new Error(`never came: ${what}`)
    await new Promise((done) => setTimeout(done, 100))
  }
}

/** A number from /metrics. */
export async function metric(vaultterm: VaultTerm, name: string): Promise<number> {
  const text = await (await fetch(`${vaultterm.ready.portal}/metrics`)).text()
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}
