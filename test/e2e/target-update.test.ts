import { afterAll, beforeAll, expect, test } from 'vitest'
import { addTarget, events, eventually, onboard, sessions } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd
beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
})
afterAll(async () => {
  await sshd?.close()
  await vaultterm?.close()
})

interface Target {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly hostKeys: readonly { readonly type: string; readonly fingerprint: string }[]
}

async function reinstall(type: 'ed25519' | 'ecdsa'): Promise<void> {
  await sshd.down()
  sshd.newHostKey(type)
  await sshd.up()
}

const advised = 'vaultterm target update acme real --scan --replace'

test.each(['ed25519', 'ecdsa'] as const)(
  'a reinstalled host with a new %s key is refused, and works after the command that the refusal names',
  async (type) => {
    const grants = await vaultterm.json('grant', 'list', 'acme')
    await reinstall(type)
    const refused = await vaultterm.ssh(['acme+real', 'true'])
    expect(refused.code).toBe(255)
    expect(refused.stderr).toContain('the host key of real is not the one on record')
    expect(refused.stderr).toContain('ask the operator')
    expect(refused.stderr).toContain(advised)

    const check = await vaultterm.cli(['target', 'check', 'acme', 'real'])
    expect(check.code).toBe(1)
    expect(check.stderr).toContain(advised)
    expect(check.stderr).toContain('(ERR_UPSTREAM_HOST_KEY)')

    // Whoever answers at the address is not believed for having been scanned.
    const careless = await vaultterm.cli(['target', 'update', 'acme', 'real', '--scan'])
    expect([careless.code, careless.stderr]).toEqual([1, expect.stringContaining('--replace')])
    expect((await vaultterm.ssh(['acme+real', 'true'])).code).toBe(255)

    const [, ...args] = advised.split(' ')
    const printed = (await vaultterm.cli(args)).stdout.split('\n')
    const at = printed.findIndex((line) => line.startsWith('Compare these with the keys'))
    expect(printed[at - 2]).toBe('  now known by')
    const [updated] = (await vaultterm.json<readonly Target[]>('target', 'list', 'acme')).filter(
      ({ name }) => name === 'real',
    )
    if (updated === undefined) throw new Error('the target is gone')
    expect(printed[at - 1]).toContain(updated.hostKeys[0]?.fingerprint)
    expect(updated.hostKeys.map((key) => key.type)).toEqual([
      type === 'ed25519' ? 'ssh-ed25519' : 'ecdsa-sha2-nistp256',
    ])
    expect(await vaultterm.json('grant', 'list', 'acme')).toEqual(grants)
    expect((await vaultterm.ssh(['acme+real', 'echo well'])).stdout).toBe('well\n')
    const logged = (await events(vaultterm)).filter((event) => event.type === 'target.update')
    expect(logged.at(-1)).toMatchObject({
      public: {
        hostKey: updated.hostKeys.map(({ fingerprint }) => fingerprint),
        hostKeyBefore: [expect.stringMatching(/^SHA256:/)],
      },
    })
  },
)

test('changed logins are printed, with the grants that open nothing now, and each is checked', async () => {
  const { login } = sshd
  const update = (logins: string) =>
    vaultterm.cli(['target', 'update', 'acme', 'real', '--login', logins])
  await update(`${login},former`)
  const grant = await vaultterm.json<{ id: string }>(
    ...['grant', 'add', 'acme', '--user', 'demo', '--target', 'real', '--login', 'former'],
  )
  const updated = await update(`${login},nosuch`)
  expect(updated.stdout).toContain(
    `updated real:\n  logins: ${login}, nosuch (before: ${login}, former)\nnext: `,
  )
  expect(updated.stderr).toContain(`warning: grant ${grant.id} opens nothing now`)
  const check = await vaultterm.cli(['target', 'check', 'acme', 'real'])
  expect(check).toMatchObject({
    code: 1,
    stdout: `real: ok: the bastion can log in as ${login}\n`,
    stderr: expect.stringMatching(
      /^vaultterm: real: it does not accept the key for nosuch: .+ \(ERR_UPSTREAM_AUTH\)$/m,
    ),
  })
  const json = await vaultterm.cli(['target', 'check', 'acme', 'real', '--json'])
  expect([json.code, JSON.parse(json.stdout)]).toMatchObject([
    1,
    {
      ok: false,
      logins: [
        { login, ok: true },
        { login: 'nosuch', ok: false },
      ],
    },
  ])
  expect((await vaultterm.cli(['target', 'check', 'acme', 'real', '--login', login])).code).toBe(0)
  expect((await update(login)).stderr).toContain(grant.id)
  await vaultterm.json('grant', 'remove', 'acme', grant.id)
})

test('a live session ends when its target is moved, and a new one on the same connection is at the new address', async () => {
  const other = await Sshd.start()
  try {
    const control = `${vaultterm.home}/control`
    const shared = ['-o', `ControlPath=${control}`, '-o', 'ControlMaster=auto']
    const args = [...shared, '-o', 'ControlPersist=60', 'acme+real', 'sleep 120']
    const first = vaultterm.ssh(args, undefined, 150_000)
    await eventually(
      async () => (await sessions(vaultterm)).some(({ live }) => live) || undefined,
      'a live session',
      60_000,
    )
    await vaultterm.json(
      ...['target', 'update', 'acme', 'real', '--port', String(other.port)],
      ...['--host-key', other.hostKeyFile, '--replace'],
    )
    await onboard(vaultterm, other, 'acme', 'real')
    const ended = await first
    expect(ended.code).not.toBe(0)
    expect(ended.stderr).toContain('the address or the host key of the target was changed')
    await sshd.down()
    const second = await vaultterm.ssh([...shared, 'acme+real', 'echo $SSH_CONNECTION'])
    expect(second.stdout.trim().split(' ').at(-1)).toBe(String(other.port))
  } finally {
    await other.close()
  }
})

test('target add on a name that is taken says to use update', async () => {
  const again = await vaultterm.cli([
    ...['target', 'add', 'acme', 'real', '--host', '127.0.0.1', '--login', 'root'],
    ...['--host-key', sshd.hostKeyFile],
  ])
  expect([again.code, again.stderr]).toEqual([
    1,
    expect.stringContaining('vaultterm target update acme real'),
  ])
})

test.each([
  ['nothing to change', []],
  ['--replace without a key', ['--replace']],
  ['two sources of keys', ['--scan', '--host-key', 'file']],
])('target update refuses %s as wrong usage', async (_what, options) => {
  const { code, stderr } = await vaultterm.cli(['target', 'update', 'acme', 'real', ...options])
  expect([code, stderr]).toEqual([2, expect.stringContaining('ERR_USAGE')])
})
