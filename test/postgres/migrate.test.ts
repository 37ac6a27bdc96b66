import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { administer, migrate } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { silent } from '../support/postgres.ts'

test('names a migration that the database refuses, with its reason, and leaves nothing of it', async () => {
  const server = inject('postgresUrl')
  const name = `refused_${randomBytes(6).toString('hex')}`
  const own = new URL(server)
  own.pathname = `/${name}`
  const url = new Secret(own.toString())
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-migrate-'))
  await administer(new Secret(server), (admin) => admin.many(`create database ${name}`))
  onTestFinished(async () => {
    rmSync(directory, { recursive: true })
    await administer(new Secret(server), (admin) => admin.many(`drop database ${name}`))
  })
  writeFileSync(
    join(directory, '0001_half.sql'),
    'create table half (); select no_such_function();',
  )
  await expect(migrate({ url, directory, log: silent })).rejects.toMatchObject({
    code: 'ERR_MIGRATION_FAILED',
    message: expect.stringMatching(/0001_half.* failed, and nothing .*no_such_function/),
  })
  const left = await administer(url, (admin) =>
    admin.many("select from pg_class where relname = 'half'"),
  )
  expect(left).toEqual([])
})
