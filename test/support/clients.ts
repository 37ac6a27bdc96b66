import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { demoKey } from './installation.ts'
import type { Finished, VaultTerm } from './vaultterm.ts'

/** Runs a program to its end, with what it is given on its input. */
export function runProgram(
  file: string,
  args: readonly string[],
  {
    input,
    env = {},
    cwd,
  }: { input?: Buffer | string; env?: Record<string, string>; cwd?: string } = {},
): Promise<Finished & { bytes: Buffer }> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const out: Buffer[] = []
    let stderr = ''
    const timer = setTimeout(() => child.kill('SIGKILL'), 120_000)
    child.stdout.on('data', (chunk: Buffer) => void out.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    child.once('error', reject)
    child.once('close', (code) => {
      clearTimeout(timer)
      const bytes = Buffer.concat(out)
      resolve({ stdout: bytes.toString(), stderr, code, bytes })
    })
  })
}

/** The demo's key as PuTTY and as Dropbear have keys. */
export function foreignKeys(vaultterm: VaultTerm): { putty: string; dropbear: string } {
  const key = join(vaultterm.home, 'interop-key')
  copyFileSync(demoKey(vaultterm), key)
  chmodSync(key, 0o600)
  const putty = `${key}.ppk`
  execFileSync('puttygen', [key, '-O', 'private', '-o', putty])
  const dropbear = `${key}.dropbear`
  execFileSync('dropbearconvert', ['openssh', 'dropbear', key, dropbear], { stdio: 'ignore' })
  return { putty, dropbear }
}

/** The host key that the demo's client knows: its type, and the key in base64. */
function hostKey(vaultterm: VaultTerm): string {
  const known = readFileSync(join(vaultterm.home, 'demo/known_hosts'), 'utf8')
  const line = known.split('\n').find((one) => one.includes(' ssh-ed25519 '))
  return line?.split(' ').slice(1, 3).join(' ') ?? ''
}

/** The fingerprint that PuTTY takes with -hostkey. */
export function hostFingerprint(vaultterm: VaultTerm): string {
  const [, base64 = ''] = hostKey(vaultterm).split(' ')
  const digest = createHash('sha256').update(Buffer.from(base64, 'base64')).digest('base64')
  return `SHA256:${digest.replace(/=+$/, '')}`
}

/** The lines of known hosts for the bastion, and for a target by a jump: its key is the same. */
export function writeKnownHosts(vaultterm: VaultTerm): string {
  const file = join(vaultterm.home, 'plain_known')
  const key = hostKey(vaultterm)
  writeFileSync(file, `[127.0.0.1]:${vaultterm.sshPort} ${key}\nreal.acme ${key}\n`)
  return file
}

/**
 * Sessions as PuTTY saves them, in a directory for PUTTYDIR: `bastion`, and `real`, which goes through it
 * by PuTTY's own proxy and trusts the tenant's host authority.
 */
export async function savePuttySessions(
  vaultterm: VaultTerm,
  key: string,
  login: string,
): Promise<string> {
  const directory = join(vaultterm.home, 'putty')
  const save = (name: string, settings: Record<string, string>) => {
    const file = join(directory, name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(
      file,
      Object.entries(settings)
        .map((setting) => setting.join('='))
        .join('\n'),
    )
  }
  save('sessions/bastion', {
    HostName: '127.0.0.1',
    PortNumber: vaultterm.sshPort,
    Protocol: 'ssh',
    UserName: 'acme',
    PublicKeyFile: key,
    SSHManualHostKeys: hostFingerprint(vaultterm),
  })
  save('sessions/real', {
    HostName: 'real.acme',
    PortNumber: '22',
    Protocol: 'ssh',
    UserName: login,
    // Port forwarding through SSH.
    ProxyMethod: '6',
    ProxyHost: 'bastion',
  })
  const { stdout } = await vaultterm.cli(['ca', 'show', 'acme', '--host'])
  const [, , , authority = ''] =
    stdout
      .split('\n')
      .find((line) => line.startsWith('@'))
      ?.split(' ') ?? []
  save('sshhostcas/acme', { PublicKey: authority, Validity: '*.acme', PermitRSASHA256: '1' })
  return directory
}

/** A program in Python, with Debian's own interpreter. */
export async function runPython(
  vaultterm: VaultTerm,
  program: string,
  ...args: string[]
): Promise<{ [key: string]: unknown }> {
  const file = join(vaultterm.home, `${Math.random().toString(36).slice(2)}.py`)
  writeFileSync(file, program)
  const { stdout, stderr, code } = await runProgram('/usr/bin/python3', [
    file,
    vaultterm.sshPort,
    demoKey(vaultterm),
    writeKnownHosts(vaultterm),
    ...args,
  ])
  if (code !== 0) throw new Error(`${program.slice(0, 40)}: ${code}\n${stderr}`)
  return JSON.parse(stdout)
}

/** Builds the client of libssh with Debian's own compiler, and gives its path. */
export function buildLibsshClient(vaultterm: VaultTerm): string {
  const program = join(vaultterm.home, 'libssh-client')
  const source = join(import.meta.dirname, '../interop/libssh-client.c')
  const strictly = ['-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror']
  // What a newer libssh advises against works all the same.
  execFileSync('gcc', [...strictly, '-Wno-deprecated-declarations', '-o', program, source, '-lssh'])
  return program
}
