/** The lines that people paste into a terminal: exact, for this bastion and this person. */

export interface Bastion {
  readonly host: string
  readonly port: number
}

export interface Place {
  readonly tenant: string
  /** undefined: the only target, or a menu. */
  readonly target?: string
}

const defaultPort = 22

export function bastionOf(frame: { readonly sshHost: string; readonly sshPort: number }): Bastion {
  return { host: frame.sshHost, port: frame.sshPort }
}

export function userName({ tenant, target }: Place): string {
  return target === undefined ? tenant : `${tenant}+${target}`
}

const portOption = ({ port }: Bastion, name: string) =>
  port === defaultPort ? '' : ` ${name} ${port}`

export function shellLine(bastion: Bastion, place: Place): string {
  return `ssh${portOption(bastion, '-p')} ${userName(place)}@${bastion.host}`
}

export function commandLine(bastion: Bastion, place: Place): string {
  return `${shellLine(bastion, place)} uptime`
}

/** The host name of the inner connection is the target's. */
export function jumpLine({ host, port }: Bastion, { tenant, target = '' }: Place): string {
  const at = port === defaultPort ? inBrackets(host) : `${inBrackets(host)}:${port}`
  return `ssh -J ${tenant}@${at} ${target}.${tenant}`
}

export function scpLine(bastion: Bastion, place: Place): string {
  return `scp${portOption(bastion, '-P')} FILE ${userName(place)}@${inBrackets(bastion.host)}:`
}

export function sftpLine(bastion: Bastion, place: Place): string {
  return `sftp${portOption(bastion, '-P')} ${userName(place)}@${inBrackets(bastion.host)}`
}

export function rsyncLine(bastion: Bastion, place: Place): string {
  const by = bastion.port === defaultPort ? '' : ` -e 'ssh -p ${bastion.port}'`
  return `rsync -av${by} DIRECTORY/ ${userName(place)}@${inBrackets(bastion.host)}:DIRECTORY/`
}

/** Then `ssh TARGET`, and scp, sftp, rsync and git know the name. */
export function configBlock({ host, port }: Bastion, place: Place): string {
  return [
    `Host ${place.target}`,
    `  HostName ${host}`,
    `  Port ${port}`,
    `  User ${userName(place)}`,
  ].join('\n')
}

/** The same by a jump: the target's own host key is checked. */
export function jumpBlock({ host, port }: Bastion, { tenant, target = '' }: Place): string {
  return [`Host ${target}.${tenant}`, `  ProxyJump ${tenant}@${inBrackets(host)}:${port}`].join(
    '\n',
  )
}

/** scp, rsync and ProxyJump take an IPv6 address only so. */
function inBrackets(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
