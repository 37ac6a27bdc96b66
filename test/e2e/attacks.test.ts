import { writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type Channel,
  type ChannelOpen,
  createSshServer,
  formatPublicKey,
  generateHostKey,
  verifyUserSignature,
  Writer,
} from '../../src/ssh/index.ts'
import {
  connectSuperuser,
  events,
  eventually,
  metric,
  newestEnded,
  sessions,
} from '../support/installation.ts'
import { enter, execRequest } from '../support/intruder.ts'
import { msg } from '../support/ssh-attacker.ts'
import {
  channelData,
  channelMsg,
  channelRequest,
  forChannel,
  openChannel,
} from '../support/ssh-lab.ts'
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
async function startHostileTarget(open: (open: ChannelOpen, socket: Socket) => void): Promise<{
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
        connection.onChannelOpen = (asked) => open(asked, socket)
      },
    }),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return { server, port: address.port, hostKey: formatPublicKey(hostKey.publicKey) }
}

/** The same as a target of the tenant acme, which its user demo may open. */
async function addHostileTarget(slug: string, open: (open: ChannelOpen, socket: Socket) => void) {
  const target = await startHostileTarget(open)
  const hostKeyFile = join(vaultterm.home, `${slug}.pub`)
  writeFileSync(hostKeyFile, `${target.hostKey}\n`)
  await vaultterm.json(
    ...['target', 'add', 'acme', slug, '--host', '127.0.0.1', '--port', String(target.port)],
    ...['--login', 'root', '--host-key', hostKeyFile],
  )
  await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', slug)
  return target
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
    const slug = name.includes('open') ? 'mute' : 'deaf'
    const target = await addHostileTarget(slug, open)
    try {
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

/** What a target does once it has been asked for a command, by the command. */
const endings: { readonly [command: string]: (channel: Channel, socket: Socket) => void } = {
  close: (channel) => channel.close(),
  eof(channel) {
    channel.eof()
    channel.close()
  },
  drop: (_channel, socket) => void setTimeout(() => socket.destroy(), 200),
  'eof-drop'(channel, socket) {
    channel.eof()
    setTimeout(() => socket.destroy(), 200)
  },
  'status-drop'(channel, socket) {
    tell(channel, 'exit-status', new Writer().u32(7).build())
    setTimeout(() => socket.destroy(), 200)
  },
  'short-status': (channel) => misspelt(channel, 'exit-status', Buffer.alloc(3)),
  'long-status': (channel) => misspelt(channel, 'exit-status', Buffer.alloc(5)),
  'long-eow': (channel) => misspelt(channel, 'eow@openssh.com', Buffer.alloc(1)),
  'empty-xon': (channel) => misspelt(channel, 'xon-xoff', Buffer.alloc(0)),
  'signal-alone': (channel) => misspelt(channel, 'exit-signal', new Writer().text('TERM').build()),
  'signal-escape': (channel) =>
    misspelt(
      channel,
      'exit-signal',
      new Writer().text('T\x1b[31m').u8(0).text('').text('').build(),
    ),
  signal(channel) {
    tell(channel, 'exit-signal', new Writer().text('TERM').u8(0).text('').text('').build())
    channel.close()
  },
}

function tell(channel: Channel, name: string, payload: Buffer): void {
  void channel.request(name, payload, false)
}

function misspelt(channel: Channel, name: string, payload: Buffer): void {
  tell(channel, name, payload)
  channel.eof()
  channel.close()
}

/** A target that says `hello`, and ends each command as the command says. */
const ending = (open: ChannelOpen, socket: Socket) => {
  const channel = open.accept()
  channel.handle({
    data() {},
    extendedData() {},
    request(request) {
      request.reply(true)
      if (request.name !== 'exec') return
      channel.write(Buffer.from('hello\n'), () => {})
      endings[request.payload.subarray(4).toString()]?.(channel, socket)
    },
    eof() {},
    close() {},
  })
}

test('a session says who ended it, whatever a target says of its end', async () => {
  const target = await addHostileTarget('ending', ending)
  try {
    const ends: readonly (readonly [string, number, string, RegExp])[] = [
      ['close', 255, 'ended', /^$/],
      ['eof', 255, 'ended', /^$/],
      ['drop', 255, 'target-gone', /broke off the connection/],
      // Behind the end of the output no line can be said.
      ['eof-drop', 255, 'target-gone', /^$/],
      ['status-drop', 7, 'ended', /^$/],
      ['signal', 255, 'ended', /^$/],
      ['short-status', 255, 'ended', /^$/],
      ['long-status', 255, 'ended', /^$/],
      ['long-eow', 255, 'ended', /^$/],
      ['empty-xon', 255, 'ended', /^$/],
      ['signal-alone', 255, 'ended', /^$/],
      ['signal-escape', 255, 'ended', /^$/],
    ]
    for (const [command, code, reason, line] of ends) {
      const said = await vaultterm.ssh(['acme+ending', command])
      expect([command, said]).toEqual([
        command,
        expect.objectContaining({ code, stdout: 'hello\n', stderr: expect.stringMatching(line) }),
      ])
      expect([command, await newestEnded(vaultterm)]).toEqual([
        command,
        expect.objectContaining({ target: 'ending', reason }),
      ])
    }
    const log = (await events(vaultterm)).filter(({ type }) => type === 'session.end')
    expect(log.slice(-3).map((one) => one.public)).toEqual(
      Array(3).fill(expect.objectContaining({ ended: 'ended' })),
    )
  } finally {
    target.server.close()
  }
  await expectWell()
})

test('attack: a recording has no output of a kind that no client shows', async () => {
  const target = await addHostileTarget('whispers', (open) => {
    const channel = open.accept()
    channel.handle({
      data() {},
      extendedData() {},
      request(request) {
        request.reply(true)
        if (request.name !== 'exec') return
        for (const kind of [2, 0xffff_ffff]) {
          channel.writeExtended(kind, Buffer.from(`whispered as ${kind}\n`), () => {})
        }
        channel.writeExtended(1, Buffer.from('aside\n'), () => {})
        channel.write(Buffer.from('aloud\n'), () => {})
        misspelt(channel, 'exit-status', Buffer.alloc(4))
      },
      eof() {},
      close() {},
    })
  })
  try {
    const said = await vaultterm.ssh(['acme+whispers', 'speak'])
    expect(said).toMatchObject({ code: 0, stdout: 'aloud\n', stderr: 'aside\n' })
    const { id } = await newestEnded(vaultterm)
    const cast = await vaultterm.cli(['session', 'export', id])
    expect(cast.stdout).toContain('aloud')
    expect(cast.stdout).toContain('aside')
    expect(cast.stdout).not.toContain('whispered')
  } finally {
    target.server.close()
  }
})

test('attack: a client that takes no text of the menu gets no credit for its keys, and costs no memory', async () => {
  // Somebody with one target gets no menu.
  const another = await addHostileTarget('another', () => {})
  another.server.close()
  const attacker = await enter(vaultterm, 'acme')
  const pty = new Writer().text('xterm').u32(1000).u32(500).u32(0).u32(0).text('').build()
  attacker.send(
    openChannel(0, 0),
    channelRequest(0, 'pty-req', true, pty),
    channelRequest(0, 'shell', true),
  )
  await attacker.until(
    () =>
      attacker.received.filter(([type]) => type === channelMsg.success).length === 2 || undefined,
  )
  const credit = () =>
    attacker.received
      .filter(([type]) => type === channelMsg.adjust)
      .reduce((sum, payload) => sum + payload.readUInt32BE(5), 0)
  for (let round = 0; round < 1500; round++) attacker.send(channelData(0, 'j'.repeat(40)))
  await sleep(2000)
  // Sixty thousand bytes have come, and a screen for the first of them waits.
  const before = credit()
  expect(before).toBeLessThan(10_000)
  await expectWell()
  // What waited is read once the client takes its text.
  attacker.send(new Writer().u8(channelMsg.adjust).u32(0).u32(64_000_000).build())
  await attacker.until(() => (credit() >= 50_000 ? true : undefined))
  attacker.end()
  await attacker.closed
})

test('attack: lines that are typed ahead into the menu stop nobody else', async () => {
  const another = await addHostileTarget('a-third', () => {})
  another.server.close()
  const attacker = await enter(vaultterm, 'acme')
  const pty = new Writer().text('dumb').u32(80).u32(24).u32(0).u32(0).text('').build()
  const channels = 24
  for (let sender = 0; sender < channels; sender++) {
    attacker.send(openChannel(sender, 0))
  }
  const opened = await attacker.until(() => {
    const all = attacker.received.filter(([type]) => type === channelMsg.confirmation)
    return all.length === channels ? all : undefined
  })
  for (const payload of opened ?? []) {
    const id = payload.readUInt32BE(5)
    attacker.send(channelRequest(id, 'pty-req', true, pty), channelRequest(id, 'shell', true))
  }
  await attacker.until(
    () =>
      attacker.received.filter(([type]) => type === channelMsg.success).length === 2 * channels ||
      undefined,
  )
  const { workers } = vaultterm
  for (const payload of opened ?? []) {
    const lines = Buffer.alloc(32_768, '\r')
    attacker.send(
      channelData(payload.readUInt32BE(5), lines),
      channelData(payload.readUInt32BE(5), lines),
    )
  }
  await sleep(5000)
  await expectWell()
  // And what was held is not read for somebody who leaves.
  attacker.end()
  await attacker.closed
  await sleep(5000)
  await expectWell()
  expect(vaultterm.workers).toEqual(workers)
})
