import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { actOnce, actOnceInSecret, type TenantId, type WriteTx } from '../../src/postgres/index.ts'
import { openTestDatabase } from '../support/postgres.ts'

const database = await openTestDatabase()
const { app } = database

const request = (digest = randomBytes(32)) => ({ key: randomBytes(12).toString('hex'), digest })

async function person(tenant?: TenantId) {
  const place = tenant ?? (await database.createTenant())
  const { id } = await app.write(place, (tx) =>
    tx.one<{ id: string }>("insert into app_user (name, role) values ($1, 'member') returning id", [
      `u${randomBytes(4).toString('hex')}`,
    ]),
  )
  return { tenant: place, user: id }
}

/** An act that leaves one row each time that it is done. */
const act = async (tx: WriteTx) =>
  tx.one<{ id: string }>("insert into app_user (name, role) values ($1, 'member') returning id", [
    `made-${randomBytes(4).toString('hex')}`,
  ])
const made = async (tenant: TenantId) => {
  const rows = await app.read(tenant, (tx) =>
    tx.many("select from app_user where name like 'made-%'"),
  )
  return rows.length
}

test('a repeated request is done once, and gets the first answer', async () => {
  const { tenant, user } = await person()
  const once = request()
  const ask = () => app.write(tenant, (tx) => actOnce(tx, user, once, () => act(tx)))
  const first = await ask()
  expect(await ask()).toEqual(first)
  expect(await made(tenant)).toBe(1)
})

test('of many at the same time one is done, and all get its answer', async () => {
  const { tenant, user } = await person()
  const once = request()
  const answers = await Promise.all(
    Array.from({ length: 4 }, () =>
      app.write(tenant, (tx) => actOnce(tx, user, once, () => act(tx))),
    ),
  )
  expect(new Set(answers.map(({ id }) => id)).size).toBe(1)
  expect(await made(tenant)).toBe(1)
})

test('when the first fails, the second is done', async () => {
  const { tenant, user } = await person()
  const once = request()
  const failing = app.write(tenant, (tx) =>
    actOnce(tx, user, once, async () => {
      await act(tx)
      throw new Error('failed')
    }),
  )
  await expect(failing).rejects.toThrow('failed')
  await app.write(tenant, (tx) => actOnce(tx, user, once, () => act(tx)))
  expect(await made(tenant)).toBe(1)
})

test('attack: a key opens no answer to another request, and none of another person or tenant', async () => {
  const first = await person()
  const once = request()
  const ask = (place: typeof first, digest = once.digest) =>
    app.write(place.tenant, (tx) => actOnce(tx, place.user, { ...once, digest }, () => act(tx)))
  const { id } = await ask(first)
  await expect(ask(first, randomBytes(32))).rejects.toMatchObject({
    code: 'ERR_IDEMPOTENCY_KEY_USED',
  })
  const others = [await person(first.tenant), await person()]
  for (const other of others) expect((await ask(other)).id).not.toBe(id)
})

test('attack: an answer with a secret is kept nowhere, and a repeated request does not get it', async () => {
  const { tenant, user } = await person()
  const once = request()
  const secret = randomBytes(16).toString('hex')
  const ask = () =>
    app.write(tenant, (tx) =>
      actOnceInSecret(tx, user, once, async () => ({ ...(await act(tx)), secret })),
    )
  expect((await ask()).secret).toBe(secret)
  await expect(ask()).rejects.toMatchObject({ code: 'ERR_DONE_ALREADY' })
  expect(await made(tenant)).toBe(1)
  const rows = await database.superuser('select r::text as row from request_once r')
  expect(JSON.stringify(rows)).not.toContain(secret)
})

test('a key is forgotten after a day', async () => {
  const { tenant, user } = await person()
  const once = request()
  const ask = () => app.write(tenant, (tx) => actOnce(tx, user, once, () => act(tx)))
  await ask()
  await database.superuser(
    "update request_once set created_at = created_at - interval '25 hours' where user_id = $1",
    [user],
  )
  await ask()
  expect(await made(tenant)).toBe(2)
})
