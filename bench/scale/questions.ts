import type { Access, Authorization, Denial } from '../../src/access/index.ts'
import type { Identity } from '../../src/auth/index.ts'
import { type LargeTenant, targetName } from '../../test/support/large-tenants.ts'

/** One thing that a bastion asks access, and a check that the answer is the right one. */
export interface Question {
  readonly name: string
  /** The rows that its statements may read in all, in any tenant; undefined: it lists targets. */
  readonly rowsMax: number | undefined
  ask(access: Access): Promise<unknown>
}

/** The questions about a tenant with so many targets, of a user whose grants lie in some way. */
export function questionsOf(tenant: LargeTenant, count: number): readonly Question[] {
  const { distribution, id, slug, user } = tenant
  const identity = {
    tenant: id,
    tenantSlug: slug,
    user: { id: user.id, name: 'demo', role: 'member' },
    keyFingerprint: user.fingerprint,
  } as unknown as Identity
  const at = distribution === 'expired' ? 1 : count
  const [name, host] = [targetName(at), `h${at}.example`]
  const reaches = distribution !== 'none'
  const reachesAll = reaches && distribution !== 'expired'
  const expectAnswer = (answer: Authorization | Denial, target: string | undefined) => {
    const given = 'denied' in answer ? undefined : answer.target.name
    if (given !== target) throw new Error(`${distribution}: ${given} is not ${target}`)
  }
  const expectJump = (answer: unknown, target: string | undefined) => {
    const given = (answer as { target?: { name: string } } | undefined)?.target?.name
    if (given !== target) throw new Error(`${distribution}: a jump to ${given}, not ${target}`)
  }
  const jump = (access: Access, address: string) =>
    access.authorizeJump(identity, { host: address, port: 22 }, { isJump: false })
  return [
    {
      name: 'authorize a target',
      rowsMax: 100,
      ask: async (access) => {
        const answer = await access.authorize(identity, { target: name, kind: 'shell' })
        expectAnswer(answer, reaches ? name : undefined)
      },
    },
    {
      name: 'authorize without a target',
      rowsMax: 300,
      ask: async (access) => {
        const answer = await access.authorize(identity, { kind: 'shell' })
        expectAnswer(answer, distribution === 'expired' ? name : undefined)
        const code = 'denied' in answer ? answer.code : undefined
        if (reachesAll && code !== 'ERR_TARGET_CHOICE') throw new Error(`${distribution}: ${code}`)
      },
    },
    {
      name: 'refuse a target that is not there',
      rowsMax: 300,
      ask: async (access) => {
        const answer = await access.authorize(identity, { target: 'nothing', kind: 'shell' })
        expectAnswer(answer, undefined)
      },
    },
    {
      name: 'jump by name',
      rowsMax: 100,
      ask: async (access) => expectJump(await jump(access, name), reaches ? name : undefined),
    },
    {
      name: 'jump by address',
      rowsMax: 100,
      ask: async (access) => expectJump(await jump(access, host), reaches ? name : undefined),
    },
    {
      name: 'a direct-tcpip to no target',
      rowsMax: 100,
      ask: async (access) => expectJump(await jump(access, 'db.internal'), undefined),
    },
    {
      name: 'the first page of the menu',
      rowsMax: undefined,
      ask: (access) => access.listChoices(identity, { limit: 200 }),
    },
    {
      name: 'a search in the menu',
      rowsMax: undefined,
      ask: (access) => access.listChoices(identity, { search: '99', limit: 200 }),
    },
  ]
}
