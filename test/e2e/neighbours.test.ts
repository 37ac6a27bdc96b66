import { createServer, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Writer } from '../../src/ssh/index.ts'
import {
  addGlobex,
  addTarget,
  connectSuperuser,
  demoKey,
  sessions,
  sshAs,
} from '../support/installation.ts'
import { enter, execRequest } from '../support/intruder.ts'
import type { Attacker } from '../support/ssh-attacker.ts'
import { channelMsg, openChannel } from '../support/ssh-lab.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Two tenants on one bastion: acme does all it can to be in the way, and globex works meanwhile. */
let vaultterm: VaultTerm
let sshd: Sshd
let silent: Server
let key: string
const held = new Set<Socket>()
beforeAll(async () => {
  sshd = await Sshd.start()
  vaultterm = await VaultTerm.start()
  key = await addGlobex(vaultterm, sshd)
  await addTarget(vaultterm, sshd)
  silent = createServer((socket) => held.add(socket.on('error', () => {})))
  await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done))
  const address = silent.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  await vaultterm.json(
    ...['target', 'add', 'acme', 'mute', '--host', '127.0.0.1', '--port', String(address.port)],
    ...['--login', 'nobody', '--host-key', sshd.hostKeyFile],
  )
  await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', 'mute')
})
afterAll(async () => {
  for (const socket of held) socket.destroy()
  silent?.close()
  await vaultterm?.close()
  await sshd?.close()
})

/** The neighbour's day: a session that works, and is on record. */
async function expectNeighbourServed(): Promise<void> {
  const before = (await sessions(vaultterm, 'globex')).length
  const done = await sshAs(vaultterm, 'globex+db', key, ['echo', 'served'])
  expect([done.stdout, done.stderr, done.code]).toEqual(['served\n', '', 0])
  expect(await sessions(vaultterm, 'globex')).toHaveLength(before + 1)
}

/** A forward to where no grant leads: RFC 4254 section 7.2. */
const openForward = (sender: number) =>
  new Writer()
    .u8(channelMsg.open)
    .text('direct-tcpip')
    .u32(sender)
    .u32(65_536)
    .u32(32_768)
    .text('10.0.0.1')
    .u32(1)
    .text('127.0.0.1')
    .u32(1)
    .build()

/** What the one does whose own log is damaged; not to the demo's target, which moves with a restart. */
const asDemo = (...command: readonly string[]) =>
  sshAs(vaultterm, 'acme+real', demoKey(vaultterm), command)

const answersOf = (attacker: Attacker, type: number) =>
  attacker.received.filter(([first]) => first === type).length

test('attack: sessions that wait for a target without a word leave room for a neighbour’s', async () => {
  const waiting = []
  for (let count = 0; count < 12; count++) waiting.push(await enter(vaultterm, 'acme+mute'))
  for (const attacker of waiting) {
    for (let sender = 0; sender < 8; sender++) attacker.send(openChannel(sender))
    for (let channel = 0; channel < 8; channel++) attacker.send(execRequest(channel, 'true'))
  }
  await waiting[0]?.first(channelMsg.confirmation)
  await expectNeighbourServed()
  for (const attacker of waiting) attacker.end()
})

test('attack: a flood of refused forwards is answered in full, and a neighbour is served meanwhile', async () => {
  const count = 1500
  const flood = async () => {
    const attacker = await enter(vaultterm)
    for (let sender = 0; sender < count; sender++) attacker.send(openForward(sender))
    return attacker
  }
  const floods = await Promise.all([flood(), flood(), flood()])
  await expectNeighbourServed()
  for (const attacker of floods)
    await attacker.until(() => answersOf(attacker, channelMsg.failure) === count || undefined)
  expect(floods.map((attacker) => answersOf(attacker, channelMsg.failure))).toEqual([
    count,
    count,
    count,
  ])
  for (const attacker of floods) attacker.end()
})

test('attack: three hundred that ask for metrics over and over keep nobody from logging in', async () => {
  let asking = true
  let answers = 0
  const ask = async () => {
    while (asking) {
      const answer = await fetch(`${vaultterm.ready.portal}/metrics`)
      await answer.text()
      answers += 1
    }
  }
  const all = Promise.all(Array.from({ length: 300 }, ask))
  await expectNeighbourServed()
  asking = false
  await all
  expect(answers).toBeGreaterThanOrEqual(300)
})

test('attack: a damaged log shuts its own tenant out, also over a restart, and no neighbour', async () => {
  await damageLogOfAcme()
  const { code, stderr } = await asDemo('true')
  expect(code).toBe(255)
  expect(stderr).toMatch(/cannot be checked at the moment/)
  await expectNeighbourServed()

  // After a crash, the end of each of its sessions is owed to a log that takes nothing.
  await vaultterm.crash()
  await vaultterm.up()
  await expectNeighbourServed()
  expect((await asDemo('true')).code).toBe(255)

  await vaultterm.json('audit', 'repair', 'acme', '--yes')
  expect(await asDemo('echo', 'again')).toMatchObject({ stdout: 'again\n' })
  expect(await vaultterm.json('audit', 'verify', 'globex')).toMatchObject({ ok: true })
})

/** As a superuser, whom no trigger stops. */
async function damageLogOfAcme(): Promise<void> {
  const client = await connectSuperuser(vaultterm)
  try {
    await client.query(`
      set session_replication_role = replica;
      update audit_tree set hashes = array['\\x00'::bytea]
        where tenant_id = (select tenant_id from tenant where slug = 'acme')`)
  } finally {
    await client.end()
  }
}

test('attack: invented cookies in the name of a tenant keep nobody of it out of SSH', async () => {
  const tenants = await vaultterm.json<{ id: string; slug: string }[]>('tenant', 'list')
  const { id } = tenants.find(({ slug }) => slug === 'acme') ?? { id: '' }
  let isOver = false
  let asked = 0
  const flood = Array.from({ length: 200 }, async () => {
    while (!isOver) {
      const cookie = `vaultterm=${id}.${'A'.repeat(43)}`
      const { status } = await fetch(`${vaultterm.ready.portal}/api/v1/sessions`, {
        headers: { cookie },
      })
      expect(status).toBe(401)
      asked += 1
    }
  })
  try {
    for (let login = 0; login < 4; login += 1) {
      const done = await vaultterm.ssh(['acme+real', 'echo in'])
      expect([done.stdout, done.stderr, done.code]).toEqual(['in\n', '', 0])
    }
  } finally {
    isOver = true
    await Promise.allSettled(flood)
  }
  expect(asked).toBeGreaterThan(200)
})
