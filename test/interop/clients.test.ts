import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { foreignKeys, hostFingerprint, runProgram, runPython } from '../support/clients.ts'
import { addGrant, addTarget, eventually, sessions } from '../support/installation.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Nobody has to change how they work: each client does what it always does, and it is on record. */
let vaultterm: VaultTerm
let sshd: Sshd
let config: string
const bytes = randomBytes(5_000_000)
const sum = createHash('sha256').update(bytes).digest('hex')

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  config = join(vaultterm.home, 'demo/ssh_config')
  writeFileSync(join(sshd.directory, 'many'), bytes)
}, 120_000)
afterAll(async () => {
  await sshd?.close()
  await vaultterm?.close()
})

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0))
    })
  })
}

/** The newest session, once it has ended, is on record and proves it. */
async function recorded(): Promise<void> {
  const session = await eventually(async () => {
    const [newest] = await sessions(vaultterm)
    return newest?.live === false ? newest : undefined
  }, 'the end of the session')
  expect(session.recording).toBe(true)
  expect(await vaultterm.json('session', 'verify', session.id)).toMatchObject({ ok: true })
}

describe('PuTTY', () => {
  const common = () => [
    ...['-batch', '-P', vaultterm.sshPort, '-i', foreignKeys(vaultterm).putty],
    ...['-hostkey', hostFingerprint(vaultterm)],
  ]
  const plink = (command: string, input?: Buffer) =>
    runProgram(
      'plink',
      ['-ssh', ...common(), '-l', 'acme+real', '127.0.0.1', command],
      input === undefined ? {} : { input },
    )

  test('plink: a command, its status, its errors, and bytes both ways', async () => {
    expect(await plink('echo out; echo err >&2; exit 7')).toMatchObject({
      stdout: 'out\n',
      stderr: 'err\n',
      code: 7,
    })
    await recorded()
    expect((await plink('sha256sum', bytes)).stdout).toContain(sum)
    expect((await plink(`cat ${sshd.directory}/many`)).bytes.equals(bytes)).toBe(true)
  })

  test.each([['-sftp'], ['-scp']])('pscp %s: files both ways', async (way) => {
    const there = join(sshd.directory, `pscp${way}`)
    const from = join(sshd.directory, 'many')
    expect(
      (await runProgram('pscp', [way, ...common(), from, `acme+real@127.0.0.1:${there}`])).code,
    ).toBe(0)
    expect(
      (
        await runProgram('pscp', [
          way,
          ...common(),
          `acme+real@127.0.0.1:${there}`,
          `${there}.back`,
        ])
      ).code,
    ).toBe(0)
    expect(readFileSync(`${there}.back`).equals(bytes)).toBe(true)
  })

  test('psftp: a batch', async () => {
    const there = join(sshd.directory, 'psftp')
    const batch = join(sshd.directory, 'batch')
    writeFileSync(
      batch,
      `put ${sshd.directory}/many ${there}\nls ${sshd.directory}\nmv ${there} ${there}2\nget ${there}2 ${there}3\nquit\n`,
    )
    const { code, stderr } = await runProgram('psftp', [
      ...common(),
      '-b',
      batch,
      'acme+real@127.0.0.1',
    ])
    expect({ code, stderr }).toMatchObject({ code: 0 })
    expect(readFileSync(`${there}3`).equals(bytes)).toBe(true)
  })
})

describe('Dropbear', () => {
  const dbclient = (command: string, input?: Buffer) =>
    runProgram(
      'dbclient',
      [
        '-y',
        '-y',
        '-i',
        foreignKeys(vaultterm).dropbear,
        '-p',
        vaultterm.sshPort,
        '-l',
        'acme+real',
        '127.0.0.1',
        command,
      ],
      input === undefined ? {} : { input },
    )

  test('dbclient: a command, its status, and bytes both ways', async () => {
    const { stdout, code } = await dbclient('echo out; exit 7')
    expect({ stdout, code }).toEqual({ stdout: 'out\n', code: 7 })
    await recorded()
    expect((await dbclient('sha256sum', bytes)).stdout).toContain(sum)
    expect((await dbclient(`cat ${sshd.directory}/many`)).bytes.equals(bytes)).toBe(true)
  })
})

test.runIf(givesTerminals)('Paramiko: commands, a shell, and files', async () => {
  const answer = await runPython(
    vaultterm,
    `
import hashlib, json, paramiko, sys, time
port, key, known, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
client = paramiko.SSHClient()
client.load_host_keys(known)
client.connect('127.0.0.1', port, 'acme+real', key_filename=key, allow_agent=False, look_for_keys=False)
_, out, err = client.exec_command('echo out; echo err >&2; exit 7')
answer = {'out': out.read().decode(), 'err': err.read().decode(), 'status': out.channel.recv_exit_status()}
sftp = client.open_sftp()
data = open(directory + '/many', 'rb').read()
with sftp.open(directory + '/paramiko', 'wb') as there: there.write(data)
with sftp.open(directory + '/paramiko', 'rb') as there: answer['sum'] = hashlib.sha256(there.read()).hexdigest()
answer['listed'] = 'paramiko' in sftp.listdir(directory)
sftp.rename(directory + '/paramiko', directory + '/paramiko2')
try: sftp.stat(directory + '/nothing')
except FileNotFoundError: answer['missing'] = True
shell = client.invoke_shell(width=100, height=30)
shell.send('stty size; exit 3\\n')
seen = b''
while True:
    more = shell.recv(4096)
    if not more: break
    seen += more
answer['size'] = b'30 100' in seen
answer['shell'] = shell.recv_exit_status()
client.close()
print(json.dumps(answer))
`,
    sshd.directory,
  )
  expect(answer).toEqual({
    out: 'out\n',
    err: 'err\n',
    status: 7,
    sum,
    listed: true,
    missing: true,
    size: true,
    shell: 3,
  })
  await recorded()
})

test('AsyncSSH: many at once, files, and a signal', async () => {
  const answer = await runPython(
    vaultterm,
    `
import asyncio, asyncssh, hashlib, json, sys
port, key, known, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
async def main():
    answer = {}
    async with asyncssh.connect('127.0.0.1', port, username='acme+real', client_keys=[key], known_hosts=known) as c:
        ran = await asyncio.gather(*[c.run('echo %d; exit %d' % (i, i)) for i in range(10)])
        answer['many'] = [[r.stdout, r.exit_status] for r in ran]
        async with c.start_sftp_client() as sftp:
            await sftp.put(directory + '/many', directory + '/asyncssh')
            await sftp.get(directory + '/asyncssh', directory + '/asyncssh2')
        answer['sum'] = hashlib.sha256(open(directory + '/asyncssh2', 'rb').read()).hexdigest()
        process = await c.create_process('kill -TERM $$')
        await process.wait()
        answer['signal'] = process.exit_signal and process.exit_signal[0]
        answer['echo'] = (await c.run('cat', input='in')).stdout
    print(json.dumps(answer))
asyncio.run(main())
`,
    sshd.directory,
  )
  expect(answer).toEqual({
    many: Array.from({ length: 10 }, (_, at) => [`${at}\n`, at]),
    sum,
    signal: 'TERM',
    echo: 'in',
  })
})

describe('git', () => {
  const git = (directory: string, ...args: string[]) =>
    runProgram('git', ['-C', directory, ...args], {
      env: {
        GIT_SSH_COMMAND: `ssh -F ${config}`,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_AUTHOR_NAME: 'a',
        GIT_AUTHOR_EMAIL: 'a@example.org',
        GIT_COMMITTER_NAME: 'a',
        GIT_COMMITTER_EMAIL: 'a@example.org',
      },
    })

  test.each(['acme+real', 'real.acme'])('push, clone and fetch by %s', async (host) => {
    const place = join(sshd.directory, `git-${host}`)
    const work = join(place, 'work')
    mkdirSync(work, { recursive: true })
    execFileSync('git', ['init', '-q', '--bare', `${place}/bare`])
    await git(work, 'init', '-q', '-b', 'main')
    writeFileSync(join(work, 'many'), bytes)
    await git(work, 'add', '.')
    await git(work, 'commit', '-q', '-m', 'one')
    const url = `${host}:${place}/bare`
    const pushed = await git(work, 'push', '-q', url, 'main')
    expect(pushed).toMatchObject({ code: 0, stderr: '' })
    expect(await git(place, 'clone', '-q', '-b', 'main', url, 'again')).toMatchObject({ code: 0 })
    expect(readFileSync(`${place}/again/many`).equals(bytes)).toBe(true)
    await git(work, 'commit', '-q', '--allow-empty', '-m', 'two')
    await git(work, 'push', '-q', url, 'main')
    expect(await git(`${place}/again`, 'fetch', '-q')).toMatchObject({ code: 0 })
    expect((await git(`${place}/again`, 'log', '--format=%s', 'origin/main')).stdout).toBe(
      'two\none\n',
    )
  })
})

describe('rsync', () => {
  test.each(['acme+real', 'real.acme'])(
    'there, back, and only what has changed, by %s',
    async (host) => {
      const place = join(sshd.directory, `rsync-${host}`)
      mkdirSync(`${place}/from/deep`, { recursive: true })
      for (let at = 0; at < 200; at++) writeFileSync(`${place}/from/deep/${at}`, `${at}`)
      writeFileSync(`${place}/from/many`, bytes)
      const rsync = (...args: string[]) =>
        runProgram('rsync', ['-a', '--delete', '--stats', '-e', `ssh -F ${config}`, ...args])
      expect(await rsync(`${place}/from/`, `${host}:${place}/there`)).toMatchObject({
        code: 0,
        stderr: '',
      })
      expect(await rsync(`${host}:${place}/there/`, `${place}/back`)).toMatchObject({ code: 0 })
      expect(readFileSync(`${place}/back/many`).equals(bytes)).toBe(true)
      expect(readFileSync(`${place}/back/deep/199`, 'utf8')).toBe('199')
      writeFileSync(`${place}/from/deep/7`, 'seven')
      const { stdout } = await rsync(`${place}/from/`, `${host}:${place}/there`)
      expect(stdout).toMatch(/Number of regular files transferred: 1\b/)
    },
  )
})

describe('Ansible', () => {
  test.runIf(givesTerminals).each([['acme+real'], ['real.acme']])(
    'pings, copies, and runs on many at once, by %s',
    async (host) => {
      const place = join(sshd.directory, `ansible-${host}`)
      mkdirSync(place)
      const hosts = Array.from({ length: 8 }, (_, at) => `h${at} ansible_host=${host}`)
      writeFileSync(join(place, 'inventory'), `${hosts.join('\n')}\n`)
      writeFileSync(join(place, 'file'), bytes.subarray(0, 100_000))
      const ansible = (...args: string[]) =>
        runProgram('ansible', ['-i', join(place, 'inventory'), '-f', '8', 'all', ...args], {
          env: {
            ANSIBLE_HOST_KEY_CHECKING: 'True',
            ANSIBLE_SSH_ARGS: `-F ${config} -o ControlMaster=auto -o ControlPersist=30s`,
            ANSIBLE_SSH_CONTROL_PATH_DIR: join(place, 'cp'),
            ANSIBLE_PYTHON_INTERPRETER: '/usr/bin/python3',
            ANSIBLE_LOCAL_TEMP: join(place, 'tmp'),
            ANSIBLE_REMOTE_TEMP: join(place, 'remote'),
            ANSIBLE_NOCOLOR: '1',
            LC_ALL: 'C.UTF-8',
          },
        })
      const ping = await ansible('-m', 'ping')
      expect(ping.stderr.replace(/\[WARNING\].*/gs, '')).toBe('')
      expect(ping.stdout.match(/"ping": "pong"/g)).toHaveLength(8)
      const copy = await ansible(
        '-l',
        'h0',
        '-m',
        'copy',
        '-a',
        `src=${place}/file dest=${place}/copied`,
      )
      expect(copy.code).toBe(0)
      expect(readFileSync(join(place, 'copied')).equals(bytes.subarray(0, 100_000))).toBe(true)
      const failing = await ansible('-l', 'h0', '-m', 'shell', '-a', 'echo out; exit 3')
      expect(failing.stdout).toContain('rc=3')
    },
    120_000,
  )
})

test('an editor’s way: an installer on the input of a shell, and forwards while it runs', async () => {
  await addGrant(vaultterm, 'shell,exec,forward')
  const marker = randomBytes(8).toString('hex')
  const installer = `echo ${marker}:start\nmkdir -p "${sshd.directory}/server" && cat > "${sshd.directory}/server/run" <<'EOS'\n${'x'.repeat(200_000)}\nEOS\nwc -c < "${sshd.directory}/server/run"\necho ${marker}:end:$?\n`
  const { stdout, code } = await vaultterm.ssh(
    ['-T', '-D', String(await freePort()), 'acme+real', 'bash'],
    installer,
  )
  expect(code).toBe(0)
  expect(stdout).toBe(`${marker}:start\n200001\n${marker}:end:0\n`)
})
