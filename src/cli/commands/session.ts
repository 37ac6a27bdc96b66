import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Session } from '../../access/index.ts'
import { parseSessionId } from '../../recorder/index.ts'
import type { Context } from '../context.ts'
import type { CliProduct } from '../deps.ts'
import { CheckFailed, FileUnusable, NotFound, reason, shown } from '../errors.ts'
import { readableBytes, readableDuration, readableTime } from '../moment.ts'
import { printable } from '../printable.ts'
import { verifyRecording, whyUnrecorded } from '../recording-check.ts'
import type { RecordingMatch } from '../recording-match.ts'
import { printRecording } from '../recording-output.ts'
import { type Column, formatFields } from '../table.ts'
import { type JsonOption, jsonOption, parseCount } from './options.ts'

const columns: readonly Column<Session>[] = [
  { title: 'STARTED', value: ({ startedAt }) => readableTime(startedAt) },
  { title: 'USER', value: ({ user }) => user },
  { title: 'TARGET', value: ({ login, target }) => `${login}@${target}` },
  { title: 'KIND', value: ({ kind }) => kind },
  { title: 'VIA', value: ({ via }) => via },
  { title: 'ENDED', value: endOf },
  { title: 'DURATION', value: durationOf, align: 'right' },
  {
    title: 'BYTES',
    value: ({ live, bytes }) => (live ? '-' : readableBytes(bytes)),
    align: 'right',
  },
  { title: 'ID', value: ({ id }) => id },
]

const killWaitMs = 5000
const killPollMs = 50

/** session list, show, kill, export, verify: for the operator, who sees every session. */
export function sessionCommands(program: Command, context: Context): void {
  const session = program.command('session').description('list, watch over and export sessions')
  session
    .command('list')
    .description('list the sessions of a tenant, newest first')
    .argument('<tenant>')
    .option('--live', 'only sessions that are open now')
    .option('--limit <count>', 'the largest number of sessions', parseCount, 100)
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        { live, limit, json }: JsonOption & { readonly live?: boolean; readonly limit: number },
      ) => {
        const list = await context.withTenant('session list', slug, ({ access }, tenant) =>
          access.sessions(tenant.id, { limit, ...(live === true ? { live } : {}) }),
        )
        const none = live === true ? 'no live sessions' : 'no sessions yet'
        await context.printList(list, { json, columns, toJson, none })
      },
    )
  session
    .command('show')
    .description('show all facts about one session')
    .argument('<id>')
    .addOption(jsonOption())
    .action(async (id: string, { json }: JsonOption) => {
      const found = await context.withProduct('session show', (product) => find(product, id))
      if (json === true) return context.printJson(toJson(found))
      const fields = Object.entries({ ...toJson(found), ...unknownOf(found) }).filter(
        ([, value]) => value !== null,
      )
      await context.print(...formatFields(fields.map(([name, value]) => [name, String(value)])))
    })
  killCommand(session, context)
  exportCommand(session, context)
  verifyCommand(session, context)
}

function killCommand(session: Command, context: Context): void {
  session
    .command('kill')
    .description('end a live session, on any node')
    .argument('<id>')
    .option('--reason <text>', 'the message that the user sees')
    .addOption(jsonOption())
    .action(
      async (id: string, { reason: why, json }: JsonOption & { readonly reason?: string }) => {
        let hadEnded = false
        const ended = await context.withProduct('session kill', async (product) => {
          const { access } = product
          const found = await find(product, id)
          const session = parseSessionId(found.id)
          const result =
            found.live && session !== undefined
              ? await access.killSession(session, context.actor, told(why))
              : 'not-live'
          hadEnded = result === 'not-live'
          const deadline = performance.now() + killWaitMs
          for (;;) {
            const now = await find(product, id)
            if (!now.live) return now
            if (performance.now() > deadline) {
              throw new CheckFailed(
                `session ${id} is marked to end, but its node has not ended it yet: check that the node runs`,
              )
            }
            await sleep(killPollMs)
          }
        })
        const killed = !hadEnded && ended.reason === 'killed'
        const line = killed ? `killed ${id}` : `${id} had already ended`
        await context.printDone(json, toJson(ended), line)
      },
    )
}

function exportCommand(session: Command, context: Context): void {
  session
    .command('export')
    .description('write the recording of a session as asciicast v3')
    .argument('<id>')
    .option('-o, --output <file>', 'the file to write (default: stdout)')
    .option('--force', 'overwrite an existing file')
    .action(
      async (
        id: string,
        { output, force }: { readonly output?: string; readonly force?: boolean },
      ) => {
        await context.withProduct('session export', async (product) => {
          const found = await find(product, id)
          const session = parseSessionId(found.id)
          if (!found.recording || session === undefined) {
            throw new NotFound('session', whyUnrecorded(found))
          }
          const recording = await product.recorder.open(
            found.tenantId,
            session,
            found.recordingBytes,
          )
          // The event is durable before the first byte leaves.
          await product.audit.append(found.tenantId, {
            type: 'recording.open',
            public: { session: found.id, via: 'cli', actor: 'cli', actorKind: 'operator' },
            private: { actorName: context.actor.name },
          })
          if (output === undefined) {
            return printRecording(context.terminal.stdout, recording)
          }
          try {
            const flags = force === true ? 'w' : 'wx'
            await pipeline(recording, createWriteStream(output, { flags, mode: 0o600 }))
          } catch (err) {
            recording.destroy()
            const hint = force === true ? '' : ' (--force overwrites)'
            throw new FileUnusable(`cannot write ${output}: ${reason(err)}${hint}`, { cause: err })
          }
          context.terminal.stderr.write(`wrote ${output}\n`)
        })
      },
    )
}

function verifyCommand(session: Command, context: Context): void {
  session
    .command('verify')
    .description(
      'compare a recording (a session id, or an exported file) with its digest on the log',
    )
    .argument('<id|file>')
    .addOption(jsonOption())
    .action(async (subject: string, { json }: JsonOption) => {
      const { sha256, matches } = await context.withProduct('session verify', (product) =>
        verifyRecording(product, subject),
      )
      const wrong = matches.filter(({ problem }) => problem !== undefined)
      const ok = matches.length > 0 && wrong.length === 0
      const failure = ok ? undefined : mismatch(subject, wrong)
      await context.printCheck(failure, async () => {
        if (json === true) {
          const [match] = matches
          const shown = match === undefined ? nothingMatches : matchToJson(match)
          const all = matches.map(matchToJson)
          return context.printJson({ ...shown, ok, sha256: sha256 ?? null, matches: all })
        }
        const honest = matches.filter(({ problem }) => problem === undefined)
        const word = ok ? 'intact: it matches' : 'matches'
        for (const one of honest) await context.print(printable(`${word} ${placeOf(one)}`))
      })
    })
}

function mismatch(subject: string, wrong: readonly RecordingMatch[]): CheckFailed {
  return new CheckFailed(
    wrong.length > 0
      ? wrong.map(({ tenant, problem }) => `log of ${tenant}: ${problem}`).join('; ')
      : `no log holds the digest of ${subject}: the recording was changed, or another installation made it`,
  )
}

const nothingMatches = {
  tenant: null,
  session: null,
  event: null,
  witnessed: false,
  signed: false,
  problem: null,
}

function matchToJson({ tenant, session, event, problem }: RecordingMatch) {
  return {
    tenant,
    session,
    event: event?.index ?? null,
    witnessed: event?.recordingChain !== undefined,
    signed: event?.isSigned ?? false,
    problem: problem ?? null,
  }
}

function placeOf({ tenant, session, event }: RecordingMatch): string {
  const signed = event?.isSigned === false ? ', which no checkpoint covers yet' : ''
  return `event ${event?.index} of ${tenant} for session ${session}${signed}`
}

/** The message to the user, who must see that somebody ended the session. */
function told(why: string | undefined): string | undefined {
  return why === undefined ? undefined : `an operator ended this session: ${why}`
}

async function find({ access }: CliProduct, id: string): Promise<Session> {
  const found = await access.findSession(id)
  if (found !== undefined) return found
  const hint =
    parseSessionId(id) === undefined ? ': give the whole id, as `session list` prints it' : ''
  throw new NotFound('session', `there is no session ${shown(id)}${hint}`)
}

function endOf({ live, exitStatus, exitSignal, reason: why }: Session): string {
  if (live) return 'live'
  if (exitStatus !== null) return `exit ${exitStatus}`
  return exitSignal === null ? (why ?? '-') : `signal ${exitSignal}`
}

function durationOf({ startedAt, endedAt, live }: Session): string {
  if (endedAt === null && !live) return 'unknown'
  const end = endedAt === null ? Date.now() : Date.parse(endedAt)
  return readableDuration(end - Date.parse(startedAt))
}

/** For people: the fields of an ended session that are null because they are unknown. */
function unknownOf({ live, endedAt, bytes }: Session) {
  if (live) return {}
  return {
    ...(endedAt === null && { endedAt: 'unknown' }),
    ...(bytes === null && { bytes: 'unknown' }),
  }
}

function toJson(session: Session): object {
  const { tenantId: _, ...shown } = session
  return { ...shown, command: session.command ?? null }
}
