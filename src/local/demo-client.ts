import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  formatHostKeyLine,
  formatOpenSshPrivateKey,
  formatPublicKey,
  publicKeyBlob,
  type ServerHostKey,
} from '../ssh/index.ts'
import { HomeUnusable } from './errors.ts'
import { readIfThere, writePrivateFile } from './private-file.ts'

/** Where the bastion listens, as a client on this machine dials it. */
export interface BastionAddress {
  readonly host: string
  readonly port: number
  readonly hostKeys: readonly ServerHostKey[]
  /** Those that certify the tenant's hosts, as the wire has keys. */
  readonly authorities: readonly Buffer[]
}

const keyName = 'demo_ed25519'
/** The host key is known by this name too, whatever the port is this time. */
const alias = 'vaultterm-demo'

/** The demo user's public key as a line. Its private key lies beside it, made on the first use. */
export async function keepDemoKey(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
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
 * Writes what `ssh -F DIRECTORY/ssh_config TENANT` needs, so that it works from any directory, for
 * the tenant and for each of its targets, `TENANT+TARGET`, or by a jump `TARGET.TENANT`.
 */
export async function writeClientFiles(
  directory: string,
  tenant: string,
  bastion: BastionAddress,
): Promise<void> {
  if (/["\\\p{Cc}]/u.test(directory)) {
    throw new HomeUnusable(
      directory,
      'has a quote or a backslash in its path, which ssh cannot read',
    )
  }
  const hosts = join(directory, 'hosts')
  await mkdir(hosts, { recursive: true, mode: 0o700 })
  // Of an earlier start, and as good as new ones: they are made again when they are asked for.
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
 * OpenSSH before 10 takes no %n in User, so each name gets a block of its own when it is first asked
 * for: `exec` runs before the line below it is read.
 */
function sshConfig(directory: string, tenant: string, { host, port }: BastionAddress): string {
  const path = (name: string) => join(directory, name)
  return `# Made by \`vaultterm up\`, at each start anew.
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

/** Writes `hosts/NAME`, whole or not at all: several may ask for one name at once. */
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

/** ssh takes what is included for a pattern. */
function inGlob(path: string): string {
  return path.replace(/[*?[\]]/g, '[$&]')
}
