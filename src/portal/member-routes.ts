import { z } from 'zod'
import type { Act } from '../access/index.ts'
import {
  type Members,
  roles,
  type StepUpPurpose,
  type TenantMember,
  type WebIdentity,
} from '../auth/index.ts'
import { pageOf, type Route, routesFor, text } from '../http/index.ts'
import { callerOf } from '../self/index.ts'

const memberShape = z
  .object({
    id: z.string(),
    name: z.string(),
    role: z.enum(roles),
    email: z.string().nullable(),
    createdAt: z.iso.datetime(),
    seenAt: z.iso
      .datetime()
      .nullable()
      .meta({ description: 'The last use of the pages by a browser that is still signed in' }),
    passkeys: z.int(),
    keys: z.int().meta({ description: 'SSH keys' }),
    isInvited: z.boolean().meta({
      description: 'Nobody has come in as this member yet',
    }),
  })
  .meta({ id: 'Member' })

const linkShape = z
  .object({
    url: z.string().meta({ description: 'Signs in once. It is shown here, and nowhere again' }),
    expiresAt: z.iso.datetime(),
  })
  .meta({ id: 'Invitation' })

const answerOf = ({ email, seenAt, ...member }: TenantMember) => ({
  ...member,
  email: email ?? null,
  seenAt: seenAt ?? null,
})

const invitation = (origin: string, { token, expiresAt }: Invited) => ({
  url: `${origin}/login?token=${token}`,
  expiresAt,
})
type Invited = Awaited<ReturnType<Members['inviteAgain']>>

const route = routesFor<WebIdentity, Act, StepUpPurpose>()
const params = z.strictObject({ id: text().max(36) })

/** The members of a tenant, for its own people. */
export function memberRoutes({ members }: { readonly members: Members }) {
  return [
    route({
      method: 'GET',
      path: '/api/v1/members',
      summary: 'The members of your tenant, by name',
      right: 'member.read',
      reply: pageOf(memberShape),
      act: async (_asked, { person }) => ({
        items: (await members.list(person)).map(answerOf),
        next: null,
      }),
    }),
    route({
      method: 'POST',
      path: '/api/v1/members',
      summary: 'Invite somebody: adds a member, and makes a link that signs in once',
      right: 'member.change',
      stepUp: 'member.change',
      limit: { times: 60, seconds: 60 },
      body: z.strictObject({
        name: text().min(1).max(32),
        role: z.enum(roles).default('member'),
        email: text().max(254).optional(),
      }),
      reply: z.object({ member: memberShape, invitation: linkShape }),
      statuses: [201],
      async act({ body }, call) {
        const { member, link } = await members.invite(call.person, body, callerOf(call))
        return { member: answerOf(member), invitation: invitation(call.origin, link) }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/members/{id}/invitation',
      summary: 'Make another link for a member who has no way in yet; the earlier ones are void',
      right: 'member.change',
      stepUp: 'member.change',
      limit: { times: 60, seconds: 60 },
      params,
      body: z.strictObject({}),
      reply: linkShape,
      statuses: [201],
      act: async (asked, call) =>
        invitation(
          call.origin,
          await members.inviteAgain(call.person, asked.params.id, callerOf(call)),
        ),
    }),
    route({
      method: 'PATCH',
      path: '/api/v1/members/{id}',
      summary: 'Give a member another role; sessions that it no longer allows end',
      right: 'member.change',
      stepUp: 'member.change',
      params,
      body: z.strictObject({ role: z.enum(roles) }),
      reply: memberShape,
      act: async (asked, call) =>
        answerOf(
          await members.setRole(call.person, asked.params.id, asked.body.role, callerOf(call)),
        ),
    }),
    route({
      method: 'DELETE',
      path: '/api/v1/members/{id}',
      summary: 'Remove a member with keys, grants and sessions; the record of past sessions stays',
      right: 'member.change',
      stepUp: 'member.change',
      params,
      reply: 'nothing',
      async act(asked, call) {
        await members.remove(call.person, asked.params.id, callerOf(call))
        return undefined
      },
    }),
  ] satisfies readonly Route<WebIdentity, Act>[]
}
