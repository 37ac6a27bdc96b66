import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { replaceFile } from '../../src/cli/output-file.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'output-'))
})
afterAll(() => rm(directory, { recursive: true }))

const list = Buffer.from('a list of revoked keys')

test('a pipe is written as it is, and a link is replaced', async () => {
  const pipe = join(directory, 'pipe')
  execFileSync('mkfifo', [pipe])
  const [read] = await Promise.all([readFile(pipe), replaceFile(pipe, list)])
  expect(read).toEqual(list)
  const [victim, link] = [join(directory, 'kept'), join(directory, 'link')]
  await writeFile(victim, 'kept')
  await symlink(victim, link)
  await replaceFile(link, list)
  expect([await readFile(victim, 'utf8'), await readFile(link)]).toEqual(['kept', list])
})

/** Puts a socket and a link to the victim in the place of the path, by turns and without end. */
const swapping = `
  const { linkSync, renameSync, symlinkSync } = require('node:fs')
  const [socket, victim, path] = process.argv.slice(1)
  for (let turn = 0; ; turn++) {
    if (turn % 2) symlinkSync(victim, path + '.next')
    else linkSync(socket, path + '.next')
    renameSync(path + '.next', path)
    if (turn === 0) console.log('swaps')
  }`

test('attack: a link that is put in the place of a device is not followed', async () => {
  const [victim, socket, path] = ['victim', 'socket', 'path'].map((name) => join(directory, name))
  if (victim === undefined || socket === undefined || path === undefined) throw new Error('no path')
  await writeFile(victim, 'kept')
  const server = createServer().listen(socket)
  await once(server, 'listening')
  const swaps = spawn(process.execPath, ['-e', swapping, socket, victim, path])
  try {
    await once(swaps.stdout, 'data')
    // A socket cannot be opened, so some fail: what counts is the victim.
    for (let turn = 0; turn < 500; turn++) await replaceFile(path, list).catch(() => {})
    expect(await readFile(victim, 'utf8')).toBe('kept')
  } finally {
    swaps.kill()
    await once(swaps, 'exit')
    server.close()
  }
})
