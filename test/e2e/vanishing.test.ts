import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Cut } from '../support/cut.ts'
import { demoKey, eventually, metric, onboard, sessions } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Either side goes away at any point of a session: the other is told, and nothing is left. */
let vaultterm: VaultTerm
let sshd: Sshd
let toTarget: Cut
let toUs: Cut
beforeAll(async () => {
  sshd = await Sshd.start()
  vaultterm = await VaultTerm.start()
  toTarget = await Cut.start(sshd.port)
  toUs = await Cut.start(Number(vaultterm.sshPort))
  await vaultterm.json(
    ...['target', 'add', 'acme', 'real', '--host', '127.0.0.1', '--port', String(toTarget.port)],
    ...['--login', sshd.login, '--host-key', sshd.hostKeyFile],
  )
  await onboard(vaultterm, sshd, 'acme', 'real')
  await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', 'real')
})
afterAll(async () => {
  await toUs?.close()
  await toTarget?.close()
  await vaultterm?.close()
  await sshd?.close()
})

const command = 'echo out; cat; exit 3'
const brokeOff = /^vaultterm: \S.* broke off the connection.*\(ERR_TARGET_FAILED, /

/** By way of the place where connections to us are cut. */
const ssh = (remote: string, input: string | Buffer = '') =>
  vaultterm.ssh(
    [
      ...['-F', 'none', '-i', demoKey(vaultterm), '-o', 'IdentitiesOnly=yes'],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
      ...['-o', 'LogLevel=ERROR', '-p', String(toUs.port), '-l', 'acme+real', '127.0.0.1'],
      remote,
    ],
    input,
    60_000,
  )

/** Every session is over and on record as that, and no connection to the target is left. */
const expectNothingLeft = async () => {
  await eventually(async () => {
    const open = await metric(vaultterm, 'bastion_sessions')
    const upstream = await metric(vaultterm, 'bastion_upstream_connections')
    return open + upstream === 0 ? true : undefined
  }, 'the end of everything')
  const unended = (await sessions(vaultterm)).filter(({ live, reason }) => live || reason === null)
  expect(unended).toEqual([])
  expect(vaultterm.alive).toBe(true)
}

/** Where to cut: at the end of every piece that a side sent, and a byte before it. */
const placesOf = (pieces: readonly number[]) =>
  [0, ...new Set(pieces)].flatMap((at) => (at > 1 ? [at - 1, at] : [at]))

describe('a target that vanishes', () => {
  test('in any phase is told of, or was not needed any more', async () => {
    toTarget.after()
    expect(await ssh(command)).toMatchObject({ stdout: 'out\n', code: 3 })
    const places = placesOf(toTarget.pieces.server)
    expect(places.length).toBeGreaterThan(12)
    const codes = new Set<number | null>()
    for (const bytes of places) {
      toTarget.after(bytes, 'server')
      const { code, stdout, stderr } = await ssh(command)
      // All of what the target said, or a reason: never an end that looks like a good one.
      if (code === 3) expect(stdout).toBe('out\n')
      // Behind the end of the output nothing can be said any more but that it did not end well.
      else if (stderr === '') expect([code, stdout]).toEqual([255, 'out\n'])
      else expect([code, stderr]).toEqual([255, expect.stringMatching(brokeOff)])
      codes.add(code)
    }
    expect(codes).toEqual(new Set([3, 255]))
    await expectNothingLeft()
  }, 600_000)

  test('under a stream of output leaves what came before it', async () => {
    toTarget.after(20_000_000, 'server')
    const { code, stdout, stderr } = await ssh('cat /dev/zero')
    expect(code).toBe(255)
    expect(stderr).toMatch(brokeOff)
    // All but what encryption adds, and a last packet in part.
    expect(stdout.length).toBeGreaterThan(19_800_000)
    await expectNothingLeft()
  })
})

describe('a client that is killed', () => {
  test('in any phase leaves nothing behind', async () => {
    toTarget.after()
    toUs.after()
    expect(await ssh(command)).toMatchObject({ stdout: 'out\n', code: 3 })
    const places = placesOf(toUs.pieces.caller)
    expect(places.length).toBeGreaterThan(10)
    for (const bytes of places) {
      toUs.after(bytes, 'caller')
      const { code } = await ssh(command)
      expect([3, 255]).toContain(code)
    }
    await expectNothingLeft()
    toUs.after()
    expect((await ssh(command)).code).toBe(3)
  }, 600_000)

  test('while it sends leaves a session that has ended, and how much came on record', async () => {
    toUs.after(5_000_000, 'caller')
    const { code } = await ssh('cat > /dev/null', Buffer.alloc(20_000_000))
    expect(code).toBe(255)
    await expectNothingLeft()
    const [last] = await sessions(vaultterm)
    expect(last).toMatchObject({ reason: 'client-gone' })
    expect(last?.bytes).toBeGreaterThan(4_000_000)
  })
})
