import type { Secret } from '../secret.ts'
import { BoundedClient } from './client.ts'

/**
 * Statements of the server's administrator, on one connection, outside any tenant and any role of
 * ours.
 */
export interface Administration {
  /** Values go by $1 in statements, and by literal() in statements that allow no parameters. */
  many<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
  literal(text: string): string
}

const connectMs = 10_000

/**
 * Runs work on its own connection, which is closed after it. Errors of the server or the transport
 * are thrown unchanged, with their code. For set-up only; no serving code needs it.
 */
export async function administer<T>(
  url: Secret<string>,
  work: (server: Administration) => Promise<T>,
): Promise<T> {
  const client = new BoundedClient({
    connectionString: url.reveal(),
    application_name: 'vaultterm administration',
    connectionTimeoutMillis: connectMs,
  })
  // The statement that was waiting on a broken connection gets its error.
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
