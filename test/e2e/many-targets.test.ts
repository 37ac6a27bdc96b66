import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { tagOldTargets } from '../../src/access/index.ts'
import { openDatabase, parseTenantId } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { createVault, openKek } from '../../src/vault/index.ts'
import { addTarget, connectSuperuser, events, readHome, sessions } from '../support/installation.ts'
import { silent } from '../support/postgres.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** A tenant with more targets than a screen, or a page of the menu, has room for. */
let vaultterm: VaultTerm
let sshd: Sshd
const count = 1500
const nameOf = (at: number) => `real-${String(at).padStart(4, '0')}`
const terminals: SshTerminal[] = []

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  await copyTarget('real')
  await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', '*')
})
afterAll(async () => {
  for (const terminal of terminals) terminal.close()
  await sshd?.close()
  await vaultterm?.close()
})

/** Registers a target again and again under new names, in one statement. */
async function copyTarget(name: string): Promise<void> {
  const client = await connectSuperuser(vaultterm)
  try {
    await client.query(
      `with made as (
         insert into target (tenant_id, name, host, port, logins)
           select tenant_id, name || '-' || lpad(n::text, 4, '0'), host, port, logins
             from target, generate_series(1, $2::integer) n where name = $1
           returning tenant_id, id)
       insert into target_host_key (tenant_id, target_id, type, blob)
         select m.tenant_id, m.id, k.type, k.blob
           from made m, target_host_key k join target t on t.id = k.target_id where t.name = $1`,
      [name, count],
    )
  } finally {
    await client.end()
  }
  await tagCopies()
}

/** Rows that no VaultTerm wrote have no tags, and are not used: this makes them as from before tags. */
async function tagCopies(): Promise<void> {
  const url = new Secret<string>(readHome(vaultterm, 'run.json').database.app)
  const common = { log: silent, metrics: new Registry() }
  const database = openDatabase({ url, role: 'vaultterm_app', ...common })
  const kek = await openKek(`file:${join(vaultterm.home, 'kek')}`)
  const vault = createVault({ database, kek, ...common })
  try {
    const [{ id } = { id: '' }] = await vaultterm.json<{ id: string }[]>('tenant', 'list')
    const tenant = parseTenantId(id)
    if (tenant === undefined) throw new Error('no tenant')
    await vault.tagging(tenant, (tag) => database.write(tenant, (tx) => tagOldTargets(tx, tag)))
  } finally {
    await vault.close()
    await database.close()
  }
}

function openMenu(term?: string): SshTerminal {
  const config = join(vaultterm.home, 'demo/ssh_config')
  const terminal = new SshTerminal(['-F', config, 'acme'], undefined, term)
  terminals.push(terminal)
  return terminal
}

test.each([nameOf(1), nameOf(1000), nameOf(1001), nameOf(1500)])(
  'opens %s by its name, directly and by a jump, and says how it came',
  async (name) => {
    expect((await vaultterm.ssh([`acme+${name}`, 'echo well'])).stdout).toBe('well\n')
    expect((await vaultterm.ssh([`${name}.acme`, 'echo well'])).stdout).toBe('well\n')
    const came = (await sessions(vaultterm)).filter(({ target }) => target === name)
    expect(came.map(({ via }) => via).toSorted()).toEqual(['direct', 'jump'])
    const ids = new Set(came.map(({ id }) => id))
    const starts = (await events(vaultterm)).filter(
      ({ type, public: at }) => type === 'session.start' && ids.has(String(at.session)),
    )
    expect(starts.map(({ public: at }) => at.via).toSorted()).toEqual(['direct', 'jump'])
    for (const { id, via } of came) {
      expect(await vaultterm.json('session', 'show', id)).toMatchObject({ via })
    }
  },
)

test('a refusal lists some of them, and says that there are others', async () => {
  const { stderr, code } = await vaultterm.ssh(['acme', 'true'])
  expect(code).toBe(255)
  expect(stderr).toMatch(/connect as acme\+<target>, with one of real, .* and others/)
})

test.runIf(givesTerminals)('the menu finds a target far behind its first page', async () => {
  const terminal = openMenu()
  await terminal.waitFor(/1\/1502/)
  // In one go, before any page of it can have come.
  terminal.type(`${nameOf(1499)}\recho $((40+2))\r`)
  await terminal.waitFor(/42\r\n/)
  terminal.type('exit\r')
  expect(await terminal.exited).toBe(0)
  expect((await sessions(vaultterm))[0]).toMatchObject({ target: nameOf(1499) })
})

test.runIf(givesTerminals)('the menu goes to the last target by End', async () => {
  const terminal = openMenu()
  await terminal.waitFor(/VaultTerm acme/)
  terminal.type('\x1b[F')
  await terminal.waitFor(/1502\/1502/)
  terminal.type('\x03')
  await terminal.exited
})

test.runIf(givesTerminals)(
  'without drawing there are numbers, a search and more pages',
  async () => {
    const terminal = openMenu('dumb')
    await terminal.waitFor(/or Enter for more: /)
    terminal.type('\r')
    const [, number = ''] = await terminal.waitFor(/(\d+) {2}real-0300\r\n/)
    await terminal.waitFor(/or Enter for more: /)
    terminal.type('/-1490\r')
    await terminal.waitFor(/real-1490\r\n/)
    await terminal.waitFor(/to search: /)
    // The number of another page is still that target's.
    terminal.type(`${number}\r`)
    await terminal.waitFor(/[#$] /)
    terminal.type('exit\r')
    await terminal.exited
    expect((await sessions(vaultterm))[0]).toMatchObject({ target: nameOf(300) })
  },
)
