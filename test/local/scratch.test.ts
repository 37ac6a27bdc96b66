import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { readAccounts } from '../../src/local/accounts.ts'
import { createScratch, removeScratch, scratchHome } from '../../src/local/scratch.ts'
import { createLog } from '../../src/log.ts'

const base = mkdtempSync(join(tmpdir(), 'scratchtest-'))
const made: string[] = [base]
afterAll(() => {
  for (const path of made) rmSync(path, { recursive: true, force: true })
})

const games = (await readAccounts()).find(({ name }) => name === 'games')

let directory: string
let scratch: string
let said: string
const log = createLog('warn', {
  write: (line) => {
    said += line
  },
})

beforeEach(async () => {
  said = ''
  directory = mkdtempSync(join(base, 'home-'))
  scratch = await createScratch(directory)
  made.push(scratch)
})

const note = () => existsSync(join(directory, 'scratch'))

test('a scratch directory is removed whole, as is the note of one that is gone', async () => {
  const second = await createScratch(directory)
  mkdirSync(join(scratch, 'native'))
  writeFileSync(join(scratch, 'native/file'), '')
  rmSync(second, { recursive: true })
  await removeScratch(directory, log)
  expect([existsSync(scratch), note(), said]).toEqual([false, false, ''])
})

test('attack: another directory that has got the name is left alone', async () => {
  renameSync(scratch, `${scratch}-ours`)
  made.push(`${scratch}-ours`)
  mkdirSync(scratch, { mode: 0o700 })
  writeFileSync(join(scratch, 'file'), '')
  await removeScratch(directory, log)
  expect([existsSync(join(scratch, 'file')), note()]).toEqual([true, false])
  expect(said).toContain('is another one than we made')
})

test('attack: a link that has got the name is left alone, and what it leads to', async () => {
  const victim = mkdtempSync(join(base, 'victim-'))
  writeFileSync(join(victim, 'file'), '')
  rmSync(scratch, { recursive: true })
  symlinkSync(victim, scratch)
  await removeScratch(directory, log)
  expect(existsSync(join(scratch, 'file'))).toBe(true)
  expect(said).toContain('is not a directory')
})

test('a note of an earlier version, which names no inode, removes nothing', async () => {
  writeFileSync(join(directory, 'scratch'), `${scratch}\n`, { mode: 0o600 })
  await removeScratch(directory, log)
  expect([existsSync(scratch), note()]).toEqual([true, false])
})

describe.runIf(process.getuid?.() === 0 && games !== undefined)('beside another account', () => {
  const { uid, gid } = games ?? { uid: 0, gid: 0 }
  const lend = () => {
    const lent = join(scratch, scratchHome)
    mkdirSync(lent, { mode: 0o700 })
    chownSync(lent, uid, gid)
    return lent
  }

  test('attack: a directory of another account that has got the name is left alone', async () => {
    rmSync(scratch, { recursive: true })
    mkdirSync(scratch)
    writeFileSync(join(scratch, 'file'), '')
    chownSync(scratch, uid, gid)
    await removeScratch(directory, log)
    expect([existsSync(join(scratch, 'file')), note()]).toEqual([true, false])
    expect(said).toContain('belongs to another user')
  })

  test('attack: a directory that others can write is left alone, even with our inode', async () => {
    writeFileSync(join(scratch, 'file'), '')
    chmodSync(scratch, 0o777)
    await removeScratch(directory, log)
    expect(existsSync(join(scratch, 'file'))).toBe(true)
    expect(said).toContain('can be written by others')
  })

  test('attack: root itself removes nothing in what an account owns, where names can be exchanged', async () => {
    const lent = lend()
    // Nobody but root can remove it. It stands for whatever the account is about to exchange.
    mkdirSync(join(lent, 'of root'))
    writeFileSync(join(lent, 'of root/file'), '')
    await removeScratch(directory, log)
    expect(readFileSync(join(lent, 'of root/file'), 'utf8')).toBe('')
    expect(lstatSync(lent).uid).toBe(uid)
    expect(lstatSync(scratch).mode & 0o777).toBe(0o700)
    // It is tried again at the next start.
    expect([said.includes('not all of it'), note()]).toEqual([true, true])
    rmSync(join(lent, 'of root'), { recursive: true })
    await removeScratch(directory, log)
    expect([existsSync(scratch), note()]).toEqual([false, false])
  })

  test('what an account closed to itself is removed, too', async () => {
    const lent = lend()
    const script = 'mkdir -p a/b .c && touch a/b/d && chmod 0 a/b a'
    execFileSync('/bin/sh', ['-c', script], { uid, gid, cwd: lent })
    await removeScratch(directory, log)
    expect([existsSync(scratch), said]).toEqual([false, ''])
  })
})
