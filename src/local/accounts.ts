import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** One line of /etc/passwd: passwd(5). */
export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** The accounts in /etc/passwd. Accounts from a directory service are not among them. */
export async function readAccounts(): Promise<readonly Account[]> {
  return (await linesOf('/etc/passwd')).flatMap(([name = '', , uid, gid]) =>
    /^\d+$/.test(`${uid}${gid}`) ? [{ name, uid: Number(uid), gid: Number(gid) }] : [],
  )
}

/** A user as people know it: `alice (user 1000)`, or `user 1000` without an account. */
export async function describeUser(uid: number): Promise<string> {
  const account = (await readAccounts()).find((one) => one.uid === uid)
  return account === undefined ? `user ${uid}` : `${account.name} (user ${uid})`
}

/**
 * Whether every member of a group is one of these users. Debian and Fedora give each user a group of
 * their own and a umask that lets the group write, which lets in nobody else.
 */
export async function isGroupWithin(gid: number, uids: readonly number[]): Promise<boolean> {
  const accounts = await readAccounts()
  const names = new Set(accounts.filter(({ uid }) => uids.includes(uid)).map(({ name }) => name))
  const others = accounts.filter((one) => one.gid === gid && !uids.includes(one.uid))
  const members = await groupMembers(gid)
  return others.length === 0 && members.every((name) => names.has(name))
}

/** The members that a group lists, from every source of the system that `getent` knows. */
async function groupMembers(gid: number): Promise<readonly string[]> {
  const lines = await promisify(execFile)('getent', ['group', String(gid)], { timeout: 10_000 })
    .then(({ stdout }) => stdout.split('\n').map((line) => line.split(':')))
    // No such group, or no such program.
    .catch(() => linesOf('/etc/group'))
  const list = lines.find((fields) => fields[2] === String(gid))?.[3] ?? ''
  return list.split(',').filter((name) => name !== '')
}

async function linesOf(path: string): Promise<string[][]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.split('\n').map((line) => line.split(':'))
}
