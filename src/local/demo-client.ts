import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  formatHostKeyLine,
  formatOpenSshPrivateKey,
  formatPublicKey,
  publicKeyBlob,
  type ServerHostKey,
} from '../ssh/index.ts'
import { HomeUnusable } from './errors.ts'
import { keepPrivateDirectory, readIfThere, writePrivateFile } from './private-file.ts'

/** The bastion's listener, as a client on this machine dials it. */
export interface BastionAddress {
  readonly host: string
  readonly port: number
  readonly hostKeys: readonly ServerHostKey[]
  /** Public keys of the authorities that certify the tenant's hosts: RFC 4253 section 6.6. */
  readonly authorities: readonly Buffer[]
}

const keyName = 'demo_ed25519'
/** The host key is known by this name too, whatever the port is this time. */
const alias = 'vaultterm-demo'

/** The demo user's public key as a line. The pair is made on the first use. */
export async function keepDemoKey(directory: string): Promise<string> {
  await keepPrivateDirectory(directory)
  const path = join(directory, keyName)
  const kept = await readIfThere(`${path}.pub`)
  if (kept !== undefined && (await readIfThere(path)) !== undefined) return kept.trim()
  const { privateKey } = generateKeyPairSync('ed25519')
  const blob = publicKeyBlob(createPublicKey(privateKey))
  const line = formatPublicKey({ type: 'ssh-ed25519', blob }, 'demo')
  // The private key last: while it is missing, a killed start begins again.
  await rm(path, { force: true })
  await writePrivateFile(`${path}.pub`, `${line}\n`)
  await writePrivateFile(path, formatOpenSshPrivateKey(privateKey, 'demo'))
  return line
}

/**
 * Writes the files for `ssh -F DIRECTORY/ssh_config NAME`, which works from any directory. NAME is the
 * tenant, one of its targets as `TENANT+TARGET`, or as `TARGET.TENANT` by a jump.
 */
export async function writeClientFiles(
  directory: string,
  tenant: string,
  bastion: BastionAddress,
): Promise<void> {
  if (/["\\\p{Cc}]/u.test(directory)) {
    throw new HomeUnusable(
      directory,
      'has a quote, a backslash or a control character in its path, which ssh cannot read: use another directory',
    )
  }
  const hosts = join(directory, 'hosts')
  await keepPrivateDirectory(hosts)
  // Blocks of an earlier start: `ssh` has them made again.
  for (const name of await readdir(hosts)) await rm(join(hosts, name))
  const { host, port, hostKeys, authorities } = bastion
  const known = hostKeys.flatMap(({ publicKey }) => [
    formatHostKeyLine(host, port, publicKey),
    formatHostKeyLine(alias, 22, publicKey),
  ])
  for (const blob of authorities) {
    known.push(`@cert-authority *.${tenant} ${formatPublicKey({ type: 'ssh-ed25519', blob })}`)
  }
  await writePrivateFile(join(directory, 'known_hosts'), `${known.join('\n')}\n`)
  await writePrivateFile(join(directory, 'host-block'), hostBlock)
  await writePrivateFile(join(directory, 'ssh_config'), sshConfig(directory, tenant, bastion))
}

/**
 * OpenSSH before 10 takes no %n in User, so each name gets a block of its own on its first use:
 * `exec` runs before ssh reads the line below it.
 */
function sshConfig(directory: string, tenant: string, { host, port }: BastionAddress): string {
  const path = (name: string) => join(directory, name)
  return `# Made by \`vaultterm up\`, again at each start.
Match originalhost "${tenant}+*" exec "/bin/sh ${inCommand(path('host-block'))} %n"
Include "${inGlob(path('hosts'))}/*"

Host ${tenant}
  User ${tenant}

Host ${tenant} ${tenant}+*
  HostName ${host}
  Port ${port}
  HostKeyAlias ${alias}

Host *.${tenant}
  ProxyJump ${tenant}

Host ${tenant} ${tenant}+* *.${tenant}
  UserKnownHostsFile "${withTokens(path('known_hosts'))}"
  StrictHostKeyChecking yes
  IdentityFile "${withTokens(path(keyName))}"
  IdentitiesOnly yes
  IdentityAgent none
`
}

/** Writes `hosts/NAME` whole or not at all: several clients may need one name at once. */
const hostBlock = `# For ssh_config beside it: says which user name goes with a host name.
set -eu
umask 077
case $1 in *[!A-Za-z0-9_.+-]*) exit 1 ;; esac
hosts=$(dirname "$0")/hosts
[ -e "$hosts/$1" ] && exit
printf 'Host %s\\n  User %s\\n' "$1" "$1" > "$hosts/.$1.$$"
mv "$hosts/.$1.$$" "$hosts/$1"
`

/** Quoted for a shell, inside a command in which ssh replaces tokens. */
function inCommand(path: string): string {
  return `'${withTokens(path).replaceAll("'", `'\\''`)}'`
}

function withTokens(path: string): string {
  return path.replaceAll('%', '%%')
}

/** ssh reads the path of an Include as a pattern. */
function inGlob(path: string): string {
  return path.replace(/[*?[\]]/g, '[$&]')
}
