import { z } from 'zod'
import {
  actorKeys,
  actorNames,
  type StepUpPurpose,
  type WebIdentity,
  type WebPeople,
  WebSessionMissing,
} from '../auth/index.ts'
import { type Ca, CertificateRefused } from '../ca/index.ts'
import {
  pageOf,
  type Route,
  RouteMissing,
  type RouteRight,
  routesFor,
  text,
} from '../http/index.ts'
import { parsePublicKey } from '../ssh/index.ts'
import { callerOf } from './caller.ts'

export type OwnCertificates = Pick<Ca, 'issueUser' | 'certificatesOf' | 'revokeOwn' | 'revoke'>

export interface CertificateRoutesDeps<Right extends RouteRight> {
  readonly ca: OwnCertificates
  readonly people: Pick<WebPeople, 'stepUp' | 'lives'>
  readonly right: { readonly read: Right; readonly change: Right }
}

const hoursMax = 24

const certificateShape = z
  .object({
    id: z.string(),
    serial: z.string(),
    fingerprint: z.string().meta({ description: 'Of the key' }),
    issuedAt: z.iso.datetime(),
    expiresAt: z.iso.datetime(),
  })
  .meta({ id: 'Certificate' })

/** Certificates for a person's own keys, which need not be registered. */
export function certificateRoutes<Right extends RouteRight>({
  ca,
  people,
  right,
}: CertificateRoutesDeps<Right>) {
  const route = routesFor<WebIdentity, Right, StepUpPurpose>()
  return [
    route({
      method: 'GET',
      path: '/api/v1/self/certificates',
      summary: 'The certificates that let you in now, the last one first',
      right: right.read,
      reply: pageOf(certificateShape),
      act: async (_asked, { person }) => ({
        items: [...(await ca.certificatesOf(person.tenant, person.user.id))],
        // They end within a day, and few are made in a minute.
        next: null,
      }),
    }),
    route({
      method: 'DELETE',
      path: '/api/v1/self/certificates/{id}',
      summary: 'Revoke a certificate of yours; sessions that began with it end',
      right: right.change,
      stepUp: 'key.change',
      params: z.strictObject({ id: text().max(36) }),
      reply: 'nothing',
      async act({ params }, call) {
        const { tenant, user } = call.person
        const by = actorKeys(callerOf(call))
        if (!(await ca.revokeOwn(tenant, user.id, params.id, by))) throw new RouteMissing()
        return undefined
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/self/certificates',
      summary: 'Certify a key of yours for some hours: one line of a .pub file',
      description:
        'Put `certificate` beside the key as NAME-cert.pub, where ssh finds it. It ends with your account and your grants, as a key does, and with the key if that is registered and removed.',
      right: right.change,
      stepUp: 'key.change',
      limit: { times: 30, seconds: 60 },
      body: z.strictObject({
        line: text().min(1).max(16_384),
        hours: z.int().min(1).max(hoursMax).default(8),
      }),
      reply: z
        .object({
          certificate: z.string(),
          serial: z.string(),
          fingerprint: z.string().meta({ description: 'Of the key' }),
          expiresAt: z.iso.datetime(),
        })
        .meta({ id: 'OwnCertificate' }),
      statuses: [201],
      async act({ body }, call) {
        const { tenant, user } = call.person
        const parsed = parsePublicKey(body.line)
        if ('problem' in parsed) throw new CertificateRefused(parsed.problem)
        const { blob: publicKey, comment } = parsed.key
        const order = { user, publicKey, ttlSeconds: body.hours * 3600 }
        const caller = callerOf(call)
        const by = actorKeys(caller)
        const whole = { public: by, private: actorNames(caller) }
        const issued = await ca.issueUser(tenant, order, whole)
        // The session may have ended while it was signed: whoever ended it wants no way in to be left.
        const isConfirmed =
          (await people.lives(call.person)) &&
          (await people.stepUp(call.person, 'key.change')) !== undefined
        const { serial, generation } = issued
        if (!isConfirmed) {
          await ca.revoke(tenant, 'user', { serial, generation }, by)
          throw new WebSessionMissing()
        }
        const words = [issued.type, issued.blob.toString('base64'), comment]
        return {
          certificate: words.filter((word) => word !== '').join(' '),
          serial: `${issued.serial}`,
          fingerprint: issued.fingerprint,
          expiresAt: issued.validBefore,
        }
      },
    }),
  ] satisfies readonly Route<WebIdentity, Right>[]
}
