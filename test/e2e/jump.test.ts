import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  addGrant,
  addTarget,
  events,
  eventually,
  makeKey,
  newestEnded,
  sessions,
} from '../support/installation.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { type Finished, VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  // Somebody else's, with a target of the same name.
  await vaultterm.json('tenant', 'create', 'other')
  await vaultterm.json('user', 'add', 'other', 'demo')
  await addTarget(vaultterm, sshd, { tenant: 'other' })
})
afterAll(async () => {
  await sshd?.close()
  await vaultterm?.close()
})

/** `ssh -F` with the demo's settings, which have a jump for `*.acme`. */
const jump = (args: readonly string[], input?: string | Buffer) => vaultterm.ssh(args, input)

/** The jump of somebody who has no settings but what is given here. */
function jumpAs(
  { outer = 'acme', key = 'demo/demo_ed25519', known = 'demo/known_hosts' },
  args: readonly string[],
): Promise<Finished> {
  const settings = [
    ...['-o', `IdentityFile=${join(vaultterm.home, key)}`, '-o', 'IdentitiesOnly=yes'],
    ...['-o', `UserKnownHostsFile=${join(vaultterm.home, known)}`, '-o', 'BatchMode=yes'],
  ]
  const way = ['ssh', '-F', 'none', ...settings, '-o', 'StrictHostKeyChecking=no']
  const proxy = [...way, '-p', vaultterm.sshPort, '-l', outer, '-W', '[%h]:%p', '127.0.0.1']
  return vaultterm.ssh([
    ...['-F', 'none', ...settings, '-o', 'StrictHostKeyChecking=yes', '-o', 'LogLevel=INFO'],
    ...['-o', `ProxyCommand=${proxy.join(' ')}`, ...args],
  ])
}

const newest = async () => (await sessions(vaultterm))[0] ?? expect.fail('no session')

test('a session by a jump is a session, and on record', async () => {
  const { stdout, stderr, code } = await jump(['real.acme', 'echo out; echo err >&2; exit 7'])
  expect({ stdout, stderr, code }).toEqual({ stdout: 'out\n', stderr: 'err\n', code: 7 })
  const session = await newestEnded(vaultterm)
  expect(session).toMatchObject({ kind: 'exec', target: 'real', exitStatus: 7, recording: true })
  expect(await vaultterm.json('session', 'verify', session.id)).toMatchObject({ ok: true })
  const { stdout: cast } = await vaultterm.cli(['session', 'export', session.id])
  expect(cast).toContain('out')
  const [start] = (await events(vaultterm)).filter(
    (event) => event.type === 'session.start' && event.public.session === session.id,
  )
  expect(start?.public.via).toBe('jump')
})

test('the demo’s own, with nothing but its settings', async () => {
  expect((await jump(['web1.acme', 'echo $((40+2))'])).stdout).toBe('42\n')
})

describe('one line makes a client trust every target', () => {
  beforeAll(async () => {
    const { stdout } = await vaultterm.cli(['ca', 'show', 'acme', '--host'])
    const lines = stdout.split('\n').filter((line) => line.startsWith('@cert-authority'))
    const own = readFileSync(join(vaultterm.home, 'demo/known_hosts'), 'utf8')
    writeFileSync(join(vaultterm.home, 'trusting'), [...lines, own].join('\n'))
    const bare = own.split('\n').filter((line) => !line.startsWith('@'))
    writeFileSync(join(vaultterm.home, 'bare'), bare.join('\n'))
  })

  test.each(['real', 'real.acme', 'REAL'])('as %s', async (name) => {
    const { stdout, stderr } = await jumpAs({ known: 'trusting' }, [name, 'echo in'])
    expect({ stdout, stderr }).toEqual({ stdout: 'in\n', stderr: '' })
  })

  test('by its address and port', async () => {
    const args = ['-p', String(sshd.port), sshd.host, 'echo in']
    const hosts = readFileSync(join(vaultterm.home, 'trusting'), 'utf8')
    writeFileSync(
      join(vaultterm.home, 'by-address'),
      hosts.replace('*.acme', `*.acme,${sshd.host},[${sshd.host}]:*`),
    )
    expect(await jumpAs({ known: 'by-address' }, args)).toMatchObject({ stdout: 'in\n', code: 0 })
  })

  test('and without it the host key is the same for all of them', async () => {
    const { stderr, code } = await jumpAs({ known: 'bare' }, ['real', 'true'])
    expect(code).toBe(255)
    expect(stderr).toContain('Host key verification failed')
    const [line = ''] = readFileSync(join(vaultterm.home, 'bare'), 'utf8').split('\n')
    const key = line.split(' ').slice(1).join(' ')
    writeFileSync(join(vaultterm.home, 'pinned'), `${line}\nreal,web1 ${key}\n`)
    for (const name of ['real', 'web1'])
      expect(await jumpAs({ known: 'pinned' }, [name, 'echo in'])).toMatchObject({ stdout: 'in\n' })
  })
})

describe('carries', () => {
  const megabytes = 50
  const bytes = randomBytes(megabytes * 1_000_000)
  const sum = createHash('sha256').update(bytes).digest('hex')

  test(`${megabytes} MB each way, and the end of each`, async () => {
    const up = await jump(['real.acme', 'sha256sum'], bytes)
    expect(up.stdout).toContain(sum)
    writeFileSync(join(sshd.directory, 'many'), bytes)
    const down = await jump(['real.acme', `base64 < ${sshd.directory}/many`])
    expect(Buffer.from(down.stdout, 'base64').equals(bytes)).toBe(true)
    const both = await jump(['real.acme', 'cat | sha256sum; echo later'], bytes)
    expect(both.stdout).toContain(sum)
    expect(both.stdout).toContain('later')
  })

  test.each([
    ['sftp', []],
    ['scp', ['-O']],
  ])('files by scp, by way of %s', async (_way, more) => {
    const file = join(sshd.directory, `file${more.length}`)
    writeFileSync(`${file}.in`, bytes.subarray(0, 1_000_000))
    const settings = ['-F', join(vaultterm.home, 'demo/ssh_config'), ...more]
    for (const [from, to] of [
      [`${file}.in`, `real.acme:${file}.up`],
      [`real.acme:${file}.up`, `${file}.down`],
    ]) {
      const scp = spawn('scp', ['-q', ...settings, from ?? '', to ?? ''], { stdio: 'ignore' })
      expect((await once(scp, 'exit'))[0]).toBe(0)
    }
    expect(readFileSync(`${file}.down`).equals(bytes.subarray(0, 1_000_000))).toBe(true)
  })

  test.runIf(givesTerminals)('a terminal', async () => {
    const terminal = new SshTerminal(['-F', `${vaultterm.home}/demo/ssh_config`, 'real.acme'])
    try {
      await terminal.waitFor(/[#$] /)
      terminal.type('echo $((40+2)) $TERM\r')
      await terminal.waitFor(/42 xterm/)
      terminal.type('exit 3\r')
      await terminal.exited
    } finally {
      terminal.close()
    }
    await eventually(
      async () => ((await newest()).exitStatus === 3 ? true : undefined),
      'the end of the session',
    )
    expect((await newest()).kind).toBe('shell')
  })

  test('many sessions on one jump', async () => {
    const path = join(vaultterm.home, 'mux')
    const shared = [
      '-o',
      'ControlMaster=auto',
      '-o',
      `ControlPath=${path}`,
      '-o',
      'ControlPersist=20',
    ]
    expect((await jump([...shared, 'real.acme', 'echo first'])).stdout).toBe('first\n')
    const all = await Promise.all(
      Array.from({ length: 8 }, (_, at) => jump([...shared, 'real.acme', `echo ${at}`])),
    )
    expect(all.map(({ stdout }) => stdout)).toEqual([...'01234567'].map((at) => `${at}\n`))
    await jump([...shared, '-O', 'exit', 'real.acme'])
  })
})

test('a login of the target may be named, and who sits there need not be one', async () => {
  const login = sshd.login
  const whoami = async (user: string) => (await jump(['-l', user, 'real.acme', 'id -un'])).stdout
  expect(await whoami(login)).toBe(`${login}\n`)
  expect(await whoami('somebody')).toBe(`${login}\n`)
  expect(await whoami('acme')).toBe(`${login}\n`)
  expect(await whoami(`acme+real+${login}`)).toBe(`${login}\n`)
})

describe('attack:', () => {
  test.each(['other', 'other+real', 'acme+web1', 'other+real+root', 'acme+real+nobody'])(
    'the inner user name %s leads nowhere else',
    async (user) => {
      const { stdout, stderr, code } = await jump(['-l', user, 'real.acme', 'echo in'])
      expect({ stdout, code }).toEqual({ stdout: '', code: 255 })
      expect(stderr).toMatch(/ERR_JUMP_USER|ERR_LOGIN_NOT_GRANTED/)
    },
  )

  test('a target that may not be opened is as good as one that is not there', async () => {
    await vaultterm.json(
      ...['target', 'add', 'acme', 'secret', '--host', '192.0.2.9', '--login', 'root'],
      ...['--host-key', sshd.hostKeyFile],
    )
    await vaultterm.json('user', 'add', 'acme', 'eve')
    const key = makeKey(vaultterm, 'eve')
    await vaultterm.json('key', 'add', 'acme', 'eve', `${key}.pub`)
    await addGrant(vaultterm, 'jump,exec', { user: 'eve' })
    const ask = async (name: string) => {
      const { stderr, code } = await jumpAs({ key: 'keys/eve', known: 'trusting' }, [name, 'true'])
      return { code, stderr: stderr.replaceAll(name, '…').replace(/[0-9a-f]{12}\)/, 'id)') }
    }
    expect(await ask('secret')).toEqual(await ask('nothing'))
    expect((await ask('secret')).code).toBe(255)
    expect((await ask('real')).code).toBe(0)
  })

  test('the refusal of a mistyped jump names it, and the targets that may be opened', async () => {
    await vaultterm.json('user', 'add', 'acme', 'ann')
    const key = makeKey(vaultterm, 'ann')
    await vaultterm.json('key', 'add', 'acme', 'ann', `${key}.pub`)
    await addGrant(vaultterm, 'jump,exec', { user: 'ann' })
    const ask = async (name: string, ...more: string[]) =>
      (await jumpAs({ key: 'keys/ann', known: 'trusting' }, [...more, name, 'true'])).stderr
    const needsGrant = 'and a forward to it needs a grant that allows forward'
    expect(await ask('reel')).toContain(
      `vaultterm: reel is no target that you may open, ${needsGrant}; choose one of real (`,
    )
    expect(await ask('reel.acme')).toContain(
      'vaultterm: reel is no target that you may open; choose one of real (',
    )
    // Another port, and an address, are no jump that was mistyped.
    expect(await ask('reel', '-p', '80')).toContain('you may open real, but not for forward')
    expect(await ask('192.0.2.1')).toContain('you may open real, but not for forward')
    // Several targets: a client that names none is told of each.
    await vaultterm.json('grant', 'add', 'acme', '--user', 'ann', '--target', 'web1')
    expect(await ask('reel')).toContain(
      `vaultterm: reel is no target that you may open, ${needsGrant}; choose one of real, web1 (`,
    )
  })

  test('without a grant for jumps there is none, and with one only for what it allows', async () => {
    await vaultterm.json('user', 'add', 'acme', 'bob')
    const key = makeKey(vaultterm, 'bob')
    await vaultterm.json('key', 'add', 'acme', 'bob', `${key}.pub`)
    const grant = (allow: string) => addGrant(vaultterm, allow, { user: 'bob' })
    const ask = (...args: string[]) =>
      jumpAs({ key: 'keys/bob', known: 'trusting' }, ['real', ...args])
    const exec = await grant('exec')
    expect((await ask('true')).stderr).toContain('ERR_KIND_NOT_GRANTED')
    await vaultterm.json('grant', 'remove', 'acme', exec.id)
    await grant('jump,sftp')
    expect((await ask('true')).stderr).toContain('ERR_KIND_NOT_GRANTED')
    await grant('jump,exec')
    expect((await ask('true')).code).toBe(0)
  })

  test('a jump is not chained', async () => {
    const inner = `ssh -F ${vaultterm.home}/demo/ssh_config -W web1:22 real.acme`
    const { stderr, code } = await jump(['-o', `ProxyCommand=${inner}`, 'web1.acme', 'true'])
    expect(code).toBe(255)
    expect(stderr).toContain('ERR_JUMP_CHAINED')
    const other = await jumpAs({ outer: 'acme+web1', known: 'trusting' }, ['real', 'true'])
    expect(other.stderr).toContain('ERR_JUMP_CHAINED')
    const refused = (await events(vaultterm)).filter(({ type }) => type === 'session.refused')
    expect(refused.some((event) => event.public.denied === 'chained')).toBe(true)
    // To the very target that the outer connection is for, it is no chain.
    const same = await jumpAs({ outer: 'acme+real', known: 'trusting' }, ['real', 'echo in'])
    expect(same.stdout).toBe('in\n')
  })

  test('nothing but SSH gets through a jump', async () => {
    const config = ['-F', join(vaultterm.home, 'demo/ssh_config'), '-W', 'real:22', 'acme']
    const child = spawn('ssh', config, { stdio: ['pipe', 'pipe', 'ignore'] })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString('latin1')
    })
    child.stdin.on('error', () => {})
    child.stdin.write(Buffer.concat([Buffer.from('GET / HTTP/1.0\r\n\r\n'), randomBytes(100_000)]))
    await once(child, 'close')
    // Our own identification, and not the target's.
    expect(said).toMatch(/^SSH-2\.0-VaultTerm/)
    expect((await jump(['real.acme', 'echo well'])).stdout).toBe('well\n')
  })

  test('what was taken away between two sessions of one jump is gone', async () => {
    await vaultterm.json('user', 'add', 'acme', 'kim')
    const key = makeKey(vaultterm, 'kim')
    await vaultterm.json('key', 'add', 'acme', 'kim', `${key}.pub`)
    const { id } = await vaultterm.json<{ id: string }>(
      ...['grant', 'add', 'acme', '--user', 'kim', '--target', 'real'],
    )
    const shared = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${vaultterm.home}/kim`]
    const ask = () =>
      jumpAs({ key: 'keys/kim', known: 'trusting' }, [
        ...[...shared, '-o', 'ControlPersist=20', 'real', 'echo in'],
      ])
    expect((await ask()).stdout).toBe('in\n')
    await vaultterm.json('grant', 'remove', 'acme', id)
    expect(await ask()).toMatchObject({ stdout: '', code: 255 })
  })

  test.runIf(givesTerminals)('a session by a jump is killed like every other', async () => {
    const terminal = new SshTerminal(['-F', `${vaultterm.home}/demo/ssh_config`, 'real.acme'])
    try {
      await terminal.waitFor(/[#$] /)
      const live = (await sessions(vaultterm)).find((session) => session.live)
      await vaultterm.json('session', 'kill', live?.id ?? '')
      await terminal.exited
      expect(terminal.shown).toContain('ERR_SESSION_KILLED')
    } finally {
      terminal.close()
    }
  })
})

test('nothing is left when the outer connection is cut', async () => {
  const inner = spawn(
    'ssh',
    ['-F', join(vaultterm.home, 'demo/ssh_config'), 'real.acme', 'echo ready; exec cat'],
    { stdio: ['pipe', 'pipe', 'ignore'] },
  )
  await once(inner.stdout, 'data')
  const live = async () => (await sessions(vaultterm)).filter((one) => one.live).length
  // The one before it may still be ending.
  await expect.poll(live, { interval: 200 }).toBe(1)
  inner.kill('SIGKILL')
  const gone = await eventually(async () => {
    const found = (await sessions(vaultterm)).filter(({ live }) => live)
    return found.length === 0 ? true : undefined
  }, 'the end of the session')
  expect(gone).toBe(true)
})

test('what carries a jump ends with the connection in it, even when that says nothing', async () => {
  const config = join(vaultterm.home, 'demo/ssh_config')
  const carried = join(vaultterm.home, 'carried')
  const way = `sh -c 'ssh -F ${config} -W real:22 acme; echo ended > ${carried}'`
  const inner = spawn(
    'ssh',
    ['-F', config, '-o', `ProxyCommand=${way}`, 'real.acme', 'echo ready; exec cat'],
    { stdio: ['pipe', 'pipe', 'ignore'] },
  )
  await once(inner.stdout, 'data')
  // Like PuTTY, which ends without a word: its way hears the end of its input, and no signal.
  inner.kill('SIGKILL')
  const said = () => (existsSync(carried) ? true : undefined)
  expect(await eventually(said, 'the end of the way')).toBe(true)
})
