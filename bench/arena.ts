import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addGrant, addTarget } from '../test/support/installation.ts'
import { Sshd } from '../test/support/sshd.ts'
import { VaultTerm } from '../test/support/vaultterm.ts'

/** One way to the same server. */
export interface Way {
  readonly name: 'direct' | 'double-hop' | 'vaultterm'
  /** The arguments of `ssh`, up to and with the host. */
  readonly ssh: readonly string[]
  /** The same for a forward, which a command that is forced upon the client does not carry. */
  forward(cipher: string): readonly string[]
  /** Where a client of our own connects. */
  readonly endpoint: { readonly host: string; readonly port: number; readonly user: string }
  /** The processes in the middle, whose memory sessions cost. */
  pids(): readonly number[]
  /** Those of its database. */
  databasePids(): readonly number[]
}

/** A server, and three ways to it: straight, through OpenSSH as a bastion, and through us. */
export interface Arena {
  readonly ways: readonly Way[]
  readonly vaultterm: VaultTerm
  readonly target: Sshd
  /** The servers of OpenSSH: the target's and the hop's. */
  readonly servers: readonly Sshd[]
  /** Both legs of the double hop speak it; our own leg to the target picks for itself. */
  setCipher(cipher: string): void
  close(): Promise<void>
}

const trusting = [
  ...['-F', 'none', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
  ...['-o', 'LogLevel=ERROR', '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
]

export async function openArena(): Promise<Arena> {
  // Whose shell start-up files are long would measure those.
  const plain = 'SetEnv HOME=/nonexistent'
  const target = await Sshd.start([plain])
  const key = join(target.directory, 'user_key')
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  const publicKey = readFileSync(`${key}.pub`, 'utf8').trim()
  target.authorize(publicKey)

  const script = join(target.directory, 'hop')
  const cipherFile = join(target.directory, 'cipher')
  const inner = ['ssh', ...trusting, '-i', key, '-p', String(target.port), '-l', target.login]
  writeFileSync(
    script,
    `#!/bin/sh
cipher=$(cat '${cipherFile}')
[ "$SSH_ORIGINAL_COMMAND" = internal-sftp ] && exec ${inner.join(' ')} -c "$cipher" -s ${target.host} sftp
[ -t 0 ] && tty=-t
exec ${inner.join(' ')} -c "$cipher" $tty ${target.host} "$SSH_ORIGINAL_COMMAND"
`,
  )
  chmodSync(script, 0o755)
  const hop = await Sshd.start([plain, `ForceCommand ${script}`])
  hop.authorize(publicKey)

  const vaultterm = await VaultTerm.start({
    VAULTTERM_LOG: 'warn',
    VAULTTERM_STARTS_PER_SECOND_MAX: '10000',
  })
  await addTarget(vaultterm, target)

  await addGrant(vaultterm, 'forward')
  const ours = ['-F', join(vaultterm.home, 'demo/ssh_config'), 'acme+real']
  const setCipher = (cipher: string) => writeFileSync(cipherFile, cipher)
  setCipher('aes128-gcm@openssh.com')
  const to = (sshd: Sshd) => [
    ...trusting,
    '-i',
    key,
    '-p',
    String(sshd.port),
    '-l',
    sshd.login,
    sshd.host,
  ]
  return {
    ways: [
      {
        name: 'direct',
        ssh: to(target),
        forward: () => to(target),
        endpoint: endpointOf(target),
        pids: () => [],
        databasePids: () => [],
      },
      {
        name: 'double-hop',
        ssh: to(hop),
        forward: (cipher) => [
          '-o',
          `ProxyCommand=ssh -c ${cipher} -W %h:%p ${to(hop).join(' ')}`,
          ...to(target),
        ],
        endpoint: endpointOf(hop),
        pids: () => hopProcesses(target.port),
        databasePids: () => [],
      },
      {
        name: 'vaultterm',
        ssh: ours,
        forward: () => ours,
        endpoint: { host: '127.0.0.1', port: Number(vaultterm.sshPort), user: 'acme+real' },
        pids: () => [vaultterm.pid, ...vaultterm.workers],
        databasePids: () => descendantsOf(vaultterm.pid).filter((pid) => isPostgres(pid)),
      },
    ],
    vaultterm,
    target,
    servers: [target, hop],
    setCipher,
    async close() {
      await vaultterm.close()
      await hop.close()
      await target.close()
      rmSync(target.directory, { recursive: true, force: true })
    },
  }
}

function endpointOf({ host, port, login }: Sshd): Way['endpoint'] {
  return { host, port, user: login }
}

function descendantsOf(pid: number): readonly number[] {
  const rows = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
  const below = (above: number): number[] =>
    rows.flatMap(([child = 0, parent]) => (parent === above ? [child, ...below(child)] : []))
  return below(pid)
}

function isPostgres(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('postgres')
  } catch {
    return false
  }
}

/** sshd of the hop, a process or two a session, and the ssh that each of them runs. */
function hopProcesses(targetPort: number): readonly number[] {
  const rows = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
    .map((parts) => ({
      pid: Number(parts?.[1]),
      parent: Number(parts?.[2]),
      args: parts?.[3] ?? '',
    }))
  // Every ssh towards the target that the hop started, and what stands above it up to the listener.
  const found = new Set<number>()
  const byPid = new Map(rows.map((row) => [row.pid, row]))
  for (const row of rows) {
    if (!row.args.startsWith('ssh ') || !row.args.includes(`-p ${targetPort}`)) continue
    for (let at = byPid.get(row.pid); at !== undefined && at.pid > 1; at = byPid.get(at.parent)) {
      if (!/^(ssh |sshd|\S*sshd)/.test(at.args) || at.args.includes(' -D ')) break
      found.add(at.pid)
    }
  }
  return [...found]
}
