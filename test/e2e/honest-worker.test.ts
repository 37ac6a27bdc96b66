import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatPublicKey } from '../../src/ssh/index.ts'
import {
  addGrant,
  addTarget,
  demoKey,
  events,
  eventually,
  metric,
  sessions,
} from '../support/installation.ts'
import { publicKeyOf } from '../support/ssh-authority.ts'
import { Impostor, type KexReply } from '../support/ssh-impostor.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** More than a worker that was taken over may ask for before it is killed. */
const forgedMax = 20

let vaultterm: VaultTerm
let sshd: Sshd
/** Somebody's session on the one worker, which nobody else may end. */
let bystander: SshTerminal
let count = 0
const servers: Server[] = []
const sockets = new Set<Socket>()
const children: ChildProcess[] = []

beforeAll(async () => {
  vaultterm = await VaultTerm.start({ VAULTTERM_WORKERS: '1' })
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  await addGrant(vaultterm, 'forward,remote-forward,agent')
  bystander = new SshTerminal(['-F', join(vaultterm.home, 'demo/ssh_config'), 'acme+web1'])
  await bystander.waitFor(/[#$] /)
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  for (const socket of sockets) socket.destroy()
  for (const server of servers) server.close()
  bystander?.close()
  await sshd?.close()
  await vaultterm?.close()
})

/** The worker has asked for nothing that counts against it, and the bystander's session goes on. */
async function expectHonest() {
  expect(await metric(vaultterm, 'bastion_worker_requests_forged_total')).toBe(0)
  expect(await metric(vaultterm, 'bastion_workers_killed_total')).toBe(0)
  const mark = `well-${++count}-`
  bystander.type(`echo ${mark}$((40+2))\r`)
  await bystander.waitFor(new RegExp(`${mark}42`))
}

/** A target that does this with each connection; returns the user name that opens it. */
async function addServer(name: string, serve: (socket: Socket) => void, hostKey: string) {
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    serve(socket)
  })
  servers.push(server)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const file = join(vaultterm.home, `${name}.pub`)
  writeFileSync(file, `${hostKey}\n`)
  await vaultterm.json(
    ...['target', 'add', 'acme', name, '--host', '127.0.0.1', '--port', String(address.port)],
    // With a certificate the worker asks for a signature at once.
    ...['--login', 'root', '--host-key', file, '--auth', 'cert'],
  )
  const { id } = await vaultterm.json<{ id: string }>(
    ...['grant', 'add', 'acme', '--user', 'demo', '--target', name],
  )
  return { user: `acme+${name}`, grant: id }
}

/** Starts `ssh` with the demo's settings, and hears what it says. */
function ssh(args: readonly string[]) {
  const config = join(vaultterm.home, 'demo/ssh_config')
  const child = spawn('ssh', ['-F', config, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  children.push(child)
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  const ended = new Promise<string>((done) => child.once('close', () => done(stderr)))
  return { child, ended, stderr: () => stderr }
}

/** A server that sends one byte behind a good signature of its host key. */
class OneByteMore extends Impostor {
  override makeKexReply(clientInit: Buffer, initiate: Buffer): KexReply {
    const reply = super.makeKexReply(clientInit, initiate)
    return { ...reply, signature: Buffer.concat([reply.signature, Buffer.of(0)]) }
  }
}

test('attack: a target with a byte behind its host key signature does not count against the worker', async () => {
  const { privateKey } = generateKeyPairSync('ed25519')
  const { user } = await addServer(
    'one-byte-more',
    (socket) => {
      new OneByteMore(socket, privateKey).loginRequest().catch(() => {})
    },
    formatPublicKey(publicKeyOf(privateKey)),
  )
  for (let time = 0; time <= forgedMax; time += 7) {
    const tries = Array.from({ length: 7 }, () => vaultterm.ssh([user, 'true'], undefined, 120_000))
    for (const { stderr, code } of await Promise.all(tries)) {
      expect(code).toBe(255)
      expect(stderr).toContain('signed the key exchange in a malformed way')
    }
  }
  await expectHonest()
})

test('attack: commands that queue behind a target that stalls do not count against the worker', async () => {
  const { privateKey } = generateKeyPairSync('ed25519')
  const { user, grant } = await addServer(
    'stalls',
    (socket) => socket.resume(),
    formatPublicKey(publicKeyOf(privateKey)),
  )
  const path = join(vaultterm.home, 'stalls')
  const master = ssh(['-M', '-S', path, '-N', user])
  await eventually(async () => {
    const { code } = await vaultterm.ssh(['-S', path, '-O', 'check', user])
    return code === 0 ? true : undefined
  }, 'the master')
  const before = await metric(vaultterm, 'bastion_access_authorizations_total')
  const commands = Array.from({ length: 30 }, () => ssh(['-S', path, user, 'true']))
  await eventually(async () => {
    const live = (await sessions(vaultterm)).filter((one) => one.live && one.target === 'stalls')
    return live.length === 4 ? true : undefined
  }, 'the first starts')
  // The others wait for their turn, and for a decision that is made then.
  const decided = (await metric(vaultterm, 'bastion_access_authorizations_total')) - before
  expect(decided).toBeLessThan(30)
  await vaultterm.json('grant', 'remove', 'acme', grant)
  await Promise.all(commands.map(({ ended }) => ended))
  const denied = (await events(vaultterm))
    .filter(
      ({ type, private: { targetName } }) => type === 'session.refused' && targetName === 'stalls',
    )
    .map((event) => event.public.denied)
  expect(new Set(denied)).toEqual(new Set(['no-grant']))
  master.child.kill()
  await master.ended
  await expectHonest()
})

test('attack: clients that leave while forwards open do not count against the worker', async () => {
  for (let time = 0; time <= forgedMax; time += 7) {
    const clients = Array.from({ length: 7 }, () =>
      ssh(['-N', '-R', '0:127.0.0.1:9', '-W', '127.0.0.1:9', '-v', 'acme+real']),
    )
    await Promise.all(
      clients.map(async ({ child, ended, stderr }, at) => {
        await eventually(() => (/Authenticated to/.test(stderr()) ? true : undefined), 'a login')
        // Each a little further into the opening than the one before.
        await new Promise((done) => setTimeout(done, at * 3))
        child.kill('SIGKILL')
        await ended
      }),
    )
  }
  await eventually(async () => {
    const live = (await sessions(vaultterm)).filter((one) => one.live && one.target === 'real')
    return live.length === 0 ? true : undefined
  }, 'the end of their sessions')
  await expectHonest()
})

test('attack: a jump through a connection from before the host key was replaced ends nobody else', async () => {
  const path = join(vaultterm.home, 'before')
  const direct = [
    ...['-F', 'none', '-i', demoKey(vaultterm), '-o', 'BatchMode=yes', '-p', vaultterm.sshPort],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-l', 'acme'],
  ]
  const master = spawn('ssh', [...direct, '-M', '-S', path, '-N', '127.0.0.1'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  children.push(master)
  let said = ''
  master.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  await eventually(async () => {
    const { code } = await vaultterm.ssh([...direct, '-S', path, '-O', 'check', '127.0.0.1'])
    return code === 0 ? true : undefined
  }, 'the master')
  const old = vaultterm.workers
  rmSync(join(vaultterm.home, 'hostkeys', 'ssh_host_ed25519_key'))
  process.kill(vaultterm.pid, 'SIGUSR2')
  // The old worker stays for its sessions, and a new one has the new key.
  await eventually(
    () => (vaultterm.workers.length > old.length ? true : undefined),
    'the new worker',
  )
  for (let time = 0; time < 3; time++) {
    await vaultterm.ssh([...direct, '-S', path, '-W', 'real.acme:22', '127.0.0.1'], '')
  }
  await eventually(() => (/new host key since you connected/.test(said) ? true : undefined), said)
  expect(vaultterm.workers).toEqual(expect.arrayContaining([...old]))
  await expectHonest()
})
