import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

const original = resolve(import.meta.dirname, '../..')
const nodePackage = `node_modules/node-${process.platform}-${process.arch}`
const compiled = 'node_modules/.vaultterm-compiled'
/** Another unprivileged user of the machine. */
const mallory = 4711
const isRoot = process.getuid?.() === 0
const hasBundled = existsSync(join(original, nodePackage))

let copy: string
beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), 'checkout-'))
  chmodSync(copy, 0o755)
})
afterEach(() => rmSync(copy, { recursive: true, force: true }))

/** A copy of this checkout after its set-up, with a program that prints the Node it runs on. */
function copyCheckout(): void {
  for (const name of ['bin', 'patches', 'package.json', 'package-lock.json'])
    cpSync(join(original, name), join(copy, name), { recursive: true })
  for (const name of ['ready', 'dependencies'])
    cpSync(
      join(original, 'node_modules/.vaultterm', name),
      join(copy, 'node_modules/.vaultterm', name),
    )
  mkdirSync(join(copy, nodePackage, 'bin'), { recursive: true })
  cpSync(join(original, nodePackage, 'package.json'), join(copy, nodePackage, 'package.json'))
  // A link, since the program has a hundred megabytes.
  symlinkSync(
    realpathSync(join(original, nodePackage, 'bin/node')),
    join(copy, nodePackage, 'bin/node'),
  )
  mkdirSync(join(copy, 'src'))
  writeFileSync(join(copy, 'src/main.ts'), "console.log((process.env.PATH ?? '').split(':')[0])")
}

function start(options = {}) {
  const { status, stdout, stderr } = spawnSync(join(copy, 'bin/vaultterm'), [], {
    cwd: '/',
    encoding: 'utf8',
    ...options,
  })
  return { status, stdout: stdout.trim(), stderr }
}

test.runIf(hasBundled)('attack: a copied checkout runs the Node that the first one names', () => {
  copyCheckout()
  expect(start()).toEqual({ status: 0, stdout: join(copy, nodePackage, 'bin'), stderr: '' })
  // Nor one that its state names, wherever it comes from.
  const planted = join(copy, 'planted')
  writeFileSync(planted, `#!/bin/sh\ntouch ${copy}/ran\necho 24.21.0\n`, { mode: 0o755 })
  const state = join(copy, 'node_modules/.vaultterm/ready')
  writeFileSync(state, JSON.stringify({ key: 'any', node: planted }))
  start({ env: { PATH: '/nonexistent' } })
  expect(existsSync(join(copy, 'ran'))).toBe(false)
})

test.runIf(hasBundled && isRoot)('attack: another user plants the packages of a checkout', () => {
  copyCheckout()
  mkdirSync(join(copy, compiled))
  for (const part of ['node_modules', 'node_modules/.vaultterm', compiled, nodePackage]) {
    chownSync(join(copy, part), mallory, mallory)
    const { status, stderr } = start()
    expect(status, part).toBe(1)
    expect(stderr).toMatch(
      new RegExp(`${mallory}.*\n.*${join(copy, part)} belongs to another user`),
    )
    expect(stderr).toContain('ERR_SETUP')
    chownSync(join(copy, part), 0, 0)
  }
})

test.runIf(hasBundled)(
  'attack: every user may put packages or compiled code into a checkout',
  () => {
    copyCheckout()
    mkdirSync(join(copy, compiled))
    for (const part of ['.', 'bin', 'src', 'node_modules', compiled, nodePackage]) {
      chmodSync(join(copy, part), 0o777)
      const { status, stderr } = start()
      expect(status, part).toBe(1)
      expect(stderr).toMatch(/can be written by every user .* chmod -R o-w .*ERR_SETUP/)
      chmodSync(join(copy, part), 0o755)
    }
    expect(start()).toMatchObject({ status: 0, stderr: '' })
  },
)

test.runIf(hasBundled)('attack: every user may write a file deep in a closed checkout', () => {
  copyCheckout()
  mkdirSync(join(copy, 'src/deep'))
  writeFileSync(join(copy, 'src/deep/file.ts'), '')
  for (const part of ['src/main.ts', 'src/deep', 'src/deep/file.ts', 'bin/setup/main.mjs']) {
    chmodSync(join(copy, part), 0o777)
    const { status, stderr } = start()
    expect(status, part).toBe(1)
    expect(stderr).toContain(`${join(copy, part)} can be written by every user`)
    // As under umask 002: the group is the owner's to choose.
    chmodSync(join(copy, part), 0o775)
  }
  expect(start()).toMatchObject({ status: 0, stderr: '' })
})

test.runIf(hasBundled && isRoot)('attack: root runs a checkout of another user, unwarned', () => {
  copyCheckout()
  chownSync(copy, mallory, mallory)
  for (const _ of [1, 2]) {
    const { status, stderr } = start()
    expect(status).toBe(0)
    expect(stderr).toMatch(/WARNING: .* belongs to another user \(user 4711\)/)
  }
})

test.runIf(hasBundled && isRoot)('says where it cannot write, and runs where it need not', () => {
  copyCheckout()
  const user = { uid: mallory, gid: mallory }
  expect(start(user)).toMatchObject({ status: 0, stderr: '' })
  appendFileSync(join(copy, 'package-lock.json'), ' ')
  const { status, stderr } = start(user)
  expect(status).toBe(1)
  expect(stderr).toMatch(
    new RegExp(
      `set-up has to write to ${copy}, and cannot \\(owner user 0, mode 0755\\).*ERR_SETUP`,
    ),
  )
})
