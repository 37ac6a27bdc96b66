import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import pg from 'pg'
import { Registry } from 'prom-client'
import { afterAll, expect, test } from 'vitest'
import {
  commit,
  decodeLeaf,
  decodePrivate,
  encodeEvent,
  payloadBytesMax,
} from '../../src/audit/event.ts'
import { type AuditEvent, appendEvent, createAudit } from '../../src/audit/index.ts'
import { rootHash } from '../../src/audit/merkle.ts'
import { appendValues } from '../../src/audit/queries.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { checkLog, createTestSigner } from '../support/audit.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'
import { treeHashOf } from '../support/rfc6962.ts'

/** Whoever has the login of a role that serves, and speaks SQL with it. */
const database = await openTestDatabase()
const signer = createTestSigner()
const audit = createAudit({
  database: database.app,
  log: silent,
  metrics: new Registry(),
  signer: async () => signer,
})
const opened: AuditEvent = {
  type: 'session.open',
  public: { session: 's-1', target: 't-1' },
  private: { targetName: 'web1', login: 'root' },
}

const clients: pg.Client[] = []
afterAll(() => Promise.all(clients.map((client) => client.end())))

async function login(url: 'app' | 'bastion', role: string, tenant: TenantId): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.urls[url].reveal() })
  await client.connect()
  clients.push(client)
  await client.query(`set role ${role}`)
  await client.query("select set_config('app.tenant_id', $1, false)", [tenant])
  return client
}

const roles = [
  ['app', 'vaultterm_app'],
  ['app', 'vaultterm_system'],
  ['bastion', 'vaultterm_bastion'],
  ['bastion', 'vaultterm_directory'],
] as const

const hash = `'\\x${'ab'.repeat(32)}'`
/** Each of these would change a log, or lock its tenant out. */
const attacks = [
  "update audit_tree set size = size + 1, hashes = '{}'",
  `update audit_tree set size = size + 1, hashes = array[${hash}::bytea]`,
  'update audit_tree set signed_size = size',
  'update audit_tree set first_leaf = 1000',
  "update audit_tree set origin = 'vaultterm/t/mine'",
  'insert into audit_tree default values',
  'delete from audit_tree',
  'select * from audit_tree for update',
  'select * from audit_tree for share',
  'lock table audit_tree in access exclusive mode',
  'lock table audit_leaf in share mode',
  `insert into audit_leaf (leaf_index, event_id, leaf, leaf_hash)
     values (1, gen_random_uuid(), '{}', ${hash})`,
  `insert into audit_leaf (leaf_index, event_id, leaf, leaf_hash)
     select leaf_index + 1, gen_random_uuid(), leaf, leaf_hash from audit_leaf`,
  `insert into audit_private (event_id, salt, payload) values (gen_random_uuid(), ${hash}, '{}')`,
  "insert into audit_checkpoint (size, hashes, note) values (1, '{}', 'a note')",
  'update audit_leaf set leaf = leaf',
  'update audit_private set payload = payload',
  'update audit_checkpoint set note = note',
  'delete from audit_leaf',
  'delete from audit_private',
  'delete from audit_checkpoint',
  'truncate audit_leaf cascade',
  'truncate audit_checkpoint',
  'insert into audit_unsigned default values on conflict do nothing',
  'delete from audit_unsigned',
  `select audit_grow('{}', 0, ${hash})`,
  `select audit_hmac(${hash}, '')`,
  "select audit_canonical('{}')",
  'select audit_thin()',
  'select audit_mend()',
  'select audit_begin_epoch()',
  'set role vaultterm_audit',
  'set session authorization vaultterm_audit',
  'alter table audit_leaf disable trigger all',
  'create trigger mine before insert on audit_leaf execute function audit_refuse_change()',
  'create or replace function audit_lock() returns void language sql return null',
  'alter function audit_append owner to current_user',
] as const

test.each(roles)('refuses every way around the door to the login %s as %s', async (url, role) => {
  const tenant = await database.createTenant()
  await audit.append(tenant, opened)
  await audit.checkpoint(tenant)
  const client = await login(url, role, tenant)
  for (const attack of attacks) {
    await client.query('begin')
    await expect(client.query(attack), attack).rejects.toMatchObject({
      code: expect.stringMatching(/^42/),
    })
    await client.query('rollback')
  }
  await checkLog(database.app, tenant, 1)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: 1 })
  // Not locked out: the log still grows.
  await audit.append(tenant, opened)
  await checkLog(database.app, tenant, 2)
})

test.each(roles.filter(([, role]) => role !== 'vaultterm_app'))(
  'lets the login %s as %s neither append nor read',
  async (url, role) => {
    const tenant = await database.createTenant()
    await audit.append(tenant, opened)
    const client = await login(url, role, tenant)
    const event = encodeEvent(opened, { now: new Date(), random: randomBytes })
    for (const [text, values] of [
      ['select audit_append($1, $2, $3, $4, $5)', appendValues(event)],
      ['select audit_lock()', []],
      ["select audit_publish(1, '{}', '')", []],
      ['select * from audit_tree', []],
      ['select * from audit_leaf', []],
      ['select * from audit_private', []],
      ['select * from audit_checkpoint', []],
    ] as const) {
      const asked = client.query(text, [...values])
      await expect(asked, text).rejects.toMatchObject({ code: '42501' })
    }
    await checkLog(database.app, tenant, 1)
  },
)

/** Leaves that no log may hold, made from one that it may. */
const forgeries: readonly (readonly [string, (event: Forged) => Forged])[] = [
  ['of no JSON', (event) => ({ ...event, after: Buffer.from('nonsense') })],
  ['of no text', (event) => ({ ...event, after: Buffer.of(0xff, 0xfe) })],
  ['of another event', (event) => ({ ...event, id: '01900000-0000-7000-8000-000000000000' })],
  [
    'of another log',
    (event) => edit(event, 'after', '"', '","log":"vaultterm/t/another"', 'before the rest'),
  ],
  ['with another schema', (event) => edit(event, 'before', '/v1', '/v2')],
  ['with a space', (event) => edit(event, 'after', '"pub":{', '"pub": {')],
  ['with an escape too many', (event) => edit(event, 'after', 's-1', 's\\u002d1')],
  ['with keys in another order', (event) => swapKeys(event)],
  ['with a key twice', (event) => edit(event, 'after', '"session"', '"session":"x","session"')],
  ['with a key of its own', (event) => edit(event, 'after', '"ts"', '"extra":"x","ts"')],
  ['with a number', (event) => edit(event, 'after', '"s-1"', '1')],
  ['with null', (event) => edit(event, 'after', '"s-1"', 'null')],
  ['with a list of a number', (event) => edit(event, 'after', '"s-1"', '[1]')],
  ['with a list with a space', (event) => edit(event, 'after', '"s-1"', '["a", "b"]')],
  ['with an object within', (event) => edit(event, 'after', '"s-1"', '{"a":"b"}')],
  ['with a list for what is public', (event) => edit(event, 'after', /"pub":\{.*?\}/, '"pub":[]')],
  ['without what is public', (event) => edit(event, 'after', /"pub":\{.*?\},/, '')],
  ['without a type', (event) => edit(event, 'after', ',"typ":"session.open"', '')],
  ['with a time that is none', (event) => edit(event, 'after', /"ts":"....-../, '"ts":"2026-13')],
  ['with a time of another form', (event) => edit(event, 'after', /\.\d{3}Z/, 'Z')],
  ['without its commitment', (event) => edit(event, 'after', /"pc":"[^"]*",/, '')],
  [
    'with another commitment',
    (event) => edit(event, 'after', /"pc":"[^"]*"/, `"pc":"${'A'.repeat(43)}"`),
  ],
  ['without its payload', (event) => ({ ...event, payload: null })],
  ['without its salt', (event) => ({ ...event, salt: null })],
  ['without either', (event) => ({ ...event, salt: null, payload: null })],
  ['with a short salt', (event) => ({ ...event, salt: Buffer.alloc(31) })],
  ['with another payload', (event) => ({ ...event, payload: Buffer.from('{"login":"ann"}') })],
  [
    'with keys that sort in two ways',
    (event) => edit(event, 'after', /"pub":\{.*?\}/, '"pub":{"\uFFFD":"x","\u{1F600}":"y"}'),
  ],
  ['with a key of no letters', (event) => edit(event, 'after', '"session"', '"__proto__"')],
  [
    'of the year 10000',
    (event) => edit(event, 'after', /"ts":"[^"]*"/, '"ts":"10000-01-01T00:00:00.000Z"'),
  ],
  ['of more than 8192 bytes', (event) => edit(event, 'after', 's-1', 'x'.repeat(9000))],
  ['of no bytes', (event) => ({ ...event, before: null, after: null })],
]

interface Forged {
  readonly id: string
  readonly before: Buffer | null
  readonly after: Buffer | null
  readonly salt: Buffer | null
  readonly payload: Buffer | null
}

function edit(
  event: Forged,
  part: 'before' | 'after',
  from: string | RegExp,
  to: string,
  _why?: string,
): Forged {
  const text = `${event[part]}`
  const edited = text.replace(from, to)
  expect(edited).not.toBe(text)
  return { ...event, [part]: Buffer.from(edited) }
}

function swapKeys(event: Forged): Forged {
  return edit(event, 'after', '"session":"s-1","target":"t-1"', '"target":"t-1","session":"s-1"')
}

function forgeable(event: AuditEvent): Forged {
  const { id, leaf, private: hidden } = encodeEvent(event, { now: new Date(), random: randomBytes })
  return { id, ...leaf, salt: hidden?.salt ?? null, payload: hidden?.payload ?? null }
}

test.each(forgeries)('takes no leaf %s, also not of the application', async (_, forge) => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  const append = ({ id, before, after, salt, payload }: Forged) =>
    client.query('select audit_append($1, $2, $3, $4, $5)', [id, before, after, salt, payload])
  await expect(append(forge(forgeable(opened)))).rejects.toMatchObject({
    code: expect.stringMatching(/^(VT014|22...|23514)$/),
  })
  // Control: as it was made, it is taken.
  await append(forgeable(opened))
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: 1 })
})

test('attack: the name of the log goes in at its own place, and nowhere else', async () => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  const [tree] = await database.superuser<{ origin: string }>(
    'select origin from audit_tree where tenant_id = $1',
    [tenant],
  )
  const { origin = '' } = tree ?? {}
  const split = (before: Buffer, after: Buffer, event: Forged) =>
    client.query('select audit_append($1, $2, $3, $4, $5)', [
      event.id,
      before,
      after,
      event.salt,
      event.payload,
    ])
  // In each of these the whole is a leaf of this log, with the name of the log in a value.
  for (const value of ['"s-1', '"t-1', '"session.open']) {
    const event = forgeable(opened)
    const whole = `${event.before}${origin}${event.after}`
    const at = whole.indexOf(value) + 1
    await expect(
      split(Buffer.from(whole.slice(0, at)), Buffer.from(whole.slice(at)), event),
    ).rejects.toMatchObject({ code: 'VT014' })
  }
  await checkLog(database.app, tenant, 0)
})

test('attack: takes no private payload that its readers cannot hold', async () => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  const append = (length: number) => {
    const made = forgeable(opened)
    const bytes = Buffer.from(`{"a":"${'a'.repeat(length - 8)}"}`)
    const salt = made.salt ?? Buffer.alloc(32)
    const pc = commit(made.id, salt, bytes).toString('base64url')
    const { id, before, after } = edit(made, 'after', /"pc":"[^"]*"/, `"pc":"${pc}"`)
    return client.query('select audit_append($1, $2, $3, $4, $5)', [id, before, after, salt, bytes])
  }
  await expect(append(payloadBytesMax + 1)).rejects.toMatchObject({ code: 'VT014' })
  // The control: the largest one is taken, and read.
  await append(payloadBytesMax)
  // So is the largest one that strangers can make us write.
  const long = '\u0001'.repeat(5000)
  await audit.append(tenant, {
    type: 'file.operation',
    public: {},
    private: { path: long, to: long, extension: long },
  })
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: 2 })
})

test('attack: one huge payload from before is a fault of its leaf, and the others are read', async () => {
  const tenant = await database.createTenant()
  for (let at = 0; at < 3; at += 1) await audit.append(tenant, opened)
  // A row from before there was a limit.
  await database.pastTriggers(
    `update audit_private
     set payload = convert_to('{"a":"' || repeat('a', ${payloadBytesMax}) || '"}', 'UTF8')
     where tenant_id = '${tenant}' and event_id = (select event_id from audit_leaf
       where tenant_id = '${tenant}' and leaf_index = 1)`,
  )
  const entries = await audit.tail(tenant, { limit: 10 })
  expect(entries.map((entry) => Object.keys(entry.private).length)).toEqual([2, 0, 2])
  expect(await audit.verify(tenant)).toMatchObject({
    ok: false,
    faults: [{ kind: 'private-changed', at: 1 }],
    faultsTotal: 1,
  })
})

test('takes no payload that is not canonical, though the leaf commits to it', async () => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  for (const payload of [
    '{"a": "b"}',
    '{"b":"x","a":"y"}',
    '[]',
    '"x"',
    '{"a":1}',
    '{"a":"\\/"}',
    '{"\uFFFD":"x","\u{1F600}":"y"}',
    '{"":"x"}',
  ]) {
    const made = forgeable(opened)
    const bytes = Buffer.from(payload)
    const salt = made.salt ?? Buffer.alloc(32)
    const pc = commit(made.id, salt, bytes).toString('base64url')
    const { id, before, after } = edit(made, 'after', /"pc":"[^"]*"/, `"pc":"${pc}"`)
    await expect(
      client.query('select audit_append($1, $2, $3, $4, $5)', [id, before, after, salt, bytes]),
      payload,
    ).rejects.toThrow()
  }
  await checkLog(database.app, tenant, 0)
})

test('attack: settings of the caller do not change how the door reads', async () => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  await client.query('set standard_conforming_strings = off')
  await client.query(
    "set bytea_output = 'escape'; set datestyle = 'SQL, DMY'; set timezone = 'Asia/Tokyo'",
  )
  await client.query('create temp table audit_tree (tenant_id uuid, origin text, size bigint)')
  await client.query('create temp table audit_leaf (leaf_index bigint)')
  await client.query('set search_path = pg_temp, public')
  const append = ({ id, before, after, salt, payload }: Forged) =>
    client.query('select public.audit_append($1, $2, $3, $4, $5)', [
      id,
      before,
      after,
      salt,
      payload,
    ])
  await append(forgeable(opened))
  await expect(append(edit(forgeable(opened), 'after', '"pub":{', '"pub": {'))).rejects.toThrow()
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: 1 })
})

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom(
    '", ',
    '", "',
    '\\',
    '\\"',
    '": ',
    '\u2028',
    '\u007f',
    '\b\f\n\r\t\u0001',
    '{"a":1}',
  ),
)
const shown = fc.stringMatching(/^[!-~]{1,40}$/)

test('takes every event that the product encodes', async () => {
  const tenant = await database.createTenant()
  let size = 0
  await fc.assert(
    fc.asyncProperty(
      fc.record({ session: shown, kind: shown, recording: fc.boolean() }, { requiredKeys: [] }),
      fc.option(
        fc.record({ command: text, login: text, targetName: fc.array(text, { maxLength: 4 }) }),
        { nil: undefined },
      ),
      async (shownFacts, hidden) => {
        const event = { type: 'session.start', public: shownFacts, private: hidden } as AuditEvent
        await database.app.write(tenant, (tx) => appendEvent(tx, event))
        size += 1
      },
    ),
    { numRuns: 150 },
  )
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size })
})

/** Objects as texts: a reader takes only some of them. */
const object = fc
  .record({
    members: fc.uniqueArray(
      fc.tuple(
        fc.oneof(
          fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9]{0,3}$/),
          fc.constantFrom('', '__proto__', 'a b', 'a\n', '1', '\uFEFF', '\uFFFD', '\u{1F600}', 'é'),
          fc.string({ unit: 'binary', maxLength: 3 }),
        ),
        fc.oneof(
          { weight: 4, arbitrary: fc.oneof(text, fc.boolean(), fc.array(text, { maxLength: 3 })) },
          fc.constantFrom(0, -0, 1e21, 0.1, null, {}, { b: 'x' }, [[]], [{}], [1], [null]),
        ),
      ),
      { maxLength: 4, selector: ([key]) => key },
    ),
    order: fc.constantFrom('bytes', 'units', 'none'),
    form: fc.constantFrom('plain', 'plain', 'plain', 'twice', 'spaced', 'escaped', 'number'),
  })
  .map(({ members, order, form }) => {
    const sorted = members.toSorted(([a], [b]) => {
      if (order === 'bytes') return Buffer.compare(Buffer.from(a), Buffer.from(b))
      return order === 'units' && a !== b ? (a < b ? -1 : 1) : 0
    })
    const parts = sorted.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`)
    if (form === 'twice') parts.push(...parts.slice(0, 1))
    const whole = `{${parts.join(form === 'spaced' ? ', ' : ',')}}`
    if (form === 'escaped') return whole.replace('a', '\\u0061')
    return form === 'number' ? whole.replace(/"/, '1e400') : whole
  })
const time = fc.oneof(
  { weight: 4, arbitrary: fc.constant('2026-11-30T10:00:00.000Z') },
  fc
    .date({ min: new Date('0000-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59.999Z') })
    .filter((at) => !Number.isNaN(at.getTime()))
    .map((at) => at.toISOString()),
  fc.constantFrom('10000-01-01T00:00:00.000Z', '+010000-01-01T00:00:00.000Z', 'infinity'),
  fc.constantFrom('0000-01-01T00:00:00.000Z', '-000001-01-01T00:00:00.000Z', 'now', ''),
  fc.constantFrom(
    '2026-02-29T00:00:00.000Z',
    '2026-11-30T24:00:00.000Z',
    '2026-06-30T23:59:60.000Z',
  ),
)

test('attack: takes no leaf and no payload that its reader does not read', async () => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  let taken = 0
  const attack = fc.asyncProperty(
    object,
    fc.option(object, { nil: undefined }),
    time,
    fc.oneof(fc.constant('session.open'), text),
    async (shownText, hidden, ts, typ) => {
      const { id, leaf } = encodeEvent(opened, { now: new Date(), random: randomBytes })
      const [salt, payload] = [randomBytes(32), Buffer.from(hidden ?? '')]
      const pc = hidden && `"pc":"${commit(id, salt, payload).toString('base64url')}",`
      const after = Buffer.from(
        `",${pc ?? ''}"pub":${shownText},"ts":"${ts}","typ":${JSON.stringify(typ)}}`,
      )
      const secret = hidden === undefined ? [null, null] : [salt, payload]
      const values = [id, leaf.before, after, ...secret]
      const asked = client.query('select audit_append($1, $2, $3, $4, $5)', values)
      const isTaken = await asked.then(
        () => true,
        () => false,
      )
      if (!isTaken) return
      taken += 1
      expect(decodeLeaf(Buffer.concat([leaf.before, after]))).toBeDefined()
      if (hidden !== undefined) expect(decodePrivate(payload)).toBeDefined()
    },
  )
  await fc.assert(attack, { numRuns: 1000 })
  // The door takes some of what is made here: one in twenty-five.
  expect(taken).toBeGreaterThan(5)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, size: taken })
})

test('grows the tree of the RFC’s own definition', async () => {
  const tenant = await database.createTenant()
  const count = 70
  for (let at = 0; at < count; at += 1) await audit.append(tenant, opened)
  const leaves = await database.superuser<{ leaf: Buffer }>(
    'select leaf from audit_leaf where tenant_id = $1 order by leaf_index',
    [tenant],
  )
  expect(leaves.length).toBe(count)
  const { root } = await audit.verify(tenant)
  expect(root).toBe(treeHashOf(leaves.map(({ leaf }) => leaf)).toString('hex'))
  const [head] = await database.superuser<{ hashes: Buffer[] }>(
    'select hashes from audit_tree where tenant_id = $1',
    [tenant],
  )
  // 70 is 64 + 4 + 2: the roots of three perfect trees.
  const entries = leaves.map(({ leaf }) => leaf)
  expect(head?.hashes).toEqual([
    treeHashOf(entries.slice(0, 64)),
    treeHashOf(entries.slice(64, 68)),
    treeHashOf(entries.slice(68)),
  ])
})

test('keeps a checkpoint only of this log, within it, and beyond the last one', async () => {
  const tenant = await database.createTenant()
  for (let at = 0; at < 3; at += 1) await audit.append(tenant, opened)
  const note = await audit.checkpoint(tenant)
  const [origin = ''] = note.split('\n')
  await audit.append(tenant, opened)
  const client = await login('app', 'vaultterm_app', tenant)
  const [row] = await database.superuser<{ hashes: Buffer[] }>(
    'select hashes from audit_tree where tenant_id = $1',
    [tenant],
  )
  const [root = Buffer.alloc(32)] = row?.hashes ?? []
  const publish = (size: number, hashes: readonly Buffer[], text: string) =>
    client.query<{ kept: boolean }>('select audit_publish($1, $2, $3) as kept', [
      size,
      hashes,
      text,
    ])
  const head = (size: number, of = origin) =>
    `${of}\n${size}\n${root.toString('base64')}\n\n— ${origin} AAAA\n`
  for (const [size, hashes, forged] of [
    [4, [root], 'nonsense'],
    [4, [root], head(5)],
    [4, [root], head(4, 'vaultterm/t/another')],
    [4, [Buffer.alloc(32)], head(4)],
    [4, [], head(4)],
    [5, [root, root], head(5)],
    [2 ** 50, [root], head(2 ** 50)],
  ] as const) {
    await expect(publish(size, hashes, forged), forged).rejects.toMatchObject({ code: 'VT014' })
  }
  expect((await publish(3, [root], head(3))).rows).toEqual([{ kept: false }])
  expect((await publish(-1, [], head(-1))).rows).toEqual([{ kept: false }])
  await audit.checkpoint(tenant)
  expect(await audit.verify(tenant)).toMatchObject({ ok: true, checkpoints: 2, signedSize: 4 })
})

test('keeps no checkpoint whose note states another root than its hashes have', async () => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  for (let at = 0; at < 7; at += 1) await audit.append(tenant, opened)
  const [row] = await database.superuser<{ origin: string; hashes: Buffer[] }>(
    'select origin, hashes from audit_tree where tenant_id = $1',
    [tenant],
  )
  const { origin = '', hashes = [] } = row ?? {}
  // Seven leaves are three perfect trees, so the root is none of the hashes.
  expect(hashes.length).toBe(3)
  const root = rootHash({ size: 7, hashes })
  const publish = (stated: Buffer) => {
    const note = `${origin}\n7\n${stated.toString('base64')}\n\n— ${origin} AAAA\n`
    return client.query('select audit_publish($1, $2, $3) as kept', [7, hashes, note])
  }
  for (const stated of [
    ...hashes,
    Buffer.alloc(32),
    rootHash({ size: 3, hashes: hashes.slice(1) }),
  ])
    await expect(publish(stated)).rejects.toMatchObject({ code: 'VT014' })
  // Control: with the root of its hashes it is kept.
  expect((await publish(root)).rows).toEqual([{ kept: true }])
})

test('attack: keeps no checkpoint with hashes that are none, and reads none from before', async () => {
  const tenant = await database.createTenant()
  const client = await login('app', 'vaultterm_app', tenant)
  for (let at = 0; at < 4; at += 1) await audit.append(tenant, opened)
  const [row] = await database.superuser<{ origin: string }>(
    'select origin from audit_tree where tenant_id = $1',
    [tenant],
  )
  const { origin = '' } = row ?? {}
  const node = Buffer.alloc(32, 1)
  const noteOf = (root: Buffer) => `${origin}\n3\n${root.toString('base64')}\n\n— ${origin} AAAA\n`
  // Its note has the root of these hashes: only their lengths are wrong.
  const rootOf = (first: Buffer) => rootHash({ size: 3, hashes: [first, node] })
  const publish = (hashes: string, note: string) =>
    client.query(`select audit_publish(3, ${hashes}, $1)`, [note])
  const one = `'\\x${node.toString('hex')}'::bytea`
  for (const [hashes, note] of [
    [`array['a'::bytea, ${one}]`, noteOf(rootOf(Buffer.from('a')))],
    [`array[repeat('a', 100000)::bytea, ${one}]`, noteOf(rootOf(Buffer.alloc(100_000, 'a')))],
    [`array[null, ${one}]`, noteOf(rootOf(node))],
    [`array[[${one}, ${one}]]`, noteOf(rootOf(node))],
    [`'[0:1]={}'::bytea[]`, noteOf(rootOf(node))],
    [`array[${one}, ${one}]`, `${noteOf(rootOf(node))}${'a'.repeat(16_384)}`],
    ['null', noteOf(rootOf(node))],
  ] as const) {
    await expect(publish(hashes, note), hashes).rejects.toMatchObject({
      code: expect.stringMatching(/^(VT014|22P02)$/),
    })
  }
  // One from before: it is a forged checkpoint, and signing goes on above it.
  await publish(`array[${one}, ${one}]`, noteOf(rootOf(node)))
  await database.superuser(
    'alter table audit_checkpoint drop constraint audit_checkpoint_hashes_bound',
  )
  await database.pastTriggers(
    `update audit_checkpoint set hashes = array[repeat('a', 100000)::bytea, ${one}]
     where tenant_id = '${tenant}'`,
  )
  await audit.checkpoint(tenant)
  expect(await audit.verify(tenant)).toMatchObject({ forgedCheckpoints: [3], faultsTotal: 1 })
})
