import { spawn } from 'node:child_process'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { addGrant, addTarget, eventually, sessions } from '../support/installation.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** What the main process gives a worker to end a session in: after it, the worker is killed. */
const workerKillMs = 15_000
/** What ends by itself ends sooner. */
const atOnceMs = 12_000

let vaultterm: VaultTerm
/** Takes every connection, and says nothing on it. */
let silent: Server
const held = new Set<Socket>()
const children: ReturnType<typeof spawn>[] = []
let bystander: SshTerminal
let workers: readonly number[] = []
/** When the last of the killed sessions had ended. */
let endedAt = 0

beforeAll(async () => {
  vaultterm = await VaultTerm.start({ VAULTTERM_WORKERS: '1' })
  const sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  await addGrant(vaultterm, 'forward,remote-forward')
  await sshd.close()
  silent = createServer((socket) => {
    held.add(socket)
    socket.on('error', () => {}).on('close', () => held.delete(socket))
    socket.resume()
  })
  await new Promise<void>((done) => silent.listen(sshd.port, sshd.host, done))
  bystander = new SshTerminal(['-F', join(vaultterm.home, 'demo/ssh_config'), 'acme+web1'])
  await bystander.waitFor(/[#$] /)
  workers = vaultterm.workers
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  for (const socket of held) socket.destroy()
  bystander?.close()
  silent?.close()
  await vaultterm?.close()
})

/** A client whose target is being dialled. */
async function dialling(...args: string[]) {
  const child = spawn('ssh', ['-F', join(vaultterm.home, 'demo/ssh_config'), ...args], {
    stdio: ['pipe', 'ignore', 'pipe'],
  })
  children.push(child)
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const isReal = ({ live, target }: { live: boolean; target: string }) => live && target === 'real'
  const { id } = await eventually(async () => {
    const found = (await sessions(vaultterm)).find(isReal)
    return found !== undefined && held.size > 0 ? found : undefined
  }, 'the dial')
  return { child, id, said: () => said }
}

describe('attack: a target that takes connections and says nothing keeps no session alive', () => {
  test.each([
    ['a forward', ['-W', '127.0.0.1:80', 'acme+real']],
    ['a remote forward', ['-N', '-R', '0:127.0.0.1:80', 'acme+real']],
    ['a command', ['acme+real', 'true']],
  ])('%s that is killed ends at once, and its dial too', async (_what, args) => {
    const { child, id, said } = await dialling(...args)
    const since = performance.now()
    const killed = await vaultterm.json<{ live: boolean; reason: string }>('session', 'kill', id)
    expect(killed).toMatchObject({ live: false, reason: 'killed' })
    expect(performance.now() - since).toBeLessThan(atOnceMs)
    await eventually(() => held.size === 0 || undefined, 'the end of the dial', atOnceMs)
    // A remote forward has no room for a reason in its answer.
    if (!args.includes('-R'))
      await eventually(() => said().includes('ERR_SESSION_KILLED') || undefined, 'a word')
    child.kill()
    endedAt = performance.now()
  })

  test('who shares the dial of a session that is killed gets one of their own', async () => {
    const path = join(vaultterm.home, 'shared')
    const shared = ['-o', `ControlPath=${path}`]
    const first = await dialling(...shared, '-o', 'ControlMaster=yes', 'acme+real', 'true')
    const second = spawn('ssh', [
      ...['-F', join(vaultterm.home, 'demo/ssh_config'), ...shared],
      ...['acme+real', 'true'],
    ])
    children.push(second)
    const other = await eventually(
      async () =>
        (await sessions(vaultterm)).find(
          ({ id, live, target }) => live && target === 'real' && id !== first.id,
        ),
      'the second session',
    )
    expect(held.size).toBe(1)
    const [before] = held
    await vaultterm.json('session', 'kill', first.id)
    await eventually(
      () => (held.size === 1 && !held.has(before as Socket)) || undefined,
      'a dial',
      atOnceMs,
    )
    const killed = await vaultterm.json('session', 'kill', other.id)
    expect(killed).toMatchObject({ live: false, reason: 'killed' })
    await eventually(() => held.size === 0 || undefined, 'the end of the dial', atOnceMs)
  })

  test('and the sessions of others in their worker go on', async () => {
    const restMs = endedAt + workerKillMs + 1500 - performance.now()
    await new Promise((done) => setTimeout(done, Math.max(0, restMs)))
    expect(vaultterm.workers).toEqual(workers)
    bystander.type('echo still-$((40+2))\r')
    await bystander.waitFor(/still-42/)
  })
})
