import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

interface Needed {
  readonly program: string
  readonly package: string
  /** Tests of these skip themselves where it is missing: it needs a compiler or Python. */
  readonly optional?: true
}

/** Programs that the tests run, and the Debian package of each. */
const needed: readonly Needed[] = [
  { program: 'ssh', package: 'openssh-client' },
  { program: 'sshd', package: 'openssh-server' },
  { program: 'redis-server', package: 'redis-server' },
  { program: 'chromium', package: 'chromium' },
  { program: 'plink', package: 'putty-tools' },
  { program: 'dbclient', package: 'dropbear-bin' },
  { program: 'ssh-audit', package: 'ssh-audit', optional: true },
  { program: 'git', package: 'git' },
  { program: 'xauth', package: 'xauth' },
  { program: 'rsync', package: 'rsync' },
  { program: 'ansible', package: 'ansible-core', optional: true },
  {
    program: '/usr/lib/python3/dist-packages/paramiko/__init__.py',
    package: 'python3-paramiko',
    optional: true,
  },
  {
    program: '/usr/lib/python3/dist-packages/asyncssh/__init__.py',
    package: 'python3-asyncssh',
    optional: true,
  },
  { program: '/usr/include/libssh/libssh.h', package: 'libssh-dev', optional: true },
  { program: 'gcc', package: 'gcc', optional: true },
  { program: 'ps', package: 'procps' },
  // OpenSSH's security key in software.
  {
    program: '/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so',
    package: 'openssh-tests',
  },
]

/** Whether tests can use the programs of these packages. */
export function isInstalled(...packages: readonly string[]): boolean {
  return packages.every((name) =>
    needed.every((entry) => entry.package !== name || isOnPath(entry.program)),
  )
}

/**
 * Installs missing programs when it may, and otherwise prints how to install them. Returns the
 * problem; undefined when the tests can run, without those of optional programs if need be.
 */
export async function installDebianPackages(): Promise<string | undefined> {
  const missing = findMissing()
  if (missing.length === 0) return undefined
  const problem = await install(missing)
  const still = findMissing()
  if (still.some(({ optional }) => optional !== true)) return problem
  if (still.length > 0) {
    const names = still.map((entry) => entry.package).join(', ')
    console.error(`${problem}\nWithout them, the tests of these packages are skipped: ${names}`)
  }
  return undefined
}

async function install(missing: readonly Needed[]): Promise<string> {
  const packages = [...new Set(missing.map((entry) => entry.package))].join(' ')
  const isRoot = process.getuid?.() === 0
  const command = `apt-get install -y --no-install-recommends ${packages}`
  const advice =
    `The tests use ${missing.map((entry) => entry.program).join(', ')}, not installed here. Install with:\n` +
    `  ${isRoot ? '' : 'sudo '}${command}`
  if (!isOnPath('apt-get')) return advice
  if (!isRoot && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status !== 0) return advice

  console.error(`installing for the tests: ${packages}`)
  const shell = ['sh', '-c', script, 'install', ...packages.split(' ')]
  const [file = '', ...args] = isRoot ? shell : ['sudo', '-n', ...shell]
  const { stdout, status } = spawnSync(file, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    timeout: 10 * 60_000,
  })
  return `${stdout}\napt-get gave up (status ${status}). ${advice}`
}

/**
 * While it runs, a policy denies every start of a service: the tests start their own servers, on ports
 * of their own. A machine's own policy stays as it is.
 */
const script = `
set -u
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' INT TERM HUP
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi
get() {
  apt-get -q -o DPkg::Lock::Timeout=120 "$@" 2>&1
}
get install -y --no-install-recommends "$@" || {
  # The lists are missing or old.
  get update && get install -y --no-install-recommends "$@"
}
`

function findMissing() {
  return needed.filter(({ program }) => !isOnPath(program))
}

function isOnPath(program: string): boolean {
  if (program.startsWith('/')) return existsSync(program)
  // Servers are in the directories of root, which a user's PATH leaves out.
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/bin']
  return directories.some((at) => at !== '' && existsSync(join(at, program)))
}
