import { fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  chownSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Audit, type AuditEvent, appendEvent, createAudit } from '../../src/audit/index.ts'
import { OwnAppend, OwnAppends } from '../../src/audit/own-appends.ts'
import { UnsignedAppends } from '../../src/audit/unsigned-appends.ts'
import { parseTenantId, systemTenant, type TenantId } from '../../src/postgres/index.ts'
import { VaultSealed } from '../../src/vault/errors.ts'
import { createTestSigner } from '../support/audit.ts'
import { passTime } from '../support/boot-clock.ts'
import { openWay } from '../support/database-way.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

/** A superuser hides acts before their head is signed, and covers the traces. The process remembers them. */
const database = await openTestDatabase()
const signer = createTestSigner()

/** A process with a pool of its own, so that it knows of its own appends only. */
function startNode(home?: string, vault: 'open' | 'sealed' = 'open', url?: string) {
  const metrics = new Registry()
  let asked = 0
  const audit = createAudit({
    database: database.open('vaultterm_app', {}, url),
    log: silent,
    metrics,
    signer: async () => {
      asked += 1
      if (vault === 'sealed') throw new VaultSealed()
      return signer
    },
    signedHeads: home && join(home, 'signed-heads'),
    owner: database.urls.owner,
  })
  // A publisher that goes on would sign the logs of the next test. A close may find what was lost.
  onTestFinished(() => audit.close().catch(() => {}))
  const counted = async () =>
    Number((await metrics.metrics()).match(/^bastion_audit_lost_events_total (\d+)$/m)?.[1])
  return { audit, counted, asked: () => asked }
}

async function newHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'vaultterm-own-'))
  onTestFinished(() => rm(home, { recursive: true }))
  return home
}

/** The files in a home with what processes could not see signed. */
const leftIn = (home: string) =>
  readdirSync(home)
    .filter((name) => name.startsWith('signed-heads.unsigned'))
    .map((name) => join(home, name))

const textLeftIn = (home: string) =>
  leftIn(home)
    .map((path) => readFileSync(path, 'utf8'))
    .join('')

/** A superuser removes the events of a log from an index on, and what says that there were any. */
async function cut(tenant: TenantId, setHeadBack: () => Promise<void>, from: number) {
  await database.superuser(`set session_replication_role = replica;
    delete from audit_leaf l using audit_tree t where l.tenant_id = '${tenant}'
      and t.tenant_id = l.tenant_id and l.leaf_index >= t.first_leaf + ${from}`)
  await setHeadBack()
}

const order = { actor: { kind: 'operator', id: 'cli', name: 'ann' }, reason: 'a test' }

/** A signed leaf is changed; an operator's command gives the log up. */
async function giveUp(home: string, tenant: TenantId): Promise<void> {
  const operator = startNode(home).audit
  await operator.repair(tenant, await operator.planRepair(tenant), order)
}

const change = (tenant: TenantId) =>
  database.superuser(`set session_replication_role = replica;
    update audit_leaf set leaf = leaf || 'x' where tenant_id = '${tenant}' and leaf_index = 0`)

/** Answers how a superuser sets the head back to what it is now, with its leaves left behind it. */
async function keepHead(tenant: TenantId): Promise<() => Promise<void>> {
  await database.superuser(
    `create table kept as select * from audit_tree where tenant_id = '${tenant}'`,
  )
  return async () => {
    await database.superuser(`set session_replication_role = replica;
      update audit_tree t set size = k.size, hashes = k.hashes, signed_size = k.signed_size
        from kept k where t.tenant_id = k.tenant_id;
      delete from audit_unsigned where tenant_id = '${tenant}';
      drop table kept`)
  }
}

const opened: AuditEvent = { type: 'session.open', public: { session: 's-1' } }
const arguments_ = 'id uuid, before bytea, after bytea, salt bytea, payload bytea'

/** Puts another body into the function that appends; answers how to cover that. */
async function swapDoor(body: string): Promise<() => Promise<void>> {
  const [row] = await database.superuser(
    "select pg_get_functiondef('audit_append'::regproc) as text",
  )
  await database.superuser(`alter function audit_append rename to audit_append_kept;
    create function audit_append(${arguments_}) returns bigint
      language plpgsql security definer as $swap$ declare landed bigint; begin ${body} end $swap$;
    grant execute on function audit_append to vaultterm_app`)
  let covered = false
  const cover = async () => {
    if (covered) return
    covered = true
    await database.superuser(`drop function audit_append;
      alter function audit_append_kept rename to audit_append`)
    const [now] = await database.superuser(
      "select pg_get_functiondef('audit_append'::regproc) as text",
    )
    expect(now).toEqual(row)
  }
  onTestFinished(cover)
  return cover
}

const toldOn = async (audit: Audit, log: TenantId, tenant: TenantId) =>
  (await audit.tail(log, { limit: 100 })).filter(
    (one) => one.type === 'audit.lost' && one.public.tenant === tenant,
  )

const keep = 'public.audit_append_kept(id, before, after, salt, payload)'
const swaps: readonly (readonly [string, string])[] = [
  [
    'appends nothing and gives the next place',
    'select size into landed from public.audit_tree where tenant_id = current_setting($t$app.tenant_id$t$)::uuid; return landed;',
  ],
  ['gives the place of another event', 'return 0;'],
  ['gives a place that no log has yet', 'return 4611686018427;'],
  [
    'appends another act',
    `return public.audit_append_kept(id, before,
       convert_to(replace(convert_from(after, $t$UTF8$t$), $t$s-1$t$, $t$s-2$t$), $t$UTF8$t$), salt, payload);`,
  ],
  [
    'appends it to another log',
    `perform set_config($t$app.tenant_id$t$, $t$${systemTenant}$t$, true); return ${keep};`,
  ],
]

test.each(swaps)(
  'attack: a superuser swaps the door for one that %s, and covers it',
  async (_, body) => {
    const { audit, counted } = startNode()
    const tenant = await database.createTenant()
    await audit.append(tenant, { type: 'session.open', public: { session: 's-0' } })
    await audit.checkpoint(tenant)
    const before = await counted()
    const cover = await swapDoor(body)
    const hidden = await audit.append(tenant, opened)
    await cover()

    await audit.checkpointAll()
    for (const log of [tenant, systemTenant]) {
      expect(await toldOn(audit, log, tenant)).toMatchObject([
        { public: { tenant, count: '1', firstEvent: hidden.eventId } },
      ])
    }
    expect(await counted()).toBe(before + 1)
    // It is on record, and signed: the log goes on.
    audit.requireSound()
    await audit.append(tenant, opened)
    await audit.checkpoint(tenant)
    expect(await toldOn(audit, tenant, tenant)).toHaveLength(1)
    expect(await audit.verify(tenant)).toMatchObject({ ok: true })
  },
)

test('attack: while the door takes nothing the node is not ready, and what was lost is told once it does', async () => {
  const { audit } = startNode()
  const tenant = await database.createTenant()
  await audit.append(tenant, { type: 'session.open', public: { session: 's-0' } })
  await audit.checkpoint(tenant)
  const cover = await swapDoor(swaps[0]?.[1] ?? '')
  const hidden = [await audit.append(tenant, opened), await audit.append(tenant, opened)]
  await audit.checkpointAll()
  expect(() => audit.requireSound()).toThrow(expect.objectContaining({ contradiction: 'lost' }))
  await expect(audit.checkpoint(tenant)).rejects.toMatchObject({ code: 'ERR_AUDIT_INCONSISTENT' })
  await cover()

  await expect
    .poll(
      async () => {
        await audit.checkpointAll()
        return toldOn(audit, tenant, tenant)
      },
      { interval: 200 },
    )
    .toMatchObject([{ public: { firstEvent: hidden[0]?.eventId } }])
  audit.requireSound()
})

test('attack: a superuser cuts the end of a log before its head is signed', async () => {
  const { audit } = startNode()
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  const of = `where tenant_id = '${tenant}'`
  const setHeadBack = await keepHead(tenant)
  await audit.append(tenant, opened)
  const cut = await audit.append(tenant, opened)
  await database.superuser(`set session_replication_role = replica;
    delete from audit_leaf ${of} and leaf_index > 0`)
  await setHeadBack()
  // Another event takes the place of one that was cut.
  await audit.append(tenant, opened)
  await audit.checkpointAll()
  const told = await toldOn(audit, tenant, tenant)
  expect(told).toMatchObject([{ public: { count: '2', firstIndex: '1', size: '2' } }])
  expect(cut.leafIndex).toBe(2)
})

test('what did not commit is not missed', async () => {
  const { audit, counted } = startNode()
  const tenant = await database.createTenant()
  const before = await counted()
  const undone = database.app.write(tenant, async (tx) => {
    await appendEvent(tx, opened)
    throw new Error('undone')
  })
  await expect(undone).rejects.toThrow('undone')
  let attempts = 0
  await database.app.write(
    tenant,
    async (tx) => {
      await appendEvent(tx, opened)
      attempts += 1
      if (attempts === 1) await tx.run(`do $$ begin raise sqlstate '40001'; end $$`)
    },
    { retry: true },
  )
  await audit.checkpoint(tenant)
  expect(await toldOn(audit, tenant, tenant)).toEqual([])
  expect(await counted()).toBe(before)
  expect(attempts).toBe(2)
})

test('events that are appended while their log is compared are not missed', async () => {
  const [one, other] = [startNode(), startNode()]
  const tenant = await database.createTenant()
  const before = await one.counted()
  let busy = true
  const lanes = Array.from({ length: 4 }, async (_, lane) => {
    for (let at = 0; at < 100; at += 1) await (lane % 2 ? one : other).audit.append(tenant, opened)
  })
  const signing = [one, other].map(async ({ audit }) => {
    while (busy) await audit.checkpoint(tenant)
  })
  await Promise.all(lanes)
  busy = false
  await Promise.all(signing)
  await one.audit.checkpoint(tenant)
  expect(await one.audit.verify(tenant)).toMatchObject({ ok: true, size: 400 })
  expect(await one.counted()).toBe(before)
})

test('events of a log that an operator gave up are not missed', async () => {
  const home = await newHome()
  const { audit, counted } = startNode(home)
  const tenant = await database.createTenant()
  const before = await counted()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  await audit.append(tenant, opened)
  await change(tenant)
  await giveUp(home, tenant)
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: 2, signedSize: 2 })
  expect(await toldOn(audit, tenant, tenant)).toEqual([])
  expect(await counted()).toBe(before)
})

test('attack: an act that the log lost before an operator gave it up is told on the next one', async () => {
  const home = await newHome()
  const { audit } = startNode(home)
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  const setHeadBack = await keepHead(tenant)
  const hidden = await audit.append(tenant, opened)
  await cut(tenant, setHeadBack, 1)
  await change(tenant)
  await giveUp(home, tenant)
  await audit.checkpoint(tenant)
  expect(await toldOn(audit, tenant, tenant)).toMatchObject([
    { public: { count: '1', firstEvent: hidden.eventId } },
  ])
})

test('attack: an act on the log that took the place of another is no act of the former one', async () => {
  const home = await newHome()
  const { audit } = startNode(home)
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  await change(tenant)
  // It waits from here on, because the log cannot be signed.
  await audit.checkpointAll()
  await giveUp(home, tenant)
  const setHeadBack = await keepHead(tenant)
  // The process has not looked since, and knows only the former log.
  const hidden = await audit.append(tenant, opened)
  await cut(tenant, setHeadBack, 1)
  // It does not wait with the new log.
  await audit.checkpointAll()
  expect(await toldOn(audit, tenant, tenant)).toMatchObject([
    { public: { count: '1', firstEvent: hidden.eventId } },
  ])
  audit.requireSound()
})

test('attack: an act that is moved into a former log, with its name, is no act of that one', async () => {
  const home = await newHome()
  const { audit } = startNode(home)
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  const of = `where tenant_id = '${tenant}'`
  const [former] = await database.superuser<{ origin: string }>(
    `select origin from audit_tree ${of}`,
  )
  await change(tenant)
  await giveUp(home, tenant)
  await audit.checkpoint(tenant)
  const setHeadBack = await keepHead(tenant)
  const { eventId } = await audit.append(tenant, opened)
  await setHeadBack()
  await database.superuser(`set session_replication_role = replica;
    delete from audit_leaf ${of} and leaf_index = 0;
    update audit_leaf l set leaf_index = 0, leaf = convert_to(replace(
      convert_from(leaf, 'UTF8'), t.origin, '${former?.origin}'), 'UTF8')
    from audit_tree t where t.tenant_id = l.tenant_id and l.event_id = '${eventId}'`)
  await audit.checkpointAll()
  expect(await toldOn(audit, tenant, tenant)).toMatchObject([{ public: { firstEvent: eventId } }])
})

test('attack: a clock that is set back keeps no log from being signed', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  onTestFinished(() => void vi.useRealTimers())
  const { audit, asked } = startNode(undefined, 'sealed')
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpointAll()
  expect(asked()).toBeGreaterThan(0)
  vi.setSystemTime(Date.now() - 24 * 3600_000)
  const before = asked()
  passTime(6000)
  await audit.checkpointAll()
  expect(asked()).toBeGreaterThan(before)
})

test('attack: a leaf that waits beyond the head is no part of the log', async () => {
  const { audit } = startNode()
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  const of = `where tenant_id = '${tenant}'`
  const setHeadBack = await keepHead(tenant)
  const hidden = await audit.append(tenant, opened)
  // Only the head is set back: the leaf stays until the process has looked.
  await setHeadBack()
  await audit.checkpointAll()
  await database.superuser(`set session_replication_role = replica;
    delete from audit_leaf ${of} and event_id = '${hidden.eventId}'`)
  await audit.checkpointAll()
  await expect
    .poll(async () => {
      await audit.checkpointAll()
      return toldOn(audit, tenant, tenant)
    })
    .toMatchObject([{ public: { firstEvent: hidden.eventId } }])
})

test('attack: a leaf that is moved before the first one of the log is no part of it', async () => {
  const { audit } = startNode()
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  const hidden = await audit.append(tenant, opened)
  const of = `where tenant_id = '${tenant}'`
  await database.superuser(`set session_replication_role = replica;
    delete from audit_unsigned ${of};
    update audit_leaf set leaf_index = leaf_index + 100 ${of};
    update audit_leaf set leaf_index = 0 ${of} and event_id = '${hidden.eventId}';
    update audit_leaf set leaf_index = 1 ${of} and leaf_index = 100;
    update audit_checkpoint set size = size + 1 ${of};
    update audit_tree set first_leaf = 1, size = 1, signed_size = 1,
      hashes = array(select leaf_hash from audit_leaf ${of} and leaf_index = 1) ${of}`)
  await audit.checkpointAll()
  expect(await toldOn(audit, tenant, tenant)).toMatchObject([
    { public: { count: '1', firstEvent: hidden.eventId } },
  ])
})

test('attack: a leaf below a head that another process signed is hashed, and not only looked at', async () => {
  const home = await newHome()
  const { audit } = startNode(home)
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  const cover = await swapDoor(`return public.audit_append_kept(id, before,
    convert_to(replace(convert_from(after, $t$UTF8$t$), $t$s-1$t$, $t$s-2$t$), $t$UTF8$t$), salt, payload);`)
  const hidden = await audit.append(tenant, opened)
  await cover()
  // A command signs the log with the other leaf. Then the true one is shown, while the process looks.
  await startNode(home).audit.checkpoint(tenant)
  await database.superuser(`set session_replication_role = replica;
    update audit_leaf set leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 's-2', 's-1'), 'UTF8')
    where tenant_id = '${tenant}' and event_id = '${hidden.eventId}'`)
  await expect(audit.checkpoint(tenant)).rejects.toMatchObject({ contradiction: 'rewritten' })
})

describe('at the end of a process', () => {
  test('attack: a command finds that its act is not on the log', async () => {
    const { audit } = startNode()
    const tenant = await database.createTenant()
    const cover = await swapDoor(swaps[0]?.[1] ?? '')
    const { eventId } = await audit.append(tenant, opened)
    await cover()
    await expect(audit.close()).rejects.toThrow(eventId)
    expect(await toldOn(startNode().audit, tenant, tenant)).toHaveLength(1)
  })

  test('attack: what a command appended is signed when it is gone', async () => {
    const home = await newHome()
    const { audit } = startNode(home)
    const tenant = await database.createTenant()
    await audit.append(tenant, opened)
    await audit.close()
    expect(await startNode(home).audit.verify(tenant)).toMatchObject({
      ok: true,
      size: 1,
      signedSize: 1,
      rememberedSize: 1,
    })
  })

  test('attack: what could not be signed at the end is compared by the next process', async () => {
    const home = await newHome()
    const sealed = startNode(home, 'sealed')
    const tenant = await database.createTenant()
    await sealed.audit.append(tenant, opened)
    const { eventId } = await sealed.audit.append(tenant, opened)
    await sealed.audit.close()
    const [left = ''] = leftIn(home)
    expect(readFileSync(left, 'utf8')).toContain(eventId)
    expect(statSync(left).mode & 0o777).toBe(0o600)
    await cut(tenant, await emptied(tenant), 0)
    appendFileSync(left, '{"tenant":"no line')

    const { audit } = startNode(home)
    audit.startPublisher(50)
    await expect
      .poll(() => toldOn(audit, tenant, tenant))
      .toMatchObject([{ public: { count: '2', firstIndex: '0' } }])
    await expect.poll(() => leftIn(home)).toEqual([])
  })

  const emptied = async (tenant: TenantId) => async () => {
    await database.superuser(`set session_replication_role = replica;
      delete from audit_unsigned where tenant_id = '${tenant}';
      update audit_tree set size = 0, hashes = '{}' where tenant_id = '${tenant}'`)
  }

  test.each([
    ['as it is written now', undefined],
    ['of a version that knew no name of a log', 'signed-heads.unsigned'],
    ['that an older version left while it read it', `signed-heads.unsigned.${randomUUID()}.taken`],
  ])(
    'attack: a process that has read a file %s, and could not sign yet, may be killed',
    async (_, name) => {
      const home = await newHome()
      const command = startNode(home, 'sealed').audit
      const tenant = await database.createTenant()
      const { eventId } = await command.append(tenant, opened)
      await command.close()
      if (name !== undefined) {
        const [left = ''] = leftIn(home)
        expect(readFileSync(left, 'utf8')).not.toContain('origin')
        renameSync(left, join(home, name))
      }
      const killed = startNode(home, 'sealed')
      killed.audit.startPublisher(20)
      // A round that asks for the key has read the file before.
      await expect.poll(() => killed.asked()).toBeGreaterThan(0)
      await cut(tenant, await emptied(tenant), 0)

      const { audit } = startNode(home)
      audit.startPublisher(50)
      await expect
        .poll(() => toldOn(audit, tenant, tenant))
        .toMatchObject([{ public: { firstEvent: eventId } }])
    },
  )

  test.runIf(process.getuid?.() === 0)(
    'attack: what a command of root leaves can be read by the user who serves',
    async () => {
      const home = await newHome()
      chownSync(home, 65_534, 65_534)
      const { audit } = startNode(home, 'sealed')
      await audit.append(await database.createTenant(), opened)
      await audit.close()
      const [left = ''] = leftIn(home)
      expect(statSync(left)).toMatchObject({ uid: 65_534, gid: 65_534 })
    },
  )

  test.each(['with', 'without'])(
    'what was left of a log that an operator gave up meanwhile is not missed, %s its name in the file',
    async (names) => {
      const home = await newHome()
      const { audit, counted } = startNode(home)
      const tenant = await database.createTenant()
      await audit.append(tenant, opened)
      await audit.checkpoint(tenant)
      const sealed = startNode(home, 'sealed').audit
      await sealed.remembered()
      await sealed.append(tenant, opened)
      await sealed.close()
      await change(tenant)
      const [left = ''] = leftIn(home)
      const text = readFileSync(left, 'utf8')
      expect(text).toContain('"origin":"')
      if (names === 'without') writeFileSync(left, text.replace(/,"origin":"[^"]*"/g, ''))
      await giveUp(home, tenant)

      const next = startNode(home)
      const before = await counted()
      next.audit.startPublisher(50)
      await expect.poll(() => leftIn(home)).toEqual([])
      await next.audit.checkpoint(tenant)
      expect(await toldOn(next.audit, tenant, tenant)).toEqual([])
      expect(await counted()).toBe(before)
      expect(await next.audit.verify(tenant)).toMatchObject({ ok: true })
    },
  )

  test('attack: a database that says nothing keeps no process from its end, and hides no act of many logs', async () => {
    const home = await newHome()
    const way = await openWay(database.urls.app)
    const { audit } = startNode(home, 'open', way.url)
    const tenants = await Promise.all(Array.from({ length: 24 }, () => database.createTenant()))
    const ids: string[] = []
    for (const tenant of tenants) ids.push((await audit.append(tenant, opened)).eventId)
    way.silence()
    const beganMs = performance.now()
    const closed = audit.close()
    // Before anything is asked of the database.
    for (const id of ids) expect(textLeftIn(home)).toContain(id)
    await closed
    expect(performance.now() - beganMs).toBeLessThan(15_000)
    for (const id of ids) expect(textLeftIn(home)).toContain(id)
    expect(leftIn(home)).toHaveLength(1)
  })

  test.each([
    ['is told to stop, and is killed while it waits for others', 'SIGTERM'],
    ['ends by an error that nobody caught', 'SIGUSR2'],
  ] as const)('attack: a process that %s hides no act', async (_, signal) => {
    const home = await newHome()
    const tenant = await database.createTenant()
    const child = fork(join(import.meta.dirname, '../support/stuck-server.ts'), {
      env: {
        ...process.env,
        HOME_OF_IT: home,
        URL_OF_IT: database.urls.app.reveal(),
        TENANT: tenant,
      },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    const ended = once(child, 'exit')
    onTestFinished(() => void child.kill('SIGKILL'))
    const [eventId] = await once(child, 'message')
    expect(leftIn(home)).toEqual([])
    child.kill(signal)
    await expect.poll(() => textLeftIn(home)).toContain(eventId)
    child.kill('SIGKILL')
    await ended
    expect(textLeftIn(home)).toContain(eventId)
  })
})

test('attack: what a command leaves is read once at least, while others read and remove', async () => {
  const home = await newHome()
  const path = join(home, 'signed-heads.unsigned')
  const digest = Buffer.alloc(32)
  const seen = new Set<number>()
  let busy = true
  const reading = Array.from({ length: 2 }, async () => {
    const own = new OwnAppends()
    const files = new UnsignedAppends(path, own)
    while (busy || leftIn(home).length > 0) {
      await files.take((log, append) => {
        seen.add(append.index)
        own.add(log, append)
      })
      for (const log of own.tenants()) own.forget(log, { appends: [...own.of(log)] })
      await files.release()
    }
  })
  for (let index = 0; index < 200; index += 1) {
    const own = new OwnAppends()
    own.add(systemTenant, new OwnAppend({ id: `e-${index}`, index, nameAt: 1, digest }))
    new UnsignedAppends(path, own).keep()
    await new Promise(setImmediate)
  }
  busy = false
  await Promise.all(reading)
  expect(seen.size).toBe(200)
})

test('remembers a bounded number of events, the newest of each log, and says how many it gave up', async () => {
  const own = new OwnAppends()
  const [busy, quiet] = ['1', '2'].map((end) => parseTenantId(`${systemTenant.slice(0, -1)}${end}`))
  if (busy === undefined || quiet === undefined) throw new Error('two tenants')
  const leaf = { before: Buffer.from('{"log":"'), after: Buffer.from('"}') }
  const appendOf = (index: number) => OwnAppend.of({ id: `e-${index}`, leaf }, index)
  own.add(quiet, appendOf(0))
  for (let at = 0; at < 20_010; at += 1) own.add(busy, appendOf(at))
  const { lost, givenUp } = await own.compare(busy).finish(
    // Nothing is in this log.
    { many: async () => [] } as never,
    { origin: 'x', firstLeaf: 0, size: 0 },
  )
  expect(lost).toHaveLength(20_000)
  expect(lost[0]?.index).toBe(10)
  expect(givenUp).toBe(10)
  own.forget(busy, { appends: lost })
  expect(own.tenants()).toEqual([quiet, busy])
  own.forget(busy, { appends: [], givenUp })
  expect(own.tenants()).toEqual([quiet])
})
