import { execFileSync } from 'node:child_process'
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectUpstream, formatPublicKey, Writer } from '../../src/ssh/index.ts'
import { publicKeyBlob } from '../../src/ssh/public-key.ts'
import { addTarget, eventually, metric, newestEnded, sessions } from '../support/installation.ts'
import { silent } from '../support/postgres.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** What goes through the bastion arrives as it would without it. */
let vaultterm: VaultTerm
let sshd: Sshd
let config: string
beforeAll(async () => {
  // Keys are exchanged anew every few megabytes: what is underway then must not be lost.
  sshd = await Sshd.start(['RekeyLimit 4M'])
  vaultterm = await VaultTerm.start()
  await addTarget(vaultterm, sshd)
  config = join(vaultterm.home, 'demo/ssh_config')
})
afterAll(async () => {
  await vaultterm?.close()
  await sshd?.close()
})

const run = (command: string, input?: string | Buffer) =>
  vaultterm.ssh(['acme+real', command], input, 60_000)
const sha = (text: string | Buffer) => createHash('sha256').update(text).digest('hex')

test('carries the exit status behind the last byte', async () => {
  expect(await run('echo out; echo err >&2; exit 37')).toEqual({
    stdout: 'out\n',
    stderr: 'err\n',
    code: 37,
  })
})

test('carries 8 MB of stdout beside 8 MB of stderr byte for byte, and then the exit status', async () => {
  const bytes = 8_000_000
  const command = `(head -c ${bytes} /dev/zero | tr '\\0' e >&2) & head -c ${bytes} /dev/zero | tr '\\0' o; wait; exit 7`
  const { stdout, stderr, code } = await run(command)
  expect([stdout.length, stderr.length, code]).toEqual([bytes, bytes, 7])
  expect(sha(stdout)).toBe(sha('o'.repeat(bytes)))
  expect(sha(stderr)).toBe(sha('e'.repeat(bytes)))
})

test('carries stdin, its end, and what comes after it', async () => {
  const input = Buffer.alloc(3_000_000, 'x')
  expect(await run('wc -c; echo more', input)).toMatchObject({ stdout: '3000000\nmore\n', code: 0 })
  // An end that is there before the target is dialled must not be lost either.
  expect(await run('cat; echo done', '')).toMatchObject({ stdout: 'done\n', code: 0 })
})

test('tells how a signal ended the command', async () => {
  expect((await run('kill -TERM $$')).code).not.toBe(0)
  const row = await eventually(
    async () => (await sessions(vaultterm)).find(({ exitSignal }) => exitSignal !== null),
    'a session that a signal ended',
  )
  expect(row.exitSignal).toBe('TERM')
})

test('carries locale variables and no others: LD_PRELOAD and BASH_ENV stay behind', async () => {
  const sent = ['-o', 'SetEnv=LC_VAULTTERM=here BASH_ENV=/tmp/evil LD_PRELOAD=/tmp/evil.so']
  const { stdout } = await vaultterm.ssh([...sent, 'acme+real', 'env'])
  expect(stdout).toContain('LC_VAULTTERM=here')
  expect(stdout).not.toMatch(/evil/)
})

test.runIf(givesTerminals)(
  'gives a terminal with the modes and the size of the client, and follows its changes',
  async () => {
    const terminal = new SshTerminal(['-F', config, '-tt', 'acme+real', 'sh'], {
      cols: 101,
      rows: 37,
    })
    try {
      await terminal.waitFor(/[#$] /)
      terminal.type('stty size; stty -a | tr ";" "\\n" | grep -c iutf8; echo TERM=$TERM\r')
      await terminal.waitFor(/37 101/)
      await terminal.waitFor(/TERM=xterm-256color/)
      terminal.resize(132, 50)
      // What is typed may come before the change.
      await eventually(() => {
        terminal.type('stty size\r')
        return terminal.shown.includes('50 132') || undefined
      }, 'the new size')
      terminal.type('sleep 100\r')
      await eventually(() => undefined, 'never', 200).catch(() => {})
      terminal.type('\x03')
      terminal.type('exit 5\r')
      expect(await terminal.exited).toBe(5)
    } finally {
      terminal.close()
    }
  },
)

test.runIf(givesTerminals)('a terminal through us is set up as one without us', async () => {
  const key = join(vaultterm.home, 'direct')
  const { execFileSync } = await import('node:child_process')
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  sshd.authorize(readFileSync(`${key}.pub`, 'utf8').trim())
  const direct = ['-F', 'none', '-i', key, '-p', String(sshd.port), '-l', sshd.login]
  const trusting = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null']
  const modes = async (args: readonly string[]) => {
    const terminal = new SshTerminal([...args, 'stty -a; echo END'])
    try {
      await terminal.waitFor(/END/)
      await terminal.exited
      return /speed[\s\S]*?END/.exec(terminal.shown)?.[0]
    } finally {
      terminal.close()
    }
  }
  const without = await modes([...direct, ...trusting, '-o', 'LogLevel=ERROR', '-tt', sshd.host])
  expect(without).toContain('iutf8')
  expect(await modes(['-F', config, '-tt', 'acme+real'])).toBe(without)
})

test('carries many sessions on one connection, over one connection to the target', async () => {
  const socket = join(vaultterm.home, 'mux')
  const mux = ['-o', `ControlPath=${socket}`]
  const master = new SshTerminal(['-F', config, ...mux, '-M', '-N', 'acme+real'])
  try {
    await eventually(async () => {
      const { code } = await vaultterm.ssh([...mux, '-O', 'check', 'acme+real'])
      return code === 0 ? true : undefined
    }, 'the master connection')
    // A page of metrics may be a second old, and those of other tests may still be closing.
    const upstream = () => metric(vaultterm, 'bastion_upstream_connections')
    await expect.poll(upstream, { interval: 200 }).toBe(0)
    const numbers = Array.from({ length: 8 }, (_, index) => index)
    const answers = await Promise.all(
      numbers.map((number) =>
        vaultterm.ssh([...mux, 'acme+real', `sleep 0.3; echo ${number}; exit ${number}`]),
      ),
    )
    expect(answers.map(({ stdout, code }) => [stdout, code])).toEqual(
      numbers.map((number) => [`${number}\n`, number]),
    )
    await expect.poll(upstream, { interval: 200 }).toBe(1)
  } finally {
    master.close()
    await master.exited
  }
})

test('carries files both ways by sftp, byte for byte', async () => {
  const { execFile } = await import('node:child_process')
  const source = join(vaultterm.home, 'source')
  const there = join(sshd.directory, 'there')
  const back = join(vaultterm.home, 'back')
  const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7919) & 0xff))
  writeFileSync(source, content)
  const scp = (from: string, to: string) =>
    new Promise<number>((done) =>
      execFile('scp', ['-q', '-F', config, from, to], (err) => done(err === null ? 0 : 1)),
    )
  expect(await scp(source, `acme+real:${there}`)).toBe(0)
  expect(await scp(`acme+real:${there}`, back)).toBe(0)
  expect(sha(readFileSync(there))).toBe(sha(content))
  expect(sha(readFileSync(back))).toBe(sha(content))
})

test('carries 80 MB of random bytes each way through key exchanges, with a reader that stalls', async () => {
  const { execFileSync, execFile } = await import('node:child_process')
  const source = join(sshd.directory, 'random')
  execFileSync('sh', ['-c', `head -c 80000000 /dev/urandom > '${source}'`])
  const ssh = `ssh -o RekeyLimit=3M -F '${config}' acme+real`
  const slow = '(head -c 5000000; sleep 1; head -c 20000000; sleep 1; cat)'
  const command = `${ssh} "cat '${source}'" | ${slow} | sha256sum; ${ssh} sha256sum < '${source}'; sha256sum < '${source}'`
  const sums = await new Promise<string>((done, fail) =>
    execFile('sh', ['-c', command], (err, stdout) => (err === null ? done(stdout) : fail(err))),
  )
  const [down, up, direct] = sums.trim().split('\n')
  expect([down, up]).toEqual([direct, direct])
})

test('carries a command whose bytes are no text', async () => {
  const script = `ssh -F '${config}' acme+real "/usr/bin/printf %s '$(printf '\\377\\200\\303')'" | od -An -tx1`
  const output = execFileSync('sh', ['-c', script], { encoding: 'utf8', stdio: 'pipe' })
  expect(output.trim()).toBe('ff 80 c3')
})

test('tells how a command ended to a client that closes with the end of its output', async () => {
  // As OpenSSH does: once nothing more goes either way it closes, and waits for the status.
  const key = generateKeyPairSync('ed25519')
  const blob = publicKeyBlob(key.privateKey)
  const file = join(vaultterm.home, 'early.pub')
  writeFileSync(file, `${formatPublicKey({ type: 'ssh-ed25519', blob }, 'early')}\n`)
  await vaultterm.json('key', 'add', 'acme', 'demo', file)
  const socket = connect(Number(vaultterm.sshPort), '127.0.0.1')
  await once(socket, 'connect')
  const connection = await connectUpstream({
    socket,
    user: 'acme+real',
    hostKeyTypes: ['ssh-ed25519'],
    verifyHostKey: async () => true,
    key: {
      publicKey: blob,
      sign: async (data, algorithm) =>
        new Writer()
          .text(algorithm)
          .string(sign(null, data, key.privateKey))
          .build(),
    },
    handshakeMs: 20_000,
    log: silent,
  })
  const channel = await connection.openChannel('session', Buffer.alloc(0))
  const over = Promise.withResolvers<void>()
  let status: number | undefined
  channel.handle({
    data: (chunk) => channel.consumed(chunk.length),
    extendedData: (_kind, chunk) => channel.drop(chunk),
    request(request) {
      if (request.name === 'exit-status') status = request.payload.readUInt32BE(0)
      request.reply(true)
    },
    eof: () => channel.close(),
    close: () => over.resolve(),
  })
  // Its output ends long before it does.
  const command = 'exec >&- 2>&-; sleep 0.5; exit 7'
  await channel.request('exec', new Writer().text(command).build(), true)
  channel.eof()
  await over.promise
  connection.disconnect(11, 'done')
  expect(status).toBe(7)
  expect(await newestEnded(vaultterm)).toMatchObject({ exitStatus: 7, reason: 'ended' })
})
