import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type ChannelOpen,
  createSshServer,
  formatPublicKey,
  generateHostKey,
  verifyUserSignature,
  Writer,
} from '../../src/ssh/index.ts'
import { connectSuperuser, eventually, metric, sessions } from '../support/installation.ts'
import { enter, execRequest } from '../support/intruder.ts'
import { msg } from '../support/ssh-attacker.ts'
import { channelMsg, forChannel, openChannel } from '../support/ssh-lab.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** People who are let in, and targets, that do what no honest one does. */
let vaultterm: VaultTerm
beforeAll(async () => {
  vaultterm = await VaultTerm.start()
})
afterAll(() => vaultterm?.close())

const expectWell = async () => {
  expect(vaultterm.alive).toBe(true)
  expect(await vaultterm.ssh(['acme+web1', 'echo', 'well'])).toMatchObject({ stdout: 'well\n' })
}

test('attack: sessions opened and closed without waiting get no more than one connection may', async () => {
  const attacker = await enter(vaultterm)
  const before = (await sessions(vaultterm)).length
  for (let round = 0; round < 1000; round++) {
    attacker.send(openChannel(round), execRequest(0, 'true'), forChannel(channelMsg.close, 0))
  }
  // One open too many is refused, and what was sent along for it breaks the protocol; or each of them was
  // over before its turn came.
  const ends: readonly (number | undefined)[] = [channelMsg.failure, msg.disconnect]
  const closes = () => attacker.received.filter(([type]) => type === channelMsg.close).length
  await attacker.until(
    () => attacker.received.some(([type]) => ends.includes(type)) || closes() === 1000 || undefined,
  )
  await expectWell()
  attacker.end()
  await attacker.closed
  // Of a thousand, no more were begun than were let in; whoever had gone before its turn began none.
  const begun = (await sessions(vaultterm)).length - before
  expect(begun).toBeLessThan(130)
  await eventually(
    async () => ((await metric(vaultterm, 'bastion_sessions')) === 0 ? true : undefined),
    'every session ended',
  )
})

test('attack: early data for 64 channels is a window of 64 KiB each, and no byte more', async () => {
  const attacker = await enter(vaultterm)
  attacker.send(...Array.from({ length: 64 }, (_, sender) => openChannel(sender)))
  const all = await attacker.until(() => {
    const opened = attacker.received.filter(([type]) => type === channelMsg.confirmation)
    return opened.length === 64 ? opened : undefined
  })
  expect(all?.map((payload) => payload.readUInt32BE(9))).toEqual(Array(64).fill(65_536))
  const data = (bytes: number) =>
    new Writer().u8(channelMsg.data).u32(0).string(Buffer.alloc(bytes)).build()
  attacker.send(data(32_768), data(32_768))
  attacker.send(data(1))
  expect(await attacker.disconnectReason()).toBe(2)
  await expectWell()
})

test('attack: a kill that comes between a session’s commit and its first word ends it all the same', async () => {
  // At the very commit, as if somebody had looked at the log and been quick.
  const database = await connectSuperuser(vaultterm)
  try {
    await database.query(`
      create function kill_at_once() returns trigger language plpgsql security definer as $$
      begin
        if new.command = 'sleep 25'::bytea then
          update session set killed_at = now(), kill_reason = 'too quick' where id = new.id;
          perform pg_notify('vaultterm_session_kill', new.tenant_id::text);
        end if;
        return new;
      end $$;
      create trigger kill_at_once after insert on session
        for each row execute function kill_at_once()`)
    for (let round = 0; round < 8; round++) {
      const { code, stderr } = await vaultterm.ssh(['acme+web1', 'sleep', '25'])
      expect([code, stderr]).toEqual([255, expect.stringContaining('too quick')])
    }
  } finally {
    await database.query('drop trigger kill_at_once on session; drop function kill_at_once()')
    await database.end()
  }
})

/** A target that lets everybody in, and does with channels what it is told to. */
async function startHostileTarget(open: (open: ChannelOpen) => void): Promise<{
  readonly server: Server
  readonly port: number
  readonly hostKey: string
}> {
  const hostKey = generateHostKey()
  const ssh = createSshServer({
    hostKeys: [hostKey],
    ident: 'Hostile',
    loginGraceMs: 60_000,
    authTriesMax: 3,
    channelsMax: 8,
    log: pino({ level: 'silent' }),
  })
  const server = createServer((socket) =>
    ssh.serve(socket, {
      authenticate: async ({ key, algorithm, signature, signedData }) =>
        verifyUserSignature({ key, algorithm, signature, data: signedData }),
      ready: (connection) => {
        connection.onChannelOpen = open
      },
    }),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return { server, port: address.port, hostKey: formatPublicKey(hostKey.publicKey) }
}

const silences: readonly [string, (open: ChannelOpen) => void][] = [
  ['never answers an open', () => {}],
  [
    'never answers a command',
    (open) =>
      open.accept().handle({
        data() {},
        extendedData() {},
        request() {},
        eof() {},
        close() {},
      }),
  ],
]

test.concurrent.each(silences)(
  'attack: a target that %s is told of, and nothing of it is left',
  async (name, open) => {
    const target = await startHostileTarget(open)
    const slug = name.includes('open') ? 'mute' : 'deaf'
    try {
      const hostKeyFile = join(vaultterm.home, `${slug}.pub`)
      writeFileSync(hostKeyFile, `${target.hostKey}\n`)
      await vaultterm.json(
        ...['target', 'add', 'acme', slug, '--host', '127.0.0.1', '--port', String(target.port)],
        ...['--login', 'root', '--host-key', hostKeyFile],
      )
      await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', slug)
      const { code, stderr } = await vaultterm.ssh([`acme+${slug}`, 'true'], undefined, 60_000)
      expect([code, stderr]).toEqual([
        255,
        expect.stringMatching(/took too long.*ERR_TARGET_FAILED/),
      ])
      await eventually(
        async () =>
          (await metric(vaultterm, 'bastion_upstream_connections')) === 0 ? true : undefined,
        'every upstream connection closed',
      )
    } finally {
      target.server.close()
    }
    await expectWell()
  },
)
