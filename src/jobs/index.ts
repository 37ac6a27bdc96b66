/**
 * Background work: jobs in a queue in Postgres, added in the transaction of the act that wants them.
 */

export { queueTables } from './schema.ts'
