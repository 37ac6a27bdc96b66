import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, expect, test } from 'vitest'
import { type AuditEvent, appendEvent } from '../../src/audit/index.ts'
import { Publisher } from '../../src/audit/publisher.ts'
import { readTree } from '../../src/audit/queries.ts'
import { type SignedHeads, SignedHeadsFile } from '../../src/audit/signed-heads.ts'
import { queueTables } from '../../src/jobs/index.ts'
import { type PostgresServer, startPostgres } from '../../src/local/index.ts'
import {
  administer,
  type Database,
  migrate,
  openDatabase,
  type TenantId,
} from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { checkLog, createTestSigner } from '../support/audit.ts'
import { newTenantId, silent } from '../support/postgres.ts'

/** A server of its own, which writes its log to disk as late as it can, and is ended as by a power cut. */
const directory = await mkdtemp(join(tmpdir(), 'vaultterm-power-'))
const password = new Secret(randomBytes(18).toString('base64url'))
const owner = { login: 'power_owner', database: 'power', password }
const app = { login: 'power_app', database: 'power', password }
const running: PostgresServer[] = []
afterAll(async () => {
  await Promise.all(running.map((server) => server.stop()))
  await rm(directory, { recursive: true, force: true })
})

async function start(): Promise<PostgresServer> {
  const server = await startPostgres({
    directory: join(directory, 'postgres'),
    superuserPassword: password,
    log: silent,
    settings: { wal_writer_delay: '10s', wal_writer_flush_after: '1GB', autovacuum: 'off' },
  })
  running.push(server)
  return server
}

async function setUp(server: PostgresServer): Promise<void> {
  await administer(server.superuserUrl, async ({ many, literal }) => {
    const secret = literal(password.reveal())
    await many(`create role ${owner.login} login createrole password ${secret}`)
    await many(`create role ${app.login} login password ${secret}`)
    await many(`create database ${owner.database} owner ${owner.login}`)
  })
  await migrate({
    url: server.url(owner),
    directory: 'migrations',
    sources: [queueTables],
    log: silent,
  })
  await administer(server.superuserUrl, ({ many }) =>
    many(`grant vaultterm_app, vaultterm_system to ${app.login}`),
  )
}

function open(server: PostgresServer): Database {
  return openDatabase({
    url: server.url(app),
    role: 'vaultterm_app',
    log: silent,
    metrics: new Registry(),
  })
}

const signer = createTestSigner()
const opened: AuditEvent = { type: 'session.open', public: { session: 's-1' } }
const file = () => new SignedHeadsFile(join(directory, 'signed-heads'))
const newPublisher = (database: Database, heads: SignedHeads) =>
  new Publisher(database, async () => signer, heads, silent)

/** As file operations are written: committed, and on disk some time later. */
async function appendInMemory(database: Database, tenant: TenantId): Promise<void> {
  await database.write(tenant, async (tx) => {
    await tx.run('set local synchronous_commit = off')
    await appendEvent(tx, opened)
  })
}

interface Wal {
  readonly isFlushed: boolean
  readonly end: string
}

/** Whether the server's log is on disk up to a place, or to its end. */
async function walOf(server: PostgresServer, upTo?: string): Promise<Wal> {
  const [found] = await administer(server.superuserUrl, ({ many }) =>
    many<Wal>(
      `select pg_current_wal_insert_lsn()::text as end,
         pg_current_wal_flush_lsn() >= coalesce($1::pg_lsn, pg_current_wal_insert_lsn()) as "isFlushed"`,
      [upTo ?? null],
    ),
  )
  if (found === undefined) throw new Error('the server does not say where its log is')
  return found
}

test('remembers no head that a power cut could take away', async () => {
  const first = await start()
  await setUp(first)
  const database = open(first)
  const tenant = newTenantId()
  await database.write(tenant, (tx) =>
    tx.run("insert into tenant (tenant_id, slug, name) values ($1, 'acme', 'Acme')", [tenant]),
  )
  // One leaf or more that is committed, and not on disk.
  let wal: Wal
  do {
    await appendInMemory(database, tenant)
    wal = await walOf(first)
  } while (wal.isFlushed)
  const { size } = await database.read(tenant, readTree)

  const heads = file()
  const seen: boolean[] = []
  const cut: SignedHeads = {
    find: (of) => heads.find(of),
    list: () => heads.list(),
    refresh: () => heads.refresh(),
    compact: () => heads.compact(),
    // The worst moment: the head is remembered, and its checkpoint is not written yet.
    async record(head) {
      seen.push((await walOf(first, wal.end)).isFlushed)
      await heads.record(head)
      process.kill(first.pid, 'SIGQUIT')
      await first.exited
    },
  }
  await expect(newPublisher(database, cut).publish(tenant)).rejects.toMatchObject({
    code: 'ERR_DATABASE_UNAVAILABLE',
  })
  await database.close()

  const again = open(await start())
  const remembered = file()
  await remembered.refresh()
  expect(remembered.find(tenant)?.size).toBe(size)
  const node = newPublisher(again, remembered)
  expect(await node.contradiction(tenant)).toBeUndefined()
  await checkLog(again, tenant, size)
  await node.publish(tenant)
  expect(seen).toEqual([true])
  await again.close()
})

test('remembers no head of another node before its leaves are on disk', async () => {
  const server = running.at(-1)
  if (server === undefined) throw new Error('there is no server')
  const database = open(server)
  const tenant = newTenantId()
  await database.write(tenant, (tx) =>
    tx.run("insert into tenant (tenant_id, slug, name) values ($1, 'globex', 'Globex')", [tenant]),
  )
  await appendInMemory(database, tenant)
  await newPublisher(database, file()).publish(tenant)
  // As a server whose commits never wait has it: the checkpoint is there, and not on disk.
  const other = file()
  let asked = 0
  const watched: SignedHeads = {
    find: () => undefined,
    list: () => other.list(),
    refresh: () => other.refresh(),
    compact: () => other.compact(),
    async record(head) {
      asked += 1
      expect((await walOf(server, wal.end)).isFlushed).toBe(true)
      await other.record(head)
    },
  }
  const bystander = newTenantId()
  await database.write(bystander, (tx) =>
    tx.run("insert into tenant (tenant_id, slug, name) values ($1, 'other', 'Other')", [bystander]),
  )
  let wal: Wal
  do {
    await appendInMemory(database, bystander)
    wal = await walOf(server)
  } while (wal.isFlushed)
  await newPublisher(database, watched).publish(tenant)
  expect(asked).toBe(1)
  await database.close()
})
