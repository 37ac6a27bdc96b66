import type { Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { unlessMissing } from '../errors.ts'
import { FileUntrusted, PostgresServerFailed } from './errors.ts'
import { nobody } from './postgres-posture.ts'
import { describe, quoted, resolveTrusted } from './trusted-path.ts'

/** Files that tell the server which programs to run, and which logins need no password. */
const settings = ['postgresql.conf', 'postgresql.auto.conf', 'pg_hba.conf', 'pg_ident.conf']

/** Files that make the server wait for another server's log, or replay one, in place of its own work. */
const modes = ['standby.signal', 'recovery.signal']

/** Refuses a cluster that would start as a copy of another: nobody could write to it. */
export async function assertClusterWritable(data: string): Promise<void> {
  for (const name of modes) {
    const path = join(data, name)
    if ((await factsOf(path)) === undefined) continue
    throw new PostgresServerFailed(
      `would start as a copy of another server, because ${path} exists: VaultTerm never makes that ` +
        `file. Find out who did, then run rm ${quoted(path)} and start again`,
    )
  }
}

/**
 * Refuses a cluster that another user can have written: its files are settings and passwords. Gives
 * the owner's user id: our own or, when we are root, that of nobody; undefined without a cluster.
 */
export async function assertClusterTrusted(data: string): Promise<number | undefined> {
  const parent = await resolveTrusted(dirname(data))
  const facts = parent === undefined ? undefined : await factsOf(data)
  if (facts === undefined) return undefined
  const own = process.geteuid?.() ?? facts.uid
  const isOwned = facts.uid === own || (own === 0 && facts.uid === nobody)
  if (!facts.isDirectory() || !isOwned) throw await untrusted(data, facts, own)
  if ((facts.mode & 0o022) !== 0) {
    const why = `can be written by others (${await describe(facts)}): run chmod 700 ${quoted(data)}`
    throw new FileUntrusted(data, why)
  }
  for (const name of settings) {
    const path = join(data, name)
    const file = await factsOf(path)
    const isRight = file?.isFile() && [own, facts.uid].includes(file.uid) && !(file.mode & 0o022)
    if (file !== undefined && !isRight) throw await untrusted(path, file, facts.uid)
  }
  return facts.uid
}

async function untrusted(path: string, facts: Stats, owner: number): Promise<FileUntrusted> {
  const what = facts.isFile() || facts.isDirectory() ? '' : 'is a link or no file; it '
  const why = `${what}can be changed by another user (${await describe(facts)})`
  return new FileUntrusted(
    path,
    `${why}: remove it, or run chown -h ${owner} ${quoted(path)} && chmod go-w ${quoted(path)} if you trust its content`,
  )
}

function factsOf(path: string): Promise<Stats | undefined> {
  return unlessMissing(lstat(path))
}
