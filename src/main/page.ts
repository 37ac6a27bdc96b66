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
        /** Undefined when there is no demo target: nothing can be tried before another one is added. */
        readonly target:
          | {
              readonly name: string
              /** The user that its shell runs as; undefined for the bastion's own. */
              readonly shellUser: string | undefined
            }
          | undefined
        readonly user: string
        /** Whether other machines can reach the SSH listener. */
        readonly isReachable: boolean
        /** A one-time link. */
        readonly portal: string
      }
    | undefined
}

type DemoFacts = NonNullable<PageFacts['demo']>

export function formatPage({ home, portal, admin, demo }: PageFacts): string {
  const first = demo === undefined ? `Pages       ${portal}\n` : formatFirstSteps(demo)
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

function formatFirstSteps({ sshConfig, tenant, target, user, portal }: DemoFacts): string {
  const ssh = `ssh -F ${quoted(sshConfig)}`
  if (target === undefined) {
    return `There is no demo target. Add a host of your own, and grant it:

  bin/vaultterm target add ${tenant} NAME --host HOST --login LOGIN --scan
  bin/vaultterm target onboard ${tenant} NAME    # prints the lines to run on the host
  bin/vaultterm grant add ${tenant} --user ${user} --target NAME
  ${ssh} ${tenant}+NAME

The sessions of the tenant ${tenant}:

  ${portal}
`
  }
  return `Try it, from another terminal; it is recorded:

  ${ssh} ${tenant}
  ${ssh} ${tenant}+${target.name} uname -a
  ${ssh} ${target.name}.${tenant}    # by ssh -J

Then watch the recording:

  ${portal}
`
}

function formatWarning({ isReachable, tenant, target: running }: DemoFacts): string {
  if (running === undefined) return ''
  const { name: target, shellUser } = running
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
