import { z } from 'zod'
import { channelKinds } from '../access/index.ts'

/** A session as the API shows it. Fields may be added. */
export const sessionShape = z
  .object({
    id: z.string(),
    tenant: z.string(),
    tenantId: z.string(),
    user: z.string(),
    target: z.string(),
    login: z.string(),
    kind: z.enum(channelKinds),
    via: z.enum(['direct', 'jump', 'web']),
    command: z.string().optional().meta({
      description:
        'Bytes that are no UTF-8 are replaced. A list has the first 1,024 bytes, and … for the rest',
    }),
    commandBytes: z.int().optional().meta({ description: 'Of the whole command' }),
    commandSha256: z.string().optional().meta({ description: 'Absent where the command is cut' }),
    source: z.string(),
    clientIdent: z.string(),
    node: z.string(),
    startedAt: z.iso.datetime(),
    endedAt: z.iso.datetime().nullable().meta({
      description: 'null for a live session; for an ended one: the time of its end is unknown',
    }),
    reason: z
      .string()
      .nullable()
      .meta({ description: 'How it ended: ended, client-gone, killed, interrupted, or a code' }),
    killReason: z
      .string()
      .nullable()
      .meta({ description: 'The message of a kill; null where the session was not killed' }),
    exitStatus: z.int().nullable(),
    exitSignal: z.string().nullable(),
    bytes: z.int().nullable().meta({
      description: 'null: not known, as of a session that is live or was cut off',
    }),
    recording: z.boolean().meta({ description: 'Whether there is something to watch' }),
    recordingSha256: z.string().nullable(),
    recordingBytes: z.int().nullable(),
    recordingIntact: z.boolean().nullable().meta({
      description:
        'false: the recording was changed while it grew; null: there is no witness of it',
    }),
    live: z.boolean(),
  })
  .meta({ id: 'Session' })
