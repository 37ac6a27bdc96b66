import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { Authority, type CertificateFields } from '../../support/ssh-authority.ts'
import { serveOn } from '../../support/ssh-pair.ts'

const authority = new Authority()
const stranger = new Authority()
const client = authority.newKey('ed25519').file
let server: Server | undefined
afterEach(() => server?.close())
afterAll(() => {
  for (const one of [authority, stranger]) one.remove()
})

/** What a real client says of a server of ours that shows a certificate for its host key. */
async function visit(type: string, wish: CertificateFields, by = authority): Promise<string> {
  const { privateKey, publicKey } = authority.newKey(type)
  const certificate = by.sign(publicKey, { isHost: true, principals: ['bastion'], ...wish })
  const own = createServer((socket) => {
    void serveOn(socket, [{ privateKey, publicKey, certificate }])
  })
  server = own
  own.listen(0, '127.0.0.1')
  await once(own, 'listening')
  const address = own.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const known = join(authority.directory, 'known_hosts')
  writeFileSync(known, `@cert-authority * ${authority.line}\n`)
  const ssh = spawn('ssh', [
    ...['-F', 'none', '-v', '-o', 'HostKeyAlias=bastion', '-o', 'StrictHostKeyChecking=yes'],
    ...['-o', `UserKnownHostsFile=${known}`, '-i', client, '-o', 'IdentitiesOnly=yes'],
    ...['-o', 'BatchMode=yes', '-N', '-p', String(port), '127.0.0.1'],
  ])
  let said = ''
  const { promise, resolve } = Promise.withResolvers<void>()
  ssh.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
    if (/Authenticated to|verification failed/.test(said)) resolve()
  })
  ssh.once('close', () => resolve())
  await promise
  ssh.kill()
  return said
}

describe.each(['ed25519', 'ecdsa', 'rsa'])(
  'with a host certificate for a key of type %s',
  (type) => {
    test('is known to a client that trusts the authority, and has never been here', async () => {
      const said = await visit(type, {})
      expect(said).toMatch(/Host 'bastion' is known and matches the \S+-CERT host certificate/)
      expect(said).toContain('Authenticated to')
    })

    test.each<[string, CertificateFields, Authority?]>([
      ['is for another name', { principals: ['other'] }],
      ['has expired', { validity: '-2h:-1h' }],
      ['is of another authority', {}, stranger],
    ])('is refused by it when the certificate %s (control)', async (_, wish, by) => {
      const said = await visit(type, wish, by)
      expect(said).toContain('Host key verification failed')
      expect(said).not.toContain('Authenticated to')
    })
  },
)
