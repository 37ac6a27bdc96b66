import type { LookupFunction } from 'node:net'
import { expect, test } from 'vitest'
import { lookupsAtOnce, NameLookups } from '../../../src/bastion/worker/name-lookups.ts'

/** A system whose name servers are silent about some names. */
class System {
  readonly asked: string[] = []
  readonly names = new NameLookups((host, _options, done) => {
    this.asked.push(host)
    if (!host.startsWith('silent')) setImmediate(() => done(null, '192.0.2.1', 4))
  })

  find(tenant: string, host: string, ended = new AbortController().signal): Promise<string> {
    const lookup: LookupFunction = this.names.of({ tenant, user: 'u' }, ended)
    return new Promise((resolve, reject) => {
      lookup(host, {}, (err, address) => (err ? reject(err) : resolve(String(address))))
    })
  }
}

test('attack: silent names of one tenant’s targets leave threads for the names of another tenant', async () => {
  const system = new System()
  for (let count = 0; count < 100; count++) void system.find('hostile', `silent-${count}`)
  expect(await system.find('polite', 'name')).toBe('192.0.2.1')
  expect(system.asked.length).toBeLessThanOrEqual(lookupsAtOnce)
})

test('gives up a name that nobody waits for any longer before its turn', async () => {
  const system = new System()
  const left = new AbortController()
  let given = 0
  for (let count = 0; count < 100; count++) {
    system.find('hostile', `silent-${count}`, left.signal).catch(() => given++)
  }
  await system.find('polite', 'name')
  const asked = system.asked.length
  left.abort(new Error('left'))
  await expect.poll(() => given).toBe(100 - (asked - 1))
  // Nor does the system get to see them later.
  await system.find('polite', 'name')
  expect(system.asked).toHaveLength(asked + 1)
})
