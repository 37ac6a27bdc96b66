import { beforeAll, expect, test } from 'vitest'
import { raised, type TenantId } from '../../src/postgres/index.ts'
import { newKey } from '../access/access-fixture.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { openTestVault } from '../support/vault.ts'

/** The attacker has the application's login, which may update the last serial of an authority. */
const database = await openTestDatabase()
const { ca } = await openTestVault(database.app)
let tenant: TenantId

beforeAll(async () => {
  tenant = await database.createTenant()
  await database.superuser(
    "insert into app_user (tenant_id, id, name, role) values ($1, $2, 'demo', 'member')",
    [tenant, user.id],
  )
})

const user = { id: '0192f0c1-2345-7abc-8def-0123456789ab', name: 'demo' }
const issue = () =>
  ca.issueUser(tenant, { user, publicKey: newKey(), ttlSeconds: 600 }, { public: {}, private: {} })
const setSerials = (to: string) =>
  database.app.write(tenant, (tx) =>
    tx.run('update certificate_authority set last_serial = $1', [to]),
  )

test('attack: no login uses up the serials of an authority, or has them given twice', async () => {
  for (let count = 0; count < 80; count++) await issue()
  for (const to of ['9223372036854775807', '1000', '0']) {
    expect(await setSerials(to).catch(raised)).toBe('VT019')
  }
  await issue()
})

test('attack: says what to do where serials were used up before, and one rotation mends it', async () => {
  await database.superuser('alter table certificate_authority disable trigger count_serials')
  await setSerials('9223372036854775807')
  await database.superuser('alter table certificate_authority enable trigger count_serials')
  let refused: unknown
  // What the process has taken before is good.
  for (let count = 0; count < 100 && refused === undefined; count++) {
    await issue().catch((err: unknown) => (refused = err))
  }
  expect(refused).toMatchObject({
    code: 'ERR_CERT_SERIALS',
    message: expect.stringMatching(/generation 1 .*ca rotate/),
  })
  const authorities = await ca.rotate(tenant, 'user', {})
  expect(authorities.find(({ state }) => state === 'active')).toMatchObject({ generation: 3 })
  expect(await issue()).toMatchObject({ generation: 3 })
})
