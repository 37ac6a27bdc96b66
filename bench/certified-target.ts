import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Sshd } from '../test/support/sshd.ts'
import type { Arena } from './arena.ts'

export const certifiedName = 'certified'

/** A target that takes certificates of the tenant's authority, for as long as it is measured. */
export async function openCertifiedTarget({ vaultterm }: Arena): Promise<AsyncDisposable> {
  const trust = join(vaultterm.home, 'bench-trust')
  mkdirSync(join(trust, 'principals'), { recursive: true })
  const target = await Sshd.start([
    'SetEnv HOME=/nonexistent',
    `TrustedUserCAKeys ${trust}/user_ca.pub`,
    `AuthorizedPrincipalsFile ${trust}/principals/%u`,
  ])
  const close = async () => {
    await vaultterm.json('target', 'remove', 'acme', certifiedName)
    await target.close()
  }
  try {
    await vaultterm.json(
      ...['target', 'add', 'acme', certifiedName, '--host', target.host, '--port'],
      ...[String(target.port), '--login', target.login, '--host-key', target.hostKeyFile],
      ...['--auth', 'cert'],
    )
    await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', certifiedName)
    const { trustedUserCAKeys, principals } = await vaultterm.json<{
      trustedUserCAKeys: string[]
      principals: { [login: string]: string }
    }>('target', 'onboard', 'acme', certifiedName)
    writeFileSync(join(trust, 'user_ca.pub'), `${trustedUserCAKeys.join('\n')}\n`)
    writeFileSync(join(trust, 'principals', target.login), `${principals[target.login]}\n`)
  } catch (err) {
    await target.close()
    throw err
  }
  return { [Symbol.asyncDispose]: close }
}
