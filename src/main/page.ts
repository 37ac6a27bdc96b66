import { quoted } from '../local/index.ts'

/** The contents of the page that `up` prints when it accepts connections. */
export interface PageFacts {
  readonly home: string
  readonly portal: string
  /** A one-time link. */
  readonly admin: string
  readonly demo:
    | {
        readonly sshConfig: string
        readonly tenant: string
        readonly target: string
        readonly user: string
        /** The user that the target's shell runs as; undefined for the bastion's own. */
        readonly shellUser: string | undefined
        /** Whether other machines can reach the SSH listener. */
        readonly isReachable: boolean
        /** A one-time link. */
        readonly portal: string
      }
    | undefined
}

export function formatPage({ home, portal, admin, demo }: PageFacts): string {
  const ssh = demo && `ssh -F ${quoted(demo.sshConfig)}`
  const first =
    demo === undefined
      ? `Pages       ${portal}\n`
      : `Try it, from another terminal; it is recorded:

  ${ssh} ${demo.tenant}
  ${ssh} ${demo.tenant}+${demo.target} uname -a
  ${ssh} ${demo.target}.${demo.tenant}    # by ssh -J

Then watch the recording:

  ${demo.portal}
`
  const again = demo === undefined ? 'TENANT USER' : `${demo.tenant} ${demo.user}`
  return `
VaultTerm is up. Ctrl-C stops it.

${demo === undefined ? '' : formatWarning(demo)}${first}
Administration:

  ${admin}

Each link signs in once, within 10 minutes; \`vaultterm web-login ${again}\` makes another.
All files are in ${home}: delete it to start over.

`
}

function formatWarning(demo: NonNullable<PageFacts['demo']>): string {
  const { shellUser, isReachable, tenant, target } = demo
  const remove = `\`vaultterm target remove ${tenant} ${target}\` removes it.`
  const open = 'The SSH listener is open to other machines'
  if (shellUser === undefined) {
    const more = isReachable ? `${open}. ` : ''
    return `WARNING: ${more}The shell of the demo target ${target} runs as the user of the bastion:
anybody with a grant for it can read the keys of the bastion. ${remove}
Only root can give the shell a user of its own.

`
  }
  if (!isReachable) return ''
  return `WARNING: ${open}, and the demo target ${target} is a shell on this
machine (user ${shellUser}). ${remove}

`
}
