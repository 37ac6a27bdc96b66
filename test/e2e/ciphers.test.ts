import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { VaultTerm } from '../support/vaultterm.ts'

const binding = 'ssh2/lib/protocol/crypto/build/Release/sshcrypto.node'
const isBuilt = existsSync(join(import.meta.dirname, '../../node_modules', binding))

const isTurnedOff = process.env.VAULTTERM_NATIVE_CIPHERS === 'off'

/** Whether a process has the native ciphers in its memory: what the system says, and nobody else. */
function usesBinding(pid: number): boolean {
  return readFileSync(`/proc/${pid}/maps`, 'utf8').includes('sshcrypto.node')
}

interface Finding {
  readonly name: string
  readonly detail: string
}

/** The mode of every process of an installation that is used once, and the one that doctor tells. */
async function modesWith(env: Record<string, string>) {
  const vaultterm = await VaultTerm.start({ VAULTTERM_WORKERS: '2', ...env })
  try {
    const { code, stderr } = await vaultterm.ssh(['acme', 'true'])
    expect([code, stderr]).toEqual([0, ''])
    // A program of its own, with these settings at its start.
    const { stdout } = await vaultterm.launch(['doctor', '--json'])
    const findings: readonly Finding[] = JSON.parse(stdout)
    const { workers } = vaultterm
    expect(workers.length).toBeGreaterThanOrEqual(2)
    return {
      doctor: findings.find(({ name }) => name === 'ssh ciphers')?.detail,
      native: [vaultterm.pid, ...workers].map(usesBinding),
    }
  } finally {
    await vaultterm.close()
  }
}

test('every process of the product has the ciphers that this run of the tests is for', async () => {
  const isNative = isBuilt && !isTurnedOff
  const { doctor, native } = await modesWith({})
  expect(native).toEqual([isNative, isNative, isNative])
  expect(doctor).toMatch(
    isNative ? /^native$/ : isTurnedOff ? /^JavaScript, as .*=off asks/ : /^JavaScript, because/,
  )
})

test.skipIf(isTurnedOff)(
  'no process of the product loads native ciphers that the setting turns off',
  async () => {
    const { doctor, native } = await modesWith({ VAULTTERM_NATIVE_CIPHERS: 'off' })
    expect(native).toEqual([false, false, false])
    expect(doctor).toMatch(/^JavaScript, as VAULTTERM_NATIVE_CIPHERS=off asks/)
  },
)

test('refuses a value of the setting that it does not know', async () => {
  const vaultterm = new VaultTerm({ VAULTTERM_NATIVE_CIPHERS: 'never' })
  try {
    const { code, stderr } = await vaultterm.cli(['check-config'])
    expect(code).toBe(1)
    expect(stderr).toContain('VAULTTERM_NATIVE_CIPHERS must be auto or off')
  } finally {
    await vaultterm.close()
  }
})
