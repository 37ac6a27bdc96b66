import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoKey, eventually, makeKey, metric, sshAs } from '../support/installation.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Addresses that come again and again and never log in. A machine has a whole network of its own. */
let vaultterm: VaultTerm
let wrongKey: string
beforeAll(async () => {
  vaultterm = await VaultTerm.start({
    VAULTTERM_PENALTY_EXEMPT: '127.0.0.9',
    VAULTTERM_PENALTY_REFUSED_SECONDS: '3',
    VAULTTERM_PENALTY_MIN_SECONDS: '6',
    VAULTTERM_PENALTY_MAX_SECONDS: '12',
  })
  wrongKey = makeKey(vaultterm, 'wrong')
})
afterAll(() => vaultterm?.close())

const from = (address: string, key: string) =>
  sshAs(vaultterm, 'acme+web1', key, ['-b', address, 'echo', 'in'])
const isIn = async (address: string) => (await from(address, demoKey(vaultterm))).stdout === 'in\n'

/** What whoever connects from there is told first. */
async function greeting(address: string): Promise<string> {
  const socket = connect({
    port: Number(vaultterm.sshPort),
    host: '127.0.0.1',
    localAddress: address,
  })
  socket.once('data', () => socket.end())
  return text(socket)
}

async function failUntilHeld(address: string): Promise<void> {
  await eventually(async () => {
    // At a time: a penalty passes while it is added to.
    await Promise.all([1, 2, 3, 4].map(() => from(address, wrongKey)))
    return (await greeting(address)).startsWith('Not allowed') || undefined
  }, `${address} is held off`)
}

test('an address whose logins are all refused is held off for a while, and no other', async () => {
  const before = await metric(vaultterm, 'bastion_penalties_enforced_total')
  await failUntilHeld('127.0.0.2')
  expect(await greeting('127.0.0.2')).toBe('Not allowed at this time\r\n')
  expect(await greeting('127.0.0.3')).toMatch(/^SSH-2\.0-/)
  expect(await isIn('127.0.0.3')).toBe(true)
  expect(await metric(vaultterm, 'bastion_penalties_enforced_total')).toBe(before + 1)
  expect(await metric(vaultterm, 'bastion_connections_turned_away_total')).toBeGreaterThan(0)
  expect(await metric(vaultterm, 'bastion_departures_total')).toBeGreaterThan(2)
  await eventually(async () => (await isIn('127.0.0.2')) || undefined, 'the time has passed')
})

test('an address that somebody has logged in from bears with the mistakes of others', async () => {
  expect(await isIn('127.0.0.4')).toBe(true)
  for (let count = 0; count < 8; count++) await from('127.0.0.4', wrongKey)
  expect(await isIn('127.0.0.4')).toBe(true)
})

test('an exempt address is never held off', async () => {
  for (let count = 0; count < 8; count++) await from('127.0.0.9', wrongKey)
  expect(await isIn('127.0.0.9')).toBe(true)
})
