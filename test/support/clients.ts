import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
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
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
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

/** A program in Python, with Debian's own interpreter. */
export async function runPython(
  vaultterm: VaultTerm,
  program: string,
  ...args: string[]
): Promise<{ [key: string]: unknown }> {
  const file = join(vaultterm.home, `${Math.random().toString(36).slice(2)}.py`)
  writeFileSync(file, program)
  const known = join(vaultterm.home, 'python_known')
  const port = vaultterm.sshPort
  writeFileSync(known, `[127.0.0.1]:${port} ${hostKey(vaultterm)}\n`)
  const { stdout, stderr, code } = await runProgram('/usr/bin/python3', [
    file,
    port,
    demoKey(vaultterm),
    known,
    ...args,
  ])
  if (code !== 0) throw new Error(`${program.slice(0, 40)}: ${code}\n${stderr}`)
  return JSON.parse(stdout)
}
