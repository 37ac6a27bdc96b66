import type pg from 'pg'
import type { Database, ReadTx, TenantId } from '../../src/postgres/index.ts'

/** A statement as it went to the database. */
export interface Statement {
  readonly text: string
  readonly values: readonly unknown[]
}

/** What a statement did, as EXPLAIN (ANALYZE) tells it. */
export interface Execution {
  readonly text: string
  /** Of the execution alone: the plan of a named statement is made once. */
  readonly ms: number
  /** Rows that were read from tables and indexes, those that a filter dropped among them. */
  readonly rowsRead: number
  /** Tables that were read from end to end, and are not small. */
  readonly scanned: readonly string[]
  /** The plan in short: each node with its index, its condition and the rows of all its loops. */
  readonly plan: readonly string[]
}

/** A database that also says which statements its reads sent. */
export function recordStatements(database: Database): {
  readonly database: Database
  taken(): readonly Statement[]
} {
  let statements: Statement[] = []
  const record = (tx: ReadTx): ReadTx => ({
    one: (text, values = []) => note(text, values, () => tx.one(text, values)),
    maybe: (text, values = []) => note(text, values, () => tx.maybe(text, values)),
    many: (text, values = []) => note(text, values, () => tx.many(text, values)),
    last: () => record(tx.last()),
  })
  function note<T>(text: string, values: readonly unknown[], ask: () => T): T {
    statements.push({ text, values })
    return ask()
  }
  return {
    database: {
      ...database,
      read: (tenant, work, options) => database.read(tenant, (tx) => work(record(tx)), options),
      write: (tenant, work, options) => database.write(tenant, work, options),
      system: (work) => database.system(work),
      ping: () => database.ping(),
      listen: (channel, onPayload) => database.listen(channel, onPayload),
      close: () => database.close(),
      [Symbol.asyncDispose]: () => database.close(),
    },
    taken() {
      const all = statements
      statements = []
      return all
    },
  }
}

/** Such a table has few pages, and is best read whole. */
const smallTable = 50

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly 'Index Cond'?: string
  readonly 'Actual Total Time'?: number
  readonly Filter?: string
  readonly 'Actual Rows'?: number
  readonly 'Actual Loops'?: number
  readonly 'Rows Removed by Filter'?: number
  readonly 'Rows Removed by Index Recheck'?: number
  readonly Plans?: readonly PlanNode[]
}

/**
 * Runs a statement as the application does, in a tenant's transaction, and tells what it did; with a plan
 * for its values, or with the generic one that a named statement may get later.
 */
export async function explain(
  client: pg.Client,
  tenant: TenantId,
  { text, values }: Statement,
  plan: 'custom' | 'generic',
): Promise<Execution> {
  const given = values.map((value) => literal(client, value)).join(', ')
  await client.query('begin')
  try {
    await client.query("select set_config('app.tenant_id', $1, true)", [tenant])
    await client.query(`set local plan_cache_mode = force_${plan}_plan`)
    await client.query(`prepare asked as ${text}`)
    const call = values.length === 0 ? 'asked' : `asked(${given})`
    const explained = `explain (analyze, format json) execute ${call}`
    const { rows } = await client.query<{
      'QUERY PLAN': [{ Plan: PlanNode; 'Execution Time': number }]
    }>(explained)
    const [answer] = rows[0]?.['QUERY PLAN'] ?? []
    if (answer === undefined) throw new Error('EXPLAIN tells a plan')
    const scans = nodesOf(answer.Plan).filter((node) => /Scan$/.test(node['Node Type']))
    return {
      text,
      ms: answer['Execution Time'],
      plan: linesOf(answer.Plan, 0),
      rowsRead: scans.reduce((sum, node) => sum + rowsOf(node), 0),
      scanned: scans.flatMap((node) =>
        node['Node Type'].endsWith('Seq Scan') && rowsOf(node) > smallTable
          ? [node['Relation Name'] ?? '?']
          : [],
      ),
    }
  } finally {
    await client.query('rollback')
    await client.query('deallocate all')
  }
}

function nodesOf(node: PlanNode): readonly PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)]
}

function linesOf(node: PlanNode, depth: number): readonly string[] {
  const {
    'Index Name': index,
    'Relation Name': table,
    'Index Cond': condition,
    Filter: filter,
  } = node
  const total = (node['Actual Total Time'] ?? 0) * (node['Actual Loops'] ?? 1)
  const facts = [index ?? table, condition, filter && `filter ${filter}`].filter(Boolean).join(' ')
  return [
    `${'  '.repeat(depth)}${node['Node Type']} ${total.toFixed(2)} ms ${rowsOf(node)} rows ${facts}`,
    ...(node.Plans ?? []).flatMap((one) => linesOf(one, depth + 1)),
  ]
}

function rowsOf(node: PlanNode): number {
  const each =
    (node['Actual Rows'] ?? 0) +
    (node['Rows Removed by Filter'] ?? 0) +
    (node['Rows Removed by Index Recheck'] ?? 0)
  return each * (node['Actual Loops'] ?? 1)
}

function literal(client: pg.Client, value: unknown): string {
  if (Array.isArray(value)) {
    return client.escapeLiteral(`{${value.map((one) => JSON.stringify(String(one))).join(',')}}`)
  }
  return value === null ? 'null' : client.escapeLiteral(String(value))
}
