/**
 * The bastion's worker: parses the bytes of clients and targets, and relays between them.
 *
 * A worker holds the host keys and no other secret. It asks the main process for every decision and
 * every signature. Its program loads no module that handles secrets or the database.
 */
export { runWorker } from './worker-program.ts'
