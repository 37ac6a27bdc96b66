import { createSocket, type Socket } from 'node:dgram'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ForwardGuard } from '../../../src/bastion/monitor/forward-guard.ts'
import { NameLookups } from '../../../src/bastion/monitor/name-lookups.ts'
import { formatIpAddress } from '../../../src/ssh/index.ts'

/** A name server that answers for names of `answered.test`, and says nothing about any other. */
const server: Socket = createSocket('udp4')
let asked: string[] = []
let names: NameLookups
const directory = mkdtempSync(join(tmpdir(), 'vaultterm-names-'))
const hostsFile = join(directory, 'hosts')

beforeAll(async () => {
  writeFileSync(hostsFile, '# 192.0.2.1 comment\n192.0.2.2\tFile.test alias # too\n::1 six.test\n')
  server.on('message', (query, { port, address }) => {
    const { name, end } = readName(query)
    asked.push(name)
    if (name.endsWith('answered.test')) server.send(answerTo(query, end), port, address)
  })
  await new Promise<void>((done) => server.bind(0, '127.0.0.1', done))
  names = new NameLookups({ servers: [`127.0.0.1:${server.address().port}`], hostsFile })
})

afterAll(() => {
  server.close()
  rmSync(directory, { recursive: true })
})

const attacker = { tenant: 'attacker', user: 'u' }
const polite = { tenant: 'polite', user: 'u' }
const found = async (host: string, owner = polite) =>
  (await names.addressesOf(host, owner)).map(formatIpAddress)

test('a name is found with the name servers and in the file of hosts', async () => {
  expect(await found('a.answered.test')).toEqual(['192.0.2.53'])
  expect(await found('file.test')).toEqual(['192.0.2.2'])
  expect(await found('alias')).toEqual(['192.0.2.2'])
  expect(await found('six.test')).toEqual(['::1'])
})

test('a name about which nobody says anything has no address, after a limited time', async () => {
  expect(await found('silent.test')).toEqual([])
})

test('attack: a tenant’s names that never resolve hold up no other tenant’s forwards, and no file call', async () => {
  const guard = new ForwardGuard(() => ({ ports: [4100], directories: [] }), names)
  asked = []
  const slow = Array.from({ length: 200 }, (_, at) =>
    guard.judge({ host: `${at}.silent.test`, port: 4100 }, { peer: '127.0.0.1', owner: attacker }),
  )
  let isOver = false
  const settled = Promise.all(slow).finally(() => {
    isOver = true
  })
  await expect.poll(() => asked.length).toBeGreaterThan(0)
  // The same path: a target on this host, and a port of ours.
  const judged = await guard.judge(
    { host: 'b.answered.test', port: 4100 },
    { peer: '127.0.0.1', owner: polite },
  )
  await stat(hostsFile)
  expect(judged).toEqual({ host: '192.0.2.53', port: 4100 })
  expect(isOver).toBe(false)
  // None of them leads anywhere, and none waits without end.
  expect((await settled).filter((judged) => !('refused' in judged))).toEqual([])
})

function readName(query: Buffer): { readonly name: string; readonly end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.'), end: at + 5 }
}

/** RFC 1035: 192.0.2.53 for a question about A, nothing for another. */
function answerTo(query: Buffer, end: number): Buffer {
  const isA = query.readUInt16BE(end - 4) === 1
  const head = Buffer.from(query.subarray(0, 12))
  head.writeUInt16BE(0x8180, 2)
  head.writeUInt16BE(isA ? 1 : 0, 6)
  head.writeUInt32BE(0, 8)
  const record = Buffer.from('c00c000100010000003c0004c0000235', 'hex')
  return Buffer.concat([head, query.subarray(12, end), ...(isA ? [record] : [])])
}
