import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatPublicKey, parsePublicKey } from '../../src/ssh/index.ts'
import { makeKey } from '../auth/auth-fixture.ts'
import { addTarget, connectSuperuser, events } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** A superuser of the database swaps public values, and runs no command: an operator does. */
let vaultterm: VaultTerm
let sshd: Sshd
let superuser: pg.Client

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  await vaultterm.json(
    ...['target', 'add', 'acme', 'certified', '--host', sshd.host, '--port', String(sshd.port)],
    ...['--login', sshd.login, '--host-key', sshd.hostKeyFile, '--auth', 'cert'],
  )
  superuser = await connectSuperuser(vaultterm)
})
afterAll(async () => {
  await superuser?.end()
  await sshd?.close()
  await vaultterm?.close()
})

const evil = makeKey().line
const parsed = parsePublicKey(evil)
if ('problem' in parsed) throw new Error(parsed.problem)
const { blob, fingerprint } = parsed.key
const evilWord = formatPublicKey({ type: 'ssh-ed25519', blob }).split(' ')[1] ?? ''

const swaps: readonly {
  readonly what: string
  readonly table: string
  readonly statement: string
  readonly values: readonly unknown[]
  readonly commands: readonly (readonly string[])[]
  readonly names: RegExp
}[] = [
  {
    what: 'the key of a tenant',
    table: 'vault_secret',
    statement: "update vault_secret set public_key = $1 where path like '%/admin_ssh'",
    values: [evil],
    commands: [['target', 'onboard', 'acme', 'real']],
    names: /admin_ssh/,
  },
  {
    what: 'the certificate authority for users',
    table: 'certificate_authority',
    statement: `update certificate_authority set public_key = $1, fingerprint = $2
      where kind = 'user' and generation = 1`,
    values: [blob, fingerprint],
    commands: [
      ['target', 'onboard', 'acme', 'certified'],
      ['ca', 'show', 'acme'],
      ['ca', 'krl', 'acme'],
      ['ca', 'rotate', 'acme', '--force'],
    ],
    names: /user authority, generation 1/,
  },
  {
    what: 'the certificate authority for hosts',
    table: 'certificate_authority',
    statement: `update certificate_authority set public_key = $1, fingerprint = $2
      where kind = 'host' and generation = 2`,
    values: [blob, fingerprint],
    commands: [
      ['ca', 'show', 'acme', '--host'],
      ['ca', 'krl', 'acme', '--host'],
    ],
    names: /host authority, generation 2/,
  },
  {
    what: 'the host key of a target',
    table: 'target_host_key',
    statement: `update target_host_key set blob = $1, type = 'ssh-ed25519'
      where target_id = (select id from target where name = 'real')`,
    values: [blob],
    commands: [
      ['target', 'list', 'acme'],
      ['target', 'check', 'acme', 'real'],
      ['target', 'onboard', 'acme', 'real'],
      ['ca', 'host', 'acme', 'real', '--key', '-'],
    ],
    names: /target "real"/,
  },
  {
    what: 'the key that signs checkpoints',
    table: 'vault_secret',
    statement: "update vault_secret set public_key = $1 where path = 'audit/checkpoint'",
    values: [`vaultterm/checkpoints+00000000+AQ${evilWord.slice(-43)}`],
    commands: [['audit', 'verify', 'acme']],
    names: /checkpoint/,
  },
]

test.each(swaps)(
  'attack: a superuser swaps $what, and every command that would show it refuses',
  async ({ table, statement, values, commands, names }) => {
    await vaultterm.json('ca', 'show', 'acme')
    await vaultterm.json('ca', 'show', 'acme', '--host')
    await superuser.query(`create table kept as table ${table}`)
    try {
      await superuser.query(statement, [...values])
      for (const command of commands) {
        for (const json of [[], ['--json']]) {
          const { code, stdout, stderr } = await vaultterm.cli([...command, ...json], evil)
          const said = `${command.join(' ')}: ${stdout}${stderr}`
          expect(code, said).toBe(1)
          expect(stderr, said).toContain('ERR_RECORD_CHANGED')
          expect(stderr, said).toMatch(names)
          expect(stdout, said).toBe('')
          expect(`${stdout}${stderr}`).not.toContain(evilWord)
          expect(`${stdout}${stderr}`).not.toContain(fingerprint)
        }
      }
    } finally {
      await superuser.query(
        `delete from ${table}; insert into ${table} table kept; drop table kept`,
      )
    }
    for (const command of commands) {
      if (command[1] === 'rotate' || command[1] === 'host') continue
      expect((await vaultterm.cli([...command, '--json'])).code, command.join(' ')).toBe(0)
    }
    const types = (await events(vaultterm)).map(({ type }) => type)
    if (table !== 'vault_secret') expect(types).toContain('record.refused')
  },
  600_000,
)

test('attack: a superuser swaps address and host key of a target, and ssh is told so and led nowhere', async () => {
  expect((await vaultterm.ssh(['acme+real', 'echo in'])).stdout).toBe('in\n')
  const { rows } = await superuser.query('select id, port from target where name = $1', ['real'])
  await superuser.query('update target set port = port + 1 where name = $1', ['real'])
  try {
    const { code, stdout, stderr } = await vaultterm.ssh(['acme+real', 'echo in'])
    expect([code, stdout]).toEqual([255, ''])
    expect(stderr).toContain('ERR_RECORD_CHANGED')
    // Other targets open as before.
    expect((await vaultterm.ssh(['acme+web1', 'echo web'])).stdout).toBe('web\n')
  } finally {
    await superuser.query('update target set port = $2 where id = $1', [rows[0]?.id, rows[0]?.port])
  }
  expect((await vaultterm.ssh(['acme+real', 'echo in'])).stdout).toBe('in\n')
})

test('attack: a superuser swaps a row of the demo, and the installation starts without the demo', async () => {
  await superuser.query("update target set host = '203.0.113.66' where name = 'web1'")
  await superuser.end()
  superuser.on('error', () => {})
  vaultterm.signal('SIGTERM')
  await vaultterm.exited()
  await vaultterm.up()
  expect((await fetch(`${vaultterm.ready.portal}/readyz`)).status).toBe(200)
  const { code, stderr } = await vaultterm.cli(['target', 'check', 'acme', 'web1'])
  expect(code).toBe(1)
  expect(stderr).toContain('ERR_RECORD_CHANGED')
  const removed = await vaultterm.json('target', 'remove', 'acme', 'web1')
  expect(removed).toMatchObject({ hostKeys: [] })
})
