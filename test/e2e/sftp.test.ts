import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runProgram } from '../support/clients.ts'
import { addTarget, events, eventually, sessions } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** What is done to files is on the log, with what was in them. */
let vaultterm: VaultTerm
let sshd: Sshd
let config: string
const bytes = randomBytes(20_000_000)
const sum = createHash('sha256').update(bytes).digest('hex')

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  config = join(vaultterm.home, 'demo/ssh_config')
  writeFileSync(join(sshd.directory, 'many'), bytes)
}, 120_000)
afterAll(async () => {
  await sshd?.close()
  await vaultterm?.close()
})

/** The operations of the newest session, once it has ended. */
async function operations() {
  const session = await eventually(async () => {
    const [newest] = await sessions(vaultterm)
    return newest?.live === false ? newest : undefined
  }, 'the end of the session')
  return (await events(vaultterm))
    .filter(({ type, public: { session: id } }) => type === 'file.operation' && id === session.id)
    .map(({ public: { operation, bytes: size, status }, private: hidden }) => ({
      operation,
      ...(size === undefined ? {} : { size: Number(size) }),
      status,
      ...hidden,
    }))
}

async function sftp(...lines: string[]) {
  const batch = join(sshd.directory, 'batch')
  writeFileSync(batch, `${lines.join('\n')}\n`)
  return runProgram('sftp', ['-F', config, '-b', batch, 'acme+real'])
}

test('transfers are on the log with what was in them', async () => {
  const place = sshd.directory
  const { code } = await sftp(`put ${place}/many ${place}/up`, `get ${place}/up ${place}/down`)
  expect(code).toBe(0)
  expect(readFileSync(join(place, 'down')).equals(bytes)).toBe(true)
  expect(await operations()).toEqual([
    { operation: 'write', path: `${place}/up`, size: bytes.length, status: '0', sha256: sum },
    { operation: 'read', path: `${place}/up`, size: bytes.length, status: '0', sha256: sum },
  ])
})

test('everything else that is done to files, and what came of it', async () => {
  const place = sshd.directory
  await sftp(
    `mkdir ${place}/d`,
    `-put ${place}/batch ${place}/nowhere/x`,
    `rename ${place}/up ${place}/d/renamed`,
    `ln -s ${place}/d ${place}/link`,
    `chmod 600 ${place}/d/renamed`,
    `rm ${place}/d/renamed`,
    `ls ${place}/d`,
    `rmdir ${place}/d`,
    `-rm ${place}/nothing`,
  )
  const told = (await operations()).map(({ operation, status }) => `${operation} ${status}`)
  expect(told).toEqual(
    expect.arrayContaining([
      'mkdir 0',
      'open 2',
      'rename 0',
      'symlink 0',
      'setstat 0',
      'remove 0',
      'list 0',
      'rmdir 0',
      'remove 2',
    ]),
  )
})

test('scp, which speaks it too', async () => {
  const place = sshd.directory
  const { code } = await runProgram('scp', [
    '-q',
    '-F',
    config,
    `${place}/many`,
    `acme+real:${place}/scp`,
  ])
  expect(code).toBe(0)
  expect(await operations()).toContainEqual({
    operation: 'write',
    path: `${place}/scp`,
    size: bytes.length,
    status: '0',
    sha256: sum,
  })
})

test('a client that goes away in the middle leaves what it had done on the log', async () => {
  const place = sshd.directory
  const pipe = await runProgram('sh', [
    '-c',
    `timeout -s KILL 0.7 sftp -F ${config} -l 20000 -b - acme+real <<X\nput ${place}/many ${place}/half\nX`,
  ])
  expect(pipe.code).not.toBe(0)
  const [told] = await operations()
  expect(told).toMatchObject({ operation: 'write', path: `${place}/half` })
  expect(told?.status).toBeUndefined()
})

test('attack: CH-19: what is no SFTP ends the session, and not the bastion', async () => {
  for (const [input, code] of [
    ['\xff\xff\xff\xff\x05', 'ERR_SFTP_UNREADABLE'],
    ['\0\0\0\x05\x63\0\0\0\x01', 'ERR_SFTP_UNREADABLE'],
  ] as const) {
    const { stderr } = await runProgram('ssh', ['-F', config, '-s', 'acme+real', 'sftp'], {
      input: Buffer.from(input, 'latin1'),
    })
    expect(stderr).toContain(code)
    const [session] = await sessions(vaultterm)
    expect(session).toMatchObject({ kind: 'sftp', reason: 'sftp-unreadable' })
  }
  // What is SFTP goes on.
  expect(await sftp('pwd')).toMatchObject({ code: 0 })
})
