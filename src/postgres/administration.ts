import pg from 'pg'
import type { Secret } from '../secret.ts'

/** Statements of whoever runs the server, on one connection, outside any tenant and any role of ours. */
export interface Administration {
  /** Values go by $1 in statements, and by literal() where a statement takes none. */
  many<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
  literal(text: string): string
}

const connectMs = 10_000

/**
 * Runs work on a connection of its own, which is closed after. What the server or the transport says
 * is thrown as it is, with its code. For those who set a server up; nothing that serves needs it.
 */
export async function administer<T>(
  url: Secret<string>,
  work: (server: Administration) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({
    connectionString: url.reveal(),
    application_name: 'vaultterm administration',
    connectionTimeoutMillis: connectMs,
  })
  // A connection that breaks is told by the statement that was waiting on it.
  client.on('error', () => {})
  try {
    await client.connect()
    return await work({
      many: async (text, values = []) => (await client.query(text, [...values])).rows,
      literal: (text) => client.escapeLiteral(text),
    })
  } finally {
    await client.end().catch(() => {})
  }
}
