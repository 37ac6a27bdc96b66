import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { access, chown, mkdir, writeFile } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Log } from '../log.ts'
import { type Account, readAccounts } from './accounts.ts'
import type { Surroundings } from './demo-process.ts'
import { createScratch, removeScratch, scratchHome } from './scratch.ts'

/** The user that the demo target's shell runs as. */
export interface DemoAccount extends Surroundings {
  /** The name to log in with. */
  readonly login: string
  readonly shell: string
  /**
   * The user whose files and processes the shell can reach: another one than the bastion's, or
   * undefined when the shell runs as the bastion's own user and can read its keys.
   */
  readonly separate: Account | undefined
  /** Removes the files of the account. */
  close(): Promise<void>
}

const loginPattern = /^[a-z_][a-z0-9_.-]{0,31}$/i
/** The variables of sshd's AcceptEnv on Debian, and those that a terminal program needs. */
const acceptedEnvironment = /^(LANG|LC_\w{1,32}|COLORTERM|TZ)$/
/**
 * Accounts without a password that run no service, in order of preference. Not nobody: the embedded
 * database may run as that user, and services of the machine do.
 */
const separateNames = ['vaultterm-demo', 'games', 'bin']
const setpriv = '/usr/bin/setpriv'

/**
 * Chooses the account. As root the shell gets a user of its own, which can neither read the home
 * nor signal or trace the bastion. A plain user cannot start a process as another user.
 *
 * Its files lie outside of the directory, which is private; the directory notes where.
 */
export async function openDemoAccount(directory: string, log: Log): Promise<DemoAccount> {
  await removeScratch(directory, log)
  const separate = process.geteuid?.() === 0 ? await findSeparate() : undefined
  return separate === undefined ? ownAccount() : separateAccount(directory, separate, log)
}

/** Whether a client may set this variable. */
export function isAcceptedVariable(name: string, value: string): boolean {
  return acceptedEnvironment.test(name) && value.length <= 1024 && !value.includes('\0')
}

/** The account of this process, with an environment that has none of this process's variables. */
function ownAccount(): DemoAccount {
  const { name, directory, loginShell } = accountOfProcess()
  const login = loginPattern.test(name) ? name : 'demo'
  const shell = [loginShell, '/bin/bash', '/bin/sh'].find(isShell) ?? '/bin/sh'
  const cwd = [directory, '/'].find(isEnterable) ?? '/'
  const env = environment(login, shell, cwd)
  return { login, shell, cwd, env, prefix: [], separate: undefined, close: async () => undefined }
}

async function separateAccount(
  directory: string,
  separate: Account,
  log: Log,
): Promise<DemoAccount> {
  const cwd = join(await createScratch(directory), scratchHome)
  await mkdir(cwd, { mode: 0o700 })
  const { name, uid, gid } = separate
  await writeFile(join(cwd, '.profile'), String.raw`PS1='demo@web1:\w\$ '${'\n'}`, { mode: 0o644 })
  await chown(cwd, uid, gid)
  const shell = ['/bin/bash', '/bin/sh'].find(isShell) ?? '/bin/sh'
  return {
    login: 'demo',
    shell,
    cwd,
    env: environment(name, shell, cwd),
    prefix: prefixOf(separate),
    tty: { uid, gid },
    separate,
    close: () => removeScratch(directory, log),
  }
}

/** The first account that a process can be started as here: a container may deny it. */
async function findSeparate(): Promise<Account | undefined> {
  const accounts = await readAccounts()
  for (const name of separateNames) {
    const account = accounts.find((one) => one.name === name && one.uid !== 0 && one.gid !== 0)
    if (account !== undefined && (await canBecome(account))) return account
  }
  return undefined
}

async function canBecome(account: Account): Promise<boolean> {
  try {
    await access(setpriv, constants.X_OK)
    const [file = '', ...args] = [...prefixOf(account), 'id', '-u']
    // Other processes of the account can read its environment, and ours may hold secrets.
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' }
    const { stdout } = await promisify(execFile)(file, args, { cwd: '/', env, timeout: 20_000 })
    return stdout.trim() === String(account.uid)
  } catch {
    return false
  }
}

/** The program takes on the user for good: without groups of root, and without setuid programs. */
function prefixOf({ uid, gid }: Account): readonly string[] {
  return [setpriv, `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs']
}

function environment(user: string, shell: string, home: string): DemoAccount['env'] {
  return {
    HOME: home,
    USER: user,
    LOGNAME: user,
    SHELL: shell,
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: process.env.LANG ?? 'C.UTF-8',
  }
}

function accountOfProcess(): { name: string; directory: string; loginShell: string } {
  try {
    const { username, homedir: directory, shell } = userInfo()
    return { name: username, directory, loginShell: shell ?? '' }
  } catch {
    // A process id without an entry in passwd, as in many containers.
    return { name: 'demo', directory: homedir(), loginShell: '' }
  }
}

function isShell(path: string): boolean {
  return !/^$|\/(nologin|false|sync)$/.test(path) && may(path, constants.X_OK)
}

function isEnterable(path: string): boolean {
  return path !== '' && may(path, constants.X_OK)
}

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode)
    return true
  } catch {
    return false
  }
}
