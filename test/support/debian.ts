import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Programs that the tests run, and the Debian package that each comes in. */
const needed = [
  { program: 'ssh', package: 'openssh-client' },
  { program: 'sshd', package: 'openssh-server' },
  { program: 'redis-server', package: 'redis-server' },
  { program: 'chromium', package: 'chromium' },
  { program: 'plink', package: 'putty-tools' },
  { program: 'dbclient', package: 'dropbear-bin' },
  { program: 'ssh-audit', package: 'ssh-audit' },
  { program: 'git', package: 'git' },
  { program: 'xauth', package: 'xauth' },
  { program: 'rsync', package: 'rsync' },
  { program: 'ansible', package: 'ansible-core' },
  { program: '/usr/lib/python3/dist-packages/paramiko/__init__.py', package: 'python3-paramiko' },
  { program: '/usr/lib/python3/dist-packages/asyncssh/__init__.py', package: 'python3-asyncssh' },
  { program: '/usr/include/libssh/libssh.h', package: 'libssh-dev' },
  { program: 'gcc', package: 'gcc' },
  { program: 'ps', package: 'procps' },
  // OpenSSH's security key in software.
  {
    program: '/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so',
    package: 'openssh-tests',
  },
] as const

/**
 * Installs what is missing when it may, and otherwise says what is and how to install it.
 * Gives the problem, or undefined when everything is there.
 */
export async function installDebianPackages(): Promise<string | undefined> {
  const missing = findMissing()
  if (missing.length === 0) return undefined
  const packages = [...new Set(missing.map((entry) => entry.package))].join(' ')
  const isRoot = process.getuid?.() === 0
  const command = `apt-get install -y --no-install-recommends ${packages}`
  const advice =
    `The tests need ${missing.map((entry) => entry.program).join(', ')}, not installed here. Install with:\n` +
    `  ${isRoot ? '' : 'sudo '}${command}`
  if (!isOnPath('apt-get')) return advice
  if (!isRoot && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status !== 0) return advice

  console.error(`installing for the tests: ${packages}`)
  const shell = ['sh', '-c', install, 'install', ...packages.split(' ')]
  const [file = '', ...args] = isRoot ? shell : ['sudo', '-n', ...shell]
  const { stdout, status } = spawnSync(file, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    timeout: 10 * 60_000,
  })
  const still = findMissing()
  if (still.length === 0) return undefined
  return `${stdout}\napt-get gave up (status ${status}). ${advice}`
}

/**
 * While it works, a policy denies every start of a service: the tests start what they need, on ports
 * of their own. A machine's own policy stays as it is.
 */
const install = `
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
