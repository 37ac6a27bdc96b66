import { z } from 'zod'
import { actorKeys, type StepUpPurpose, type WebIdentity } from '../auth/index.ts'
import { type Ca, CertificateRefused } from '../ca/index.ts'
import { type Route, type RouteRight, routesFor, text } from '../http/index.ts'
import { parsePublicKey } from '../ssh/index.ts'
import { callerOf } from './caller.ts'

export interface CertificateRoutesDeps<Right extends RouteRight> {
  readonly ca: Pick<Ca, 'issueUser'>
  readonly right: Right
}

const hoursMax = 24

/** Certificates for a person's own keys, which need not be registered. */
export function certificateRoutes<Right extends RouteRight>({
  ca,
  right,
}: CertificateRoutesDeps<Right>) {
  const route = routesFor<WebIdentity, Right, StepUpPurpose>()
  return [
    route({
      method: 'POST',
      path: '/api/v1/self/certificates',
      summary: 'Certify a key of yours for some hours: one line of a .pub file',
      description:
        'Put `certificate` beside the key as NAME-cert.pub, where ssh finds it. It ends with your account and your grants, as a key does.',
      right,
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
        const issued = await ca.issueUser(tenant, order, actorKeys(callerOf(call)))
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
