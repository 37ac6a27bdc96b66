/** What `up` tells a person who just started it. */
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

${first}
Administration:

  ${admin}

Each link signs in once, within 10 minutes; \`vaultterm web-login ${again}\` makes another.
Everything lies in ${home}: delete it to start over.

`
}

/** For a shell, where it needs to be. */
function quoted(path: string): string {
  return /^[\w./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}
