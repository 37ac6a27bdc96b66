import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Writer } from '../../src/ssh/index.ts'
import { addTarget, eventually, metric, newestEnded } from '../support/installation.ts'
import { enter, execRequest, outcomeOf } from '../support/intruder.ts'
import { type Attacker, msg } from '../support/ssh-attacker.ts'
import {
  channelData,
  channelMsg,
  channelRequest,
  forChannel,
  openChannel,
} from '../support/ssh-lab.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Somebody who was let in abuses channels: the target gets what is allowed, the rest goes nowhere. */
let vaultterm: VaultTerm
let sshd: Sshd
beforeAll(async () => {
  // It takes whatever it is given: what does not arrive was held back by us.
  sshd = await Sshd.start(['AcceptEnv *'])
  vaultterm = await VaultTerm.start()
  await addTarget(vaultterm, sshd)
})
afterAll(async () => {
  await vaultterm?.close()
  await sshd?.close()
})

/** A connection with one session channel, on which nothing was asked yet. */
async function open(): Promise<Attacker> {
  const attacker = await enter(vaultterm, 'acme+real')
  attacker.send(openChannel(0))
  await attacker.first(channelMsg.confirmation)
  return attacker
}

/** Runs it there, and leaves. */
async function finish(attacker: Attacker, command: Buffer | string) {
  attacker.send(execRequest(0, command), forChannel(channelMsg.eof, 0))
  const outcome = await attacker.until(() => {
    const now = outcomeOf(attacker, 0)
    return now.closed ? now : undefined
  })
  attacker.end()
  await attacker.closed
  if (outcome === undefined) throw new Error('the bastion has hung up')
  return outcome
}

const text = (value: string | Buffer) => new Writer().string(Buffer.from(value)).build()
const env = (name: string, value: string | Buffer, wantReply = true) =>
  channelRequest(0, 'env', wantReply, Buffer.concat([text(name), text(value)]))
const pty = (term: string | Buffer, cols: number, rows: number, modes = Buffer.of(0)) =>
  channelRequest(
    0,
    'pty-req',
    true,
    new Writer().string(Buffer.from(term)).u32(cols).u32(rows).u32(0).u32(0).string(modes).build(),
  )

const expectWell = async () => {
  expect(vaultterm.alive).toBe(true)
  expect(await vaultterm.ssh(['acme+real', 'echo', 'well'])).toMatchObject({ stdout: 'well\n' })
}

describe('CH-02: the bastion as its own target', () => {
  test('lets nobody in, and does not go round in circles', async () => {
    const key = readFileSync(join(vaultterm.home, 'demo/known_hosts'), 'utf8')
    const [, ...line] = key.trim().split('\n')[0]?.split(' ') ?? []
    const file = join(vaultterm.home, 'own.pub')
    writeFileSync(file, `${line.join(' ')}\n`)
    await vaultterm.json(
      ...['target', 'add', 'acme', 'itself', '--host', '127.0.0.1', '--port', vaultterm.sshPort],
      ...['--login', 'acme', '--host-key', file],
    )
    await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', 'itself')
    const { code, stderr } = await vaultterm.ssh(['acme+itself', 'true'])
    expect([code, stderr]).toEqual([255, expect.stringMatching(/ERR_TARGET_/)])
    await expectWell()
  })
})

describe('CH-06: channels without end', () => {
  test('tens of thousands that are refused cost no memory', async () => {
    const attacker = await enter(vaultterm, 'acme+real')
    const open = (sender: number) =>
      new Writer()
        .u8(channelMsg.open)
        .text('no-such-channel@example.com')
        .u32(sender)
        .u32(65_536)
        .u32(32_768)
        .build()
    const resident = () =>
      vaultterm.workers.reduce((sum, pid) => {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8')
        return sum + Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024
      }, 0)
    const flood = async (times: number) => {
      for (let sent = 0; sent < times; sent += 1000) {
        attacker.received.length = 0
        attacker.send(...Array.from({ length: 1000 }, (_, index) => open(index)))
        const all = await attacker.until(() =>
          attacker.received.filter(([type]) => type === channelMsg.failure).length === 1000
            ? true
            : undefined,
        )
        expect(all).toBe(true)
      }
    }
    await flood(20_000)
    // The heap grows and shrinks by steps, and on a busy machine garbage waits. A leak grows in every window.
    const growth: number[] = []
    while (growth.length < 8 && growth.every((bytes) => bytes >= 8 * 1048576)) {
      const before = resident()
      await flood(33_000)
      growth.push(resident() - before)
    }
    expect(Math.min(...growth)).toBeLessThan(8 * 1048576)
    attacker.end()
    await attacker.closed
    await expectWell()
    // Quarter of a million packets, each of which costs much where the ciphers are JavaScript.
  }, 600_000)
})

describe('CH-12: environment', () => {
  const names = [
    'LD_PRELOAD',
    'BASH_ENV',
    'PATH',
    'IFS',
    'SSH_AUTH_SOCK',
    'LC_',
    'LC_A=B',
    'lc_x',
    '',
  ]
  test.each(names)('%j is not carried', async (name) => {
    const attacker = await open()
    attacker.send(env(name, '/tmp/evil'))
    const { output, replies } = await finish(attacker, 'env')
    expect(output.toString()).not.toContain('evil')
    expect(replies[0]).toBe(false)
  })

  test.each([
    ['with a line end', 'a\nLD_PRELOAD=/tmp/evil'],
    ['with a NUL', 'a\0b'],
    ['with escapes', '\x1b]0;evil\x07'],
    ['that is long', 'x'.repeat(257)],
  ])('a value %s is not carried', async (_, value) => {
    const attacker = await open()
    attacker.send(env('LC_EVIL', value))
    const { output, replies } = await finish(attacker, 'env')
    expect(output.toString()).not.toContain('LC_EVIL')
    expect(replies[0]).toBe(false)
  })

  test('of ten thousand variables 32 are carried', async () => {
    const attacker = await open()
    const name = (index: number) =>
      `LC_${[...String(index).padStart(5, '0')].map((digit) => 'ABCDEFGHIJ'[Number(digit)]).join('')}`
    for (let index = 0; index < 10_000; index++) attacker.send(env(name(index), 'x', false))
    const { output } = await finish(attacker, 'env')
    expect(output.toString().match(/^LC_[A-J]{5}=x$/gm)).toHaveLength(32)
  })

  test('what may be set arrives (control)', async () => {
    const attacker = await open()
    attacker.send(env('LC_EVIL', 'no'), env('COLORTERM', 'truecolor'))
    const { output, replies } = await finish(attacker, 'env')
    expect(output.toString()).toMatch(/^LC_EVIL=no$/m)
    expect(replies).toEqual([true, true, true])
  })
})

describe('CH-13: subsystems', () => {
  test.each([
    'sftp;id',
    '../../x',
    'sftp\0',
    'SFTP',
    '',
    'netconf',
    'shell',
    `sftp${'x'.repeat(100)}`,
  ])('%j is none, and the channel goes on', async (name) => {
    const attacker = await open()
    attacker.send(channelRequest(0, 'subsystem', true, text(name)))
    const { output, replies } = await finish(attacker, 'echo fine')
    expect([replies, output.toString()]).toEqual([[false, true], 'fine\n'])
  })
})

describe('CH-14: commands', () => {
  const commands: readonly [string, Buffer][] = [
    ['a newline and a carriage return', Buffer.from('printf one\r\nprintf two')],
    ['no UTF-8', Buffer.from("printf %s '\xff\xfe\xc3'", 'latin1')],
    ['escapes', Buffer.from("printf %s '\x1b]0;evil\x07\x9b31m'", 'latin1')],
    ['controls of eight bits', Buffer.from("printf %s '\u009b31m\u2028\u202e'")],
    ['half a surrogate', Buffer.from("printf %s '\xed\xa0\x80'", 'latin1')],
    ['a quarter of a megabyte', Buffer.from(`true ${'x'.repeat(30_000)}`)],
  ]
  test.each(commands)('with %s arrive as they are', async (_, command) => {
    const shown = join(sshd.directory, 'command')
    const attacker = await open()
    const wrapped = Buffer.concat([
      Buffer.from(`cat > ${shown} <<'END_OF_COMMAND'\n`),
      command,
      Buffer.from('\nEND_OF_COMMAND\n'),
    ])
    expect((await finish(attacker, wrapped)).status).toBe(0)
    expect(readFileSync(shown)).toEqual(Buffer.concat([command, Buffer.from('\n')]))
    // What is printed of it is one line of JSON, and no terminal obeys it.
    const { stdout } = await vaultterm.cli(['session', 'list', 'acme', '--json'])
    expect(JSON.parse(stdout)[0].command).toContain('END_OF_COMMAND')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
    expect(stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]/)
    const table = await vaultterm.cli(['session', 'list', 'acme'])
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
    expect(table.stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]/)
  })

  test('with a NUL in them do not end at it for us', async () => {
    // What a target's shell makes of it is its affair; on record is all of it.
    const attacker = await open()
    await finish(attacker, Buffer.from('echo visible\0; echo hidden'))
    const [row] = await vaultterm.json<{ command: string }[]>('session', 'list', 'acme')
    expect(row?.command).toBe('echo visible\0; echo hidden')
  })
})

describe.runIf(givesTerminals)('CH-15: terminals', () => {
  test.each<[string, Buffer, RegExp]>([
    ['of four thousand million columns', pty('xterm', 2 ** 32 - 1, 2 ** 32 - 1), /^500 1000\s/],
    ['of no size', pty('xterm', 0, 0), /^0 0\s/],
    ['with escapes in its name', pty('x\x1b]0;evil\x07', 80, 24), /^24 80\s+TERM=dumb/],
    ['of a name that is a path', pty('../../etc/passwd', 80, 24), /^24 80\s+TERM=dumb/],
    ['with modes cut short', pty('xterm', 80, 24, Buffer.from([1, 0, 0])), /^24 80\s/],
    ['with modes that there are not', pty('xterm', 80, 24, Buffer.alloc(5000, 159)), /^24 80\s/],
  ])('%s are given one that there can be', async (_, request, expected) => {
    const attacker = await open()
    attacker.send(request)
    const { output } = await finish(attacker, 'stty size; echo TERM=$TERM')
    expect(output.toString()).toMatch(expected)
  })

  test('a malformed request is refused, and the channel goes on', async () => {
    const attacker = await open()
    attacker.send(channelRequest(0, 'pty-req', true, text('xterm')))
    const { output, replies } = await finish(attacker, 'echo fine')
    expect([replies, output.toString()]).toEqual([[false, true], 'fine\n'])
  })

  test('ten thousand changes of size are few in the recording, and the last one holds', async () => {
    const attacker = await open()
    attacker.send(pty('xterm', 80, 24), execRequest(0, 'read go; stty size; sleep 0.2'))
    await attacker.until(() => (outcomeOf(attacker, 0).replies.length === 2 ? true : undefined))
    const resize = (cols: number) =>
      channelRequest(
        0,
        'window-change',
        false,
        new Writer().u32(cols).u32(50).u32(0).u32(0).build(),
      )
    for (let round = 0; round < 10_000; round++) attacker.send(resize(60 + (round % 100)))
    attacker.send(resize(77), channelData(0, 'go\r'))
    await attacker.until(() => (outcomeOf(attacker, 0).closed ? true : undefined))
    expect(outcomeOf(attacker, 0).output.toString()).toMatch(/50 77/)
    attacker.end()
    await attacker.closed
    const { id } = await newestEnded(vaultterm)
    const { stdout } = await vaultterm.cli(['session', 'export', id])
    const resizes = stdout.split('\n').filter((line) => /^\[[\d.]+, ?"r"/.test(line))
    expect(resizes.length).toBeGreaterThan(0)
    // One for each turn of the event loop at most: how many turns it takes depends on the machine.
    expect(resizes.length).toBeLessThan(5000)
    expect(resizes.at(-1)).toContain('77x50')
  })
})

describe('CH-16: requests out of turn', () => {
  const rest = Buffer.concat([text('x'), text('y')])
  const names = [
    ...['pty-req', 'x11-req', 'env', 'shell', 'exec', 'subsystem', 'window-change', 'xon-xoff'],
    ...['signal', 'exit-status', 'exit-signal', 'break', 'eow@openssh.com'],
    ...['auth-agent-req@openssh.com', 'keepalive@openssh.com', 'no-such@example.com', ''],
  ]
  test.each(names)('%j with a payload that is none, and no wish for a reply', async (name) => {
    const attacker = await open()
    for (const payload of [Buffer.alloc(0), Buffer.of(255, 255, 255, 255), rest]) {
      if (name === 'exec' && payload === rest) continue
      if (name === 'shell') continue
      attacker.send(channelRequest(0, name, false, payload))
    }
    const { output, replies } = await finish(attacker, 'echo fine')
    expect([replies, output.toString()]).toEqual([[true], 'fine\n'])
  })

  test('one channel runs one thing', async () => {
    const attacker = await open()
    attacker.send(execRequest(0, 'echo first; read line'))
    await attacker.until(() => (outcomeOf(attacker, 0).output.length > 0 ? true : undefined))
    attacker.send(
      execRequest(0, 'echo second'),
      channelRequest(0, 'shell', true),
      channelRequest(0, 'subsystem', true, text('sftp')),
      pty('xterm', 80, 24),
      env('LC_ALL', 'C'),
      channelData(0, 'go\n'),
    )
    await attacker.until(() => (outcomeOf(attacker, 0).closed ? true : undefined))
    const { output, replies, status } = outcomeOf(attacker, 0)
    expect(replies).toEqual([true, false, false, false, false, false])
    expect([output.toString(), status]).toEqual(['first\n', 0])
    attacker.end()
    await attacker.closed
  })
})

describe('CH-18: requests of the connection', () => {
  test('no more sessions means that, whoever asks for one afterwards', async () => {
    const attacker = await open()
    const promise = new Writer()
      .u8(msg.globalRequest)
      .text('no-more-sessions@openssh.com')
      .boolean(false)
      .build()
    attacker.send(promise, openChannel(1))
    const refusal = await attacker.first(channelMsg.failure)
    expect(refusal.toString('latin1')).toContain('no further sessions')
    // The one that was open goes on.
    expect((await finish(attacker, 'echo fine')).output.toString()).toBe('fine\n')
  })

  test.each<[string, string, number]>([
    ['a keepalive', 'keepalive@openssh.com', 30_000],
    ['what there is not', 'no-such@example.com', 30_000],
    ['a name of 30 kB', 'x'.repeat(30_000), 2000],
    ['a malformed listener', 'tcpip-forward', 100],
  ])('%s, over and over, is answered as often and delays nobody', async (_, name, times) => {
    const attacker = await enter(vaultterm, 'acme+real')
    const request = new Writer().u8(msg.globalRequest).text(name).boolean(true).build()
    const piece = name.length > 1000 ? 10 : 50
    const answers = () => attacker.received.filter(([type]) => type === 81 || type === 82).length
    const flood = async () => {
      for (let sent = 0; sent < times; sent += piece) {
        attacker.received.length = 0
        attacker.send(...Array.from({ length: piece }, () => request))
        const all = await attacker.until(() => (answers() === piece ? true : undefined))
        expect(all).toBe(true)
      }
    }
    const [before] = [await metric(vaultterm, 'bastion_sessions')]
    await Promise.all([flood(), expectWell()])
    attacker.end()
    await attacker.closed
    await eventually(
      async () => ((await metric(vaultterm, 'bastion_sessions')) <= before ? true : undefined),
      'every session ended',
    )
  })
})
