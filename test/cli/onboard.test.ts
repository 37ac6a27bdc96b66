import { execFile, execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import type { Target } from '../../src/access/index.ts'
import { onboardCertificateLines, onboardLines } from '../../src/cli/onboard.ts'
import { readAccounts } from '../../src/local/accounts.ts'
import type { Finished } from '../support/vaultterm.ts'

const base = mkdtempSync(join(tmpdir(), 'onboard-'))
chmodSync(base, 0o755)
afterAll(() => rmSync(base, { recursive: true }))

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample bastion’s key'
const games = (await readAccounts()).find(({ name }) => name === 'games')
const ways = ['su', 'runuser', 'setpriv', 'sudo'].filter((name) => findProgram(name) !== undefined)

let place: string
let home: string
const keys = () => join(home, '.ssh/authorized_keys')

beforeEach(() => {
  place = mkdtempSync(join(base, 'target-'))
  chmodSync(place, 0o755)
  home = join(place, 'home')
  mkdirSync(home)
})

function findProgram(name: string): string | undefined {
  return ['/usr/bin', '/bin', '/usr/sbin', '/sbin']
    .map((at) => join(at, name))
    .find((path) => existsSync(path))
}

/** A PATH with these programs and no others. In place of getent, one that knows the home of this test. */
function pathOf(programs: readonly string[], login: string, knownHome = home): string {
  const bin = join(place, 'bin')
  rmSync(bin, { recursive: true, force: true })
  mkdirSync(bin)
  for (const name of [
    'env',
    'id',
    'cut',
    'mkdir',
    'chmod',
    'grep',
    'tail',
    'sleep',
    'sh',
    ...programs,
  ])
    symlinkSync(findProgram(name) ?? `/missing/${name}`, join(bin, name))
  const answer = knownHome === '' ? 'exit 127' : `echo '${login}:x:1:1::${knownHome}:/bin/sh'`
  writeFileSync(join(bin, 'getent'), `#!/bin/sh\n${answer}\n`, { mode: 0o755 })
  return bin
}

/** Runs the lines as an administrator of the target does, who pipes them into a shell. */
function onboard(
  login: string,
  programs: readonly string[] = ['setsid', ...ways],
  path = pathOf(programs, login),
  logins: readonly string[] = [login],
): Promise<Finished> {
  const lines = onboardLines({ name: 'web1', logins } as unknown as Target, key)
  return new Promise((done) => {
    const env = { PATH: path, CANARY: 'of root' }
    const child = execFile('/bin/sh', [], { env, timeout: 60_000 }, (err, stdout, stderr) =>
      done({ stdout, stderr, code: typeof err?.code === 'number' ? err.code : err ? -1 : 0 }),
    )
    child.stdin?.end(`${lines.join('\n').replace('sleep 20', 'sleep 1')}\n`)
  })
}

const asGames = (script: string) =>
  execFileSync('/bin/sh', ['-c', script], { uid: games?.uid, gid: games?.gid, cwd: home })

describe.runIf(process.getuid?.() === 0 && games !== undefined)(
  'run by root for an account',
  () => {
    const { uid, gid } = games ?? { uid: 0, gid: 0 }

    beforeEach(() => chownSync(home, uid, gid))

    test('attack: a link in the place of authorized_keys does not give away root’s file', async () => {
      const shadow = join(place, 'shadow')
      writeFileSync(shadow, 'root:secret\n', { mode: 0o640 })
      asGames(`mkdir .ssh && ln -s ${shadow} .ssh/authorized_keys`)
      const { code, stderr } = await onboard('games')
      expect(lstatSync(shadow)).toMatchObject({ uid: 0, gid: 0, mode: 0o100640 })
      expect(readFileSync(shadow, 'utf8')).toBe('root:secret\n')
      expect(code).not.toBe(0)
      expect(stderr).toMatch(/^cannot write .*authorized_keys as games [^\n]*\n$/)
    })

    test('attack: a link in the place of .ssh does not give away root’s directory', async () => {
      const etc = join(place, 'etc')
      mkdirSync(etc, { mode: 0o755 })
      asGames(`ln -s ${etc} .ssh`)
      expect((await onboard('games')).code).not.toBe(0)
      expect(lstatSync(etc)).toMatchObject({ uid: 0, gid: 0, mode: 0o40755 })
      expect(existsSync(join(etc, 'authorized_keys'))).toBe(false)
    })

    test('attack: a pipe in the place of authorized_keys holds up nothing', async () => {
      asGames('mkdir .ssh && mkfifo .ssh/authorized_keys')
      const { code, stderr } = await onboard('games')
      expect([code, lstatSync(keys()).isFIFO()]).toEqual([1, true])
      expect(stderr).toMatch(/^cannot write .*authorized_keys as games [^\n]*\n$/)
    })

    test('attack: an account that holds up its own part does not keep the next from its turn', async () => {
      const path = pathOf(['setsid', ...ways], 'games')
      rmSync(join(path, 'mkdir'))
      const stuck = `#!/bin/sh\n[ -e ${home}/seen ] || { : > ${home}/seen; exec sleep 15; }\nexec /bin/mkdir "$@"\n`
      writeFileSync(join(path, 'mkdir'), stuck, { mode: 0o755 })
      const { code, stderr } = await onboard('games', [], path, ['games', 'games'])
      expect(stderr).toMatch(/^cannot write .*authorized_keys as games [^\n]*\n$/)
      expect([code, readFileSync(keys(), 'utf8')]).toEqual([1, `${key}\n`])
    })

    test('attack: the account gets neither the environment nor the output of root', async () => {
      const path = pathOf(['setsid', ...ways], 'games')
      rmSync(join(path, 'mkdir'))
      const spy = `#!/bin/sh
/usr/bin/env > ${home}/seen
/usr/bin/readlink /proc/$PPID/fd/0 /proc/$PPID/fd/1 /proc/$PPID/fd/2 >> ${home}/seen
/usr/bin/cut -d ' ' -f 6 /proc/$PPID/stat >> ${home}/seen
/bin/mkdir "$@"
`
      writeFileSync(join(path, 'mkdir'), spy, { mode: 0o755 })
      expect((await onboard('games', [], path)).code).toBe(0)
      const seen = readFileSync(join(home, 'seen'), 'utf8')
      expect(seen).not.toContain('CANARY')
      const [session, ...streams] = seen.trim().split('\n').slice(-4).reverse()
      expect(streams).toEqual(['/dev/null', '/dev/null', '/dev/null'])
      const own = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ')[3]
      expect(session).not.toBe(own)
    })

    test.each(ways)('appends the key once, as the account, by %s', async (way) => {
      expect(await onboard('games', [way])).toEqual({ code: 0, stdout: '', stderr: '' })
      expect(lstatSync(join(home, '.ssh'))).toMatchObject({ uid, gid, mode: 0o40700 })
      expect(lstatSync(keys())).toMatchObject({ uid, gid, mode: 0o100600 })
      writeFileSync(keys(), 'another key without an end of line')
      for (const _ of [1, 2]) expect((await onboard('games', [way])).code).toBe(0)
      expect(readFileSync(keys(), 'utf8')).toBe(`another key without an end of line\n${key}\n`)
    })

    test('refuses with a line where nothing takes on an account', async () => {
      const { code, stderr } = await onboard('games', [])
      expect([code, existsSync(join(home, '.ssh'))]).toEqual([1, false])
      expect(stderr).toContain('by su, runuser, setpriv or sudo')
    })
  },
)

describe('run by the account itself', () => {
  const { username } = userInfo()

  test('needs no other program', async () => {
    for (const _ of [1, 2])
      expect(await onboard(username, [])).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(keys(), 'utf8')).toBe(`${key}\n`)
    expect(lstatSync(keys()).mode & 0o777).toBe(0o600)
  })

  test('says that an account is missing, or that its home is', async () => {
    const missing = await onboard('no_such_account')
    expect(missing).toMatchObject({ code: 1, stderr: 'no account no_such_account here\n' })
    rmSync(home, { recursive: true })
    const homeless = await onboard(username)
    expect(homeless.code).toBe(1)
    expect(homeless.stderr).toContain(`cannot write ${home}/.ssh/authorized_keys`)
  })

  test('finds the home where there is no getent', async () => {
    const lines = onboardLines({ name: 'web1', logins: [username] } as unknown as Target, key)
    // The function stands in for the write into the real home.
    const script = [...lines.slice(0, -2), 'sh() { echo "$5"; }', ...lines.slice(-2)].join('\n')
    const env = { PATH: pathOf([], username, '') }
    const said = execFileSync('/bin/sh', ['-c', script], { env, encoding: 'utf8' })
    expect(said).toBe(`${userInfo().homedir}\n`)
  })
})

test('a revocation list that cannot be decoded stops the lines before sshd would read it', () => {
  const target = { name: 'web1', logins: ['demo'] } as unknown as Target
  const trust = { authorities: ['ca'], principals: [], revocationList: Buffer.from('list') }
  const lines = onboardCertificateLines(target, trust).map((line) =>
    line.replaceAll('/etc/ssh', join(place, 'ssh')),
  )
  const bin = join(place, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'base64'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  const env = { PATH: `${bin}:${process.env.PATH}` }
  const end = lines.findIndex((line) => line.startsWith('line='))
  const script = lines.slice(0, end).join('\n')
  expect(() => execFileSync('/bin/sh', ['-c', script], { env, stdio: 'ignore' })).toThrow()
  expect(existsSync(join(place, 'ssh/vaultterm/revoked.krl'))).toBe(false)
})
