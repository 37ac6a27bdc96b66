import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

interface Part {
  /** A name on PATH, or a path. */
  readonly program: string
  readonly package: string
}

/** Programs that most tests run, and the Debian package that each comes in. */
const needed: readonly Part[] = [
  { program: 'ssh', package: 'openssh-client' },
  { program: 'sshd', package: 'openssh-server' },
  { program: 'redis-server', package: 'redis-server' },
  { program: 'chromium', package: 'chromium' },
  { program: 'plink', package: 'putty-tools' },
  { program: 'dbclient', package: 'dropbear-bin' },
  { program: 'git', package: 'git' },
  { program: 'xauth', package: 'xauth' },
  { program: 'rsync', package: 'rsync' },
  { program: 'ps', package: 'procps' },
  // OpenSSH's security key in software.
  {
    program: '/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so',
    package: 'openssh-tests',
  },
]

const python = { program: '/usr/bin/python3', package: 'python3' }
const modules = '/usr/lib/python3/dist-packages'

/** Clients that a machine without a compiler or without Python lacks. Their own tests are skipped there. */
const clients = {
  'ssh-audit': [python, { program: 'ssh-audit', package: 'ssh-audit' }],
  Ansible: [python, { program: 'ansible', package: 'ansible-core' }],
  Paramiko: [python, { program: `${modules}/paramiko/__init__.py`, package: 'python3-paramiko' }],
  AsyncSSH: [python, { program: `${modules}/asyncssh/__init__.py`, package: 'python3-asyncssh' }],
  libssh: [
    { program: 'gcc', package: 'gcc' },
    { program: '/usr/include/libssh/libssh.h', package: 'libssh-dev' },
  ],
} satisfies Record<string, readonly Part[]>

export type OptionalClient = keyof typeof clients

/** Whether the tests with this client can run here. */
export function isInstalled(client: OptionalClient): boolean {
  return clients[client].every(isThere)
}

export interface Installation {
  /** Without this the tests cannot run: what is missing, and how to install it. */
  readonly problem: string | undefined
  /** A line for each client whose tests are skipped. */
  readonly skipped: readonly string[]
}

/** Installs what is missing when it may, and otherwise says what is missing and how to install it. */
export function installDebianPackages(): Installation {
  const problem = install(needed)
  if (problem !== undefined) return { problem, skipped: [] }
  install(Object.values(clients).flat())
  const skipped = Object.entries(clients).flatMap(([client, parts]) => {
    const missing = parts.filter((part) => !isThere(part))
    if (missing.length === 0) return []
    const packages = missing.map((part) => part.package).join(' ')
    return [`tests with ${client} are skipped: ${packages} not installed here (apt-get install)`]
  })
  return { problem, skipped }
}

/** Gives the problem, or undefined when everything is there. */
function install(parts: readonly Part[]): string | undefined {
  const missing = parts.filter((part) => !isThere(part))
  if (missing.length === 0) return undefined
  const packages = [...new Set(missing.map((part) => part.package))].join(' ')
  const isRoot = process.getuid?.() === 0
  const command = `apt-get install -y --no-install-recommends ${packages}`
  const advice =
    `The tests need ${missing.map((part) => part.program).join(', ')}, not installed here. Install with:\n` +
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
  if (parts.every(isThere)) return undefined
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

function isThere({ program }: Part): boolean {
  return isOnPath(program)
}

function isOnPath(program: string): boolean {
  if (program.startsWith('/')) return existsSync(program)
  // Servers are in the directories of root, which a user's PATH leaves out.
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  return directories.some((at) => at !== '' && existsSync(join(at, program)))
}
