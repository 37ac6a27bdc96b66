import { appendFileSync, existsSync, readFileSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Audit, type AuditEvent, appendEvent, createAudit } from '../../src/audit/index.ts'
import { OwnAppend, OwnAppends } from '../../src/audit/own-appends.ts'
import { parseTenantId, systemTenant, type TenantId } from '../../src/postgres/index.ts'
import { VaultSealed } from '../../src/vault/errors.ts'
import { createTestSigner } from '../support/audit.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

/** A superuser hides acts before their head is signed, and covers the traces. The process remembers them. */
const database = await openTestDatabase()
const signer = createTestSigner()
const audits: Audit[] = []
afterAll(() => Promise.allSettled(audits.map((audit) => audit.close())))

/** A process with a pool of its own, so that it knows of its own appends only. */
function startNode(home?: string, vault: 'open' | 'sealed' = 'open') {
  const metrics = new Registry()
  const audit = createAudit({
    database: database.open('vaultterm_app'),
    log: silent,
    metrics,
    signer: async () => {
      if (vault === 'sealed') throw new VaultSealed()
      return signer
    },
    signedHeads: home && join(home, 'signed-heads'),
    owner: database.urls.owner,
  })
  audits.push(audit)
  const counted = async () =>
    Number((await metrics.metrics()).match(/^bastion_audit_lost_events_total (\d+)$/m)?.[1])
  return { audit, counted }
}

async function newHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'vaultterm-own-'))
  onTestFinished(() => rm(home, { recursive: true }))
  return home
}

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
  await database.superuser(`set session_replication_role = replica;
    update audit_leaf set leaf = leaf || 'x' where tenant_id = '${tenant}' and leaf_index = 0`)
  const operator = startNode(home).audit
  const order = { actor: { kind: 'operator', id: 'cli', name: 'ann' }, reason: 'a test' }
  await operator.repair(tenant, await operator.planRepair(tenant), order)
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: 2, signedSize: 2 })
  expect(await toldOn(audit, tenant, tenant)).toEqual([])
  expect(await counted()).toBe(before)
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
    const left = join(home, 'signed-heads.unsigned')
    expect(readFileSync(left, 'utf8')).toContain(eventId)
    expect(statSync(left).mode & 0o777).toBe(0o600)
    const of = `where tenant_id = '${tenant}'`
    await database.superuser(`set session_replication_role = replica;
      delete from audit_leaf ${of}; delete from audit_unsigned ${of};
      update audit_tree set size = 0, hashes = '{}' ${of}`)
    appendFileSync(left, '{"tenant":"no line')

    const { audit } = startNode(home)
    audit.startPublisher(50)
    await expect
      .poll(() => toldOn(audit, tenant, tenant))
      .toMatchObject([{ public: { count: '2', firstIndex: '0' } }])
    expect(existsSync(left)).toBe(false)
  })
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
