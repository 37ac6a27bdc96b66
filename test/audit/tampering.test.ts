import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import {
  type AuditEvent,
  createAudit,
  type FaultKind,
  formatCheckpoint,
  formatNote,
  parseCheckpoint,
  parseKeptCheckpoints,
  parseNote,
  verifierKey,
} from '../../src/audit/index.ts'
import { keyOf } from '../../src/audit/signer.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { createTestSigner, tamper } from '../support/audit.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'
import { treeHashOf } from '../support/rfc6962.ts'

/**
 * Each kind of tampering that verify knows, done by a superuser in Postgres, for whom neither grants nor
 * triggers nor constraints are in the way.
 */
const database = await openTestDatabase()
const signer = createTestSigner()
const stranger = createTestSigner()

interface Log {
  readonly tenant: TenantId
  readonly origin: string
  readonly audit: ReturnType<typeof createAudit>
  /** The signed notes, of 5, 10, 15 and 20 leaves. */
  readonly notes: readonly string[]
  sql(statement: string): Promise<unknown>
}

const newAudit = () =>
  createAudit({
    database: database.app,
    log: silent,
    metrics: new Registry(),
    signer: async () => signer,
  })

const opened = (at: number): AuditEvent => ({
  type: 'session.open',
  public: { session: `s-${at}` },
  private: { login: `user ${at}` },
})

/** A log of 20 leaves and four checkpoints, and an attacker who changes it. */
async function openLog(): Promise<Log> {
  const tenant = await database.createTenant()
  const audit = newAudit()
  const notes: string[] = []
  for (let at = 1; at <= 20; at += 1) {
    await audit.append(tenant, opened(at))
    if (at % 5 === 0) notes.push(await audit.checkpoint(tenant))
  }
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: 20, checkpoints: 4 })
  const [first = ''] = notes
  const { origin } = parseCheckpoint(parseNote(first).text)
  return {
    tenant,
    origin,
    audit,
    notes,
    sql: (statement) => tamper(database, tenant, statement),
  }
}

/** Sets the head to that of the leaves that are stored, as an attacker would. */
async function setHeadBack({ tenant, sql }: Log): Promise<void> {
  const leaves = await database.superuser<{ leaf: Buffer }>(
    'select leaf from audit_leaf where tenant_id = $1 order by leaf_index',
    [tenant],
  )
  const entries = leaves.map(({ leaf }) => leaf)
  const hashes: Buffer[] = []
  for (let from = 0, left = entries.length; left > 0; ) {
    const part = 2 ** Math.floor(Math.log2(left))
    hashes.push(treeHashOf(entries.slice(from, from + part)))
    from += part
    left -= part
  }
  const list = hashes.map((node) => `'\\x${node.toString('hex')}'::bytea`).join(', ')
  await sql(`update audit_tree set size = ${entries.length}, hashes = array[${list}]::bytea[],
    signed_size = least(signed_size, ${entries.length}) where tenant_id = TENANT`)
}

const where = (index: number) => `where tenant_id = TENANT and leaf_index = ${index}`
const noteAt = (size: number, note: string) =>
  `update audit_checkpoint set note = $note$${note}$note$ where tenant_id = TENANT and size = ${size}`

interface Tampering {
  readonly name: string
  readonly kinds: readonly FaultKind[]
  /** Whether it is seen without any memory from outside of the database. */
  readonly seenInside?: false
  do(log: Log): Promise<unknown>
}

const cases: readonly Tampering[] = [
  {
    name: 'an altered leaf',
    kinds: ['leaf-changed', 'checkpoint-root'],
    do: ({ sql }) =>
      sql(`update audit_leaf set leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 's-7', 's-8'), 'UTF8')
        ${where(6)}`),
  },
  {
    name: 'an altered leaf with the hash to go with it',
    kinds: ['checkpoint-root', 'tree-changed'],
    do: ({ sql }) =>
      sql(`update audit_leaf set leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 's-7', 's-8'), 'UTF8')
        ${where(6)};
        update audit_leaf set leaf_hash = sha256('\\x00'::bytea || leaf) ${where(6)}`),
  },
  {
    name: 'an altered leaf after the last checkpoint, with its hash',
    kinds: ['tree-changed'],
    do: async ({ audit, tenant, sql }) => {
      await audit.append(tenant, opened(21))
      await sql(`update audit_leaf set leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 's-21', 's-22'), 'UTF8')
        ${where(20)};
        update audit_leaf set leaf_hash = sha256('\\x00'::bytea || leaf) ${where(20)}`)
    },
  },
  {
    name: 'an altered leaf hash',
    kinds: ['leaf-changed'],
    do: ({ sql }) => sql(`update audit_leaf set leaf_hash = sha256('x') ${where(3)}`),
  },
  {
    name: 'a leaf of other bytes with the same meaning',
    kinds: ['leaf-malformed', 'leaf-changed'],
    do: ({ sql }) => sql(`update audit_leaf set leaf = leaf || '\\x20'::bytea ${where(3)}`),
  },
  {
    name: 'a deleted leaf',
    kinds: ['leaf-missing'],
    do: ({ sql }) => sql(`delete from audit_leaf ${where(6)}`),
  },
  {
    name: 'a deleted first leaf',
    kinds: ['leaf-missing'],
    do: ({ sql }) => sql(`delete from audit_leaf ${where(0)}`),
  },
  {
    name: 'all leaves deleted',
    kinds: ['leaf-missing', 'checkpoint-beyond-tree'],
    do: ({ sql }) =>
      sql(
        'delete from audit_private where tenant_id = TENANT; delete from audit_leaf where tenant_id = TENANT',
      ),
  },
  {
    name: 'a deleted leaf with the ones behind it moved up',
    kinds: ['checkpoint-root', 'checkpoint-beyond-tree'],
    do: async (log) => {
      await log.sql(`delete from audit_leaf ${where(6)}`)
      for (let at = 7; at < 20; at += 1)
        await log.sql(`update audit_leaf set leaf_index = leaf_index - 1 ${where(at)}`)
      await setHeadBack(log)
    },
  },
  {
    name: 'two leaves in another order',
    kinds: ['checkpoint-root'],
    do: ({ sql }) =>
      sql(`update audit_leaf set leaf_index = 1000 ${where(6)};
        update audit_leaf set leaf_index = 6 ${where(7)};
        update audit_leaf set leaf_index = 7 ${where(1000)}`),
  },
  {
    name: 'an inserted leaf',
    kinds: ['leaf-beyond-tree'],
    do: ({ sql }) =>
      sql(`insert into audit_leaf select tenant_id, 20, gen_random_uuid(), leaf, leaf_hash
        from audit_leaf ${where(6)}`),
  },
  {
    name: 'a leaf at an index that no log has',
    kinds: ['leaf-beyond-tree', 'leaf-missing'],
    do: ({ sql }) =>
      sql(`alter table audit_leaf drop constraint audit_leaf_leaf_index_check;
        insert into audit_leaf select tenant_id, 9223372036854775807, gen_random_uuid(), leaf, leaf_hash
        from audit_leaf ${where(6)}`),
  },
  {
    name: 'a leaf below the first',
    kinds: ['leaf-misplaced'],
    do: ({ sql }) =>
      sql(`alter table audit_leaf drop constraint if exists audit_leaf_leaf_index_check;
        insert into audit_leaf select tenant_id, -1, gen_random_uuid(), leaf, leaf_hash
        from audit_leaf ${where(6)}`),
  },
  {
    name: 'an index twice',
    kinds: ['leaf-misplaced'],
    do: ({ sql }) =>
      sql(`alter table audit_leaf drop constraint if exists audit_leaf_pkey cascade;
        insert into audit_leaf select tenant_id, leaf_index, gen_random_uuid(), leaf, leaf_hash
        from audit_leaf ${where(6)}`),
  },
  {
    name: 'leaves of two tenants swapped',
    kinds: ['leaf-misplaced', 'checkpoint-root'],
    do: async ({ sql }) => {
      const other = await openLog()
      await sql(`
        create temp table mine as select leaf, leaf_hash from audit_leaf ${where(6)};
        update audit_leaf a set leaf = b.leaf, leaf_hash = b.leaf_hash from audit_leaf b
          where a.tenant_id = TENANT and a.leaf_index = 6
            and b.tenant_id = '${other.tenant}' and b.leaf_index = 6;
        update audit_leaf a set leaf = mine.leaf, leaf_hash = mine.leaf_hash from mine
          where a.tenant_id = '${other.tenant}' and a.leaf_index = 6`)
      const report = await other.audit.verify(other.tenant)
      expect(report.faults.map(({ kind }) => kind)).toContain('leaf-misplaced')
    },
  },
  {
    name: 'a leaf filed under another event',
    kinds: ['leaf-misplaced'],
    do: ({ sql }) => sql(`update audit_leaf set event_id = gen_random_uuid() ${where(6)}`),
  },
  {
    name: 'an altered payload',
    kinds: ['private-changed'],
    do: ({ sql }) =>
      sql(`update audit_private p set payload = convert_to('{"login":"ann"}', 'UTF8')
        from audit_leaf l where p.event_id = l.event_id and l.tenant_id = TENANT and l.leaf_index = 6`),
  },
  {
    name: 'another salt',
    kinds: ['private-changed'],
    do: ({ sql }) =>
      sql(`update audit_private p set salt = sha256(salt)
        from audit_leaf l where p.event_id = l.event_id and l.tenant_id = TENANT and l.leaf_index = 6`),
  },
  {
    name: 'a deleted payload',
    kinds: ['private-missing'],
    do: ({ sql }) =>
      sql(`delete from audit_private p using audit_leaf l
        where p.event_id = l.event_id and l.tenant_id = TENANT and l.leaf_index = 6`),
  },
  {
    name: 'a payload without a leaf',
    kinds: ['private-unexpected'],
    do: ({ sql }) =>
      sql(`insert into audit_private select tenant_id, gen_random_uuid(), salt, payload
        from audit_private where tenant_id = TENANT limit 1`),
  },
  {
    name: 'truncation: the last leaves cut, the rest as it was',
    kinds: ['leaf-missing', 'checkpoint-beyond-tree'],
    do: ({ sql }) => sql('delete from audit_leaf where tenant_id = TENANT and leaf_index >= 12'),
  },
  {
    name: 'truncation with the head set back',
    kinds: ['checkpoint-beyond-tree'],
    do: async (log) => {
      await log.sql('delete from audit_leaf where tenant_id = TENANT and leaf_index >= 12')
      await setHeadBack(log)
    },
  },
  {
    name: 'a rollback: fifteen signed leaves cut, the checkpoints above and the head with them',
    kinds: ['rolled-back'],
    seenInside: false,
    do: async (log) => {
      await log.sql(`delete from audit_private p using audit_leaf l where p.event_id = l.event_id
          and l.tenant_id = TENANT and l.leaf_index >= 5;
        delete from audit_leaf where tenant_id = TENANT and leaf_index >= 5;
        delete from audit_checkpoint where tenant_id = TENANT and size > 5`)
      await setHeadBack(log)
    },
  },
  {
    name: 'a fork: rolled back, and grown again beyond its old size',
    kinds: ['rewritten'],
    seenInside: false,
    do: async (log) => {
      await log.sql(`delete from audit_private p using audit_leaf l where p.event_id = l.event_id
          and l.tenant_id = TENANT and l.leaf_index >= 5;
        delete from audit_leaf where tenant_id = TENANT and leaf_index >= 5;
        delete from audit_checkpoint where tenant_id = TENANT and size > 5`)
      await setHeadBack(log)
      for (let at = 0; at < 20; at += 1) await newAudit().append(log.tenant, opened(100 + at))
    },
  },
  {
    name: 'a fork that another node, without a memory, has signed',
    kinds: ['rewritten'],
    seenInside: false,
    do: async (log) => {
      await log.sql(`delete from audit_private p using audit_leaf l where p.event_id = l.event_id
          and l.tenant_id = TENANT and l.leaf_index >= 5;
        delete from audit_leaf where tenant_id = TENANT and leaf_index >= 5;
        delete from audit_checkpoint where tenant_id = TENANT and size > 5`)
      await setHeadBack(log)
      for (let at = 0; at < 20; at += 1) await newAudit().append(log.tenant, opened(100 + at))
      await newAudit().checkpoint(log.tenant)
    },
  },
  {
    name: 'another log in the place of this one',
    kinds: ['log-replaced'],
    seenInside: false,
    do: async (log) => {
      const other = await openLog()
      await log.sql(`delete from audit_private where tenant_id = TENANT;
        delete from audit_leaf where tenant_id = TENANT;
        delete from audit_checkpoint where tenant_id = TENANT;
        update audit_leaf set tenant_id = TENANT where tenant_id = '${other.tenant}';
        update audit_private set tenant_id = TENANT where tenant_id = '${other.tenant}';
        update audit_checkpoint set tenant_id = TENANT where tenant_id = '${other.tenant}';
        update audit_tree set origin = 'vaultterm/t/moved' where tenant_id = '${other.tenant}';
        update audit_tree set origin = '${other.origin}' where tenant_id = TENANT`)
      await setHeadBack(log)
    },
  },
  {
    name: 'a removed head',
    kinds: ['leaf-beyond-tree', 'tree-changed'],
    do: ({ sql }) => sql('delete from audit_tree where tenant_id = TENANT'),
  },
  {
    name: 'a head with a null among its hashes',
    kinds: ['tree-changed'],
    do: ({ sql }) => sql('update audit_tree set hashes[1] = null where tenant_id = TENANT'),
  },
  {
    name: 'a checkpoint with a null among its hashes',
    kinds: ['checkpoint-signature'],
    do: ({ sql }) =>
      sql('update audit_checkpoint set hashes[1] = null where tenant_id = TENANT and size = 15'),
  },
  {
    name: 'checkpoints of sizes that no number holds',
    kinds: ['checkpoint-signature'],
    do: ({ sql }) =>
      sql(`insert into audit_checkpoint select tenant_id, 9223372036854775807 - n, hashes, note
        from audit_checkpoint, generate_series(0, 2) n where tenant_id = TENANT and size = 15`),
  },
  {
    name: 'a head of other hashes',
    kinds: ['tree-changed'],
    do: ({ sql }) =>
      sql(
        "update audit_tree set hashes = array[sha256('a'), sha256('b')] where tenant_id = TENANT",
      ),
  },
  {
    name: 'a head of no log',
    kinds: ['tree-changed'],
    do: ({ sql }) => sql("update audit_tree set hashes = '{}' where tenant_id = TENANT"),
  },
  {
    name: 'a head that is larger than any number',
    kinds: ['tree-changed', 'leaf-missing'],
    do: ({ sql }) =>
      sql('update audit_tree set size = 9223372036854775807 where tenant_id = TENANT'),
  },
  {
    name: 'a head set back, the leaves left',
    kinds: ['leaf-beyond-tree', 'tree-changed'],
    do: ({ sql }) => sql("update audit_tree set size = 0, hashes = '{}' where tenant_id = TENANT"),
  },
  {
    name: 'a checkpoint by a foreign key',
    kinds: ['checkpoint-signature'],
    do: async ({ sql, notes, origin }) => {
      const { text } = parseNote(notes[1] ?? '')
      const key = keyOf(stranger, origin)
      const signature = await stranger.sign(Buffer.from(text))
      const forged = formatNote({
        text,
        signatures: [{ name: origin, keyId: key.keyId, signature }],
      })
      await sql(noteAt(10, forged))
    },
  },
  {
    name: 'a checkpoint by a foreign key under our key’s id',
    kinds: ['checkpoint-signature'],
    do: async ({ sql, notes, origin }) => {
      const { text } = parseNote(notes[1] ?? '')
      const { keyId } = keyOf(signer, origin)
      const signature = await stranger.sign(Buffer.from(text))
      await sql(noteAt(10, formatNote({ text, signatures: [{ name: origin, keyId, signature }] })))
    },
  },
  {
    name: 'a checkpoint of a foreign origin, by our key',
    kinds: ['checkpoint-signature'],
    do: async ({ sql, notes }) => {
      const { size, root } = parseCheckpoint(parseNote(notes[1] ?? '').text)
      const origin = 'vaultterm/t/foreign'
      const text = formatCheckpoint({ origin, size, root })
      const { keyId } = keyOf(signer, origin)
      const signature = await signer.sign(Buffer.from(text))
      await sql(noteAt(10, formatNote({ text, signatures: [{ name: origin, keyId, signature }] })))
    },
  },
  {
    name: 'a checkpoint of a wrong size, by our key',
    kinds: ['checkpoint-signature'],
    do: async ({ sql, notes, origin }) => {
      const { root } = parseCheckpoint(parseNote(notes[1] ?? '').text)
      const text = formatCheckpoint({ origin, size: 11, root })
      const { keyId } = keyOf(signer, origin)
      const signature = await signer.sign(Buffer.from(text))
      await sql(noteAt(10, formatNote({ text, signatures: [{ name: origin, keyId, signature }] })))
    },
  },
  {
    name: 'a checkpoint filed under another size',
    kinds: ['checkpoint-signature'],
    do: ({ sql }) =>
      sql('update audit_checkpoint set size = 11 where tenant_id = TENANT and size = 10'),
  },
  {
    name: 'a checkpoint with an altered text',
    kinds: ['checkpoint-signature'],
    do: ({ sql, notes }) => sql(noteAt(10, (notes[1] ?? '').replace('\n10\n', '\n12\n'))),
  },
  {
    name: 'a checkpoint with an altered root',
    kinds: ['checkpoint-signature'],
    do: ({ sql, notes }) => {
      const { root } = parseCheckpoint(parseNote(notes[1] ?? '').text)
      const other = Buffer.alloc(32).toString('base64')
      return sql(noteAt(10, (notes[1] ?? '').replace(root.toString('base64'), other)))
    },
  },
  {
    name: 'a checkpoint with an altered signature',
    kinds: ['checkpoint-signature'],
    do: ({ sql, notes }) => {
      const note = parseNote(notes[1] ?? '')
      const signatures = note.signatures.map(({ signature, ...one }) => {
        const bent = Buffer.from(signature)
        bent.writeUInt8(bent.readUInt8(10) ^ 1, 10)
        return { ...one, signature: bent }
      })
      return sql(noteAt(10, formatNote({ ...note, signatures })))
    },
  },
  {
    name: 'the checkpoint of another log',
    kinds: ['checkpoint-signature'],
    do: async ({ sql }) => {
      const other = await openLog()
      await sql(noteAt(10, other.notes[1] ?? ''))
    },
  },
  {
    name: 'a checkpoint that is no note',
    kinds: ['checkpoint-signature'],
    do: ({ sql }) => sql(noteAt(10, 'nothing of the kind')),
  },
  {
    name: 'a checkpoint with other hashes beside its note',
    kinds: ['checkpoint-signature'],
    do: ({ sql }) =>
      sql(`update audit_checkpoint set hashes = array[sha256('a'), sha256('b')]
        where tenant_id = TENANT and size = 10`),
  },
  {
    name: 'a checkpoint that was signed for more leaves than there are',
    kinds: ['checkpoint-beyond-tree'],
    do: async ({ sql, origin }) => {
      const root = Buffer.alloc(32, 1)
      const text = formatCheckpoint({ origin, size: 32, root })
      const { keyId } = keyOf(signer, origin)
      const signature = await signer.sign(Buffer.from(text))
      const note = formatNote({ text, signatures: [{ name: origin, keyId, signature }] })
      await sql(`insert into audit_checkpoint (tenant_id, size, hashes, note)
        values (TENANT, 32, array['\\x${root.toString('hex')}'::bytea], $note$${note}$note$)`)
    },
  },
]

test.each(cases)('finds $name', async (tampering) => {
  const log = await openLog()
  await tampering.do(log)
  const { ok, faults } = await log.audit.verify(log.tenant)
  expect(ok).toBe(false)
  expect(faults.map(({ kind }) => kind)).toEqual(expect.arrayContaining([...tampering.kinds]))
  // With a checkpoint that was kept elsewhere it is found without what this node remembers.
  const kept = parseKeptCheckpoints(log.notes.at(-1) ?? '')
  const elsewhere = await newAudit().verify(log.tenant, { kept })
  expect(elsewhere.ok).toBe(false)
  const inside = await newAudit().verify(log.tenant)
  expect(inside.ok).toBe(tampering.seenInside === false)
})

test('compares a log with checkpoints that were kept elsewhere', async () => {
  const { audit, tenant, notes, origin } = await openLog()
  for (const note of notes) {
    const report = await audit.verify(tenant, { kept: parseKeptCheckpoints(note) })
    expect(report).toMatchObject({ ok: true, kept: 1 })
  }
  const foreign = await openLog()
  const verify = async (text: string) =>
    (await audit.verify(tenant, { kept: parseKeptCheckpoints(text) })).faults
  expect(await verify(foreign.notes[3] ?? '')).toMatchObject([
    { kind: 'log-replaced', detail: expect.stringContaining(foreign.origin) },
  ])
  // Among several, those of other logs are passed over.
  const printed = [foreign, { notes }].map(({ notes: all }, at) => `# t${at}\n${all[3]}\n`).join('')
  expect(await verify(printed)).toEqual([])
  const json = JSON.stringify(notes.map((note) => ({ tenant: 'acme', note })))
  expect(await verify(json)).toEqual([])
  const altered = (notes[3] ?? '').replace('\n20\n', '\n19\n')
  expect(await verify(altered)).toMatchObject([{ kind: 'log-replaced' }])
  const key = verifierKey(origin, keyOf(stranger, origin).publicKey)
  const { text } = parseNote(notes[3] ?? '')
  const signature = await stranger.sign(Buffer.from(text))
  const forged = formatNote({ text, signatures: [{ ...key, signature }] })
  expect(await verify(forged)).toMatchObject([{ kind: 'log-replaced' }])
  const other = await openLog()
  const size = formatCheckpoint({ ...parseCheckpoint(text), size: 21 })
  const { keyId } = keyOf(signer, origin)
  const signed = await signer.sign(Buffer.from(size))
  const larger = formatNote({
    text: size,
    signatures: [{ name: origin, keyId, signature: signed }],
  })
  expect(await verify(larger)).toMatchObject([{ kind: 'rolled-back', at: 21 }])
  expect(() => parseKeptCheckpoints(`${other.origin}\n20\n`)).toThrow('no checkpoint')
})
