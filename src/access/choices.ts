import type { Identity, UserId, WebIdentity } from '../auth/index.ts'
import type { Database, ReadTx } from '../postgres/index.ts'
import { readAskers } from './circumstances.ts'
import { credentialOf } from './decision.ts'
import { findActiveUser } from './people-queries.ts'
import { refusePerson } from './policy.ts'
import {
  countReachable,
  listReachableNames,
  listRecentReachable,
  searchReachableNames,
} from './reachable-queries.ts'

/** A target that the user may choose. */
export interface Choice {
  readonly name: string
  /** RFC 3339, UTC: when the user last opened it. */
  readonly lastAt?: string
}

export interface ChoiceQuery {
  /** Only names that contain this text; those that start with it come first. */
  readonly search?: string
  /** The `next` of the page before. */
  readonly after?: string
  /** 1 to 1000. */
  readonly limit: number
}

/** One page of the targets on which a user may do anything at all. */
export interface ChoicePage {
  /** Without a search, the first page begins with the targets that the user opened last. Then by name. */
  readonly choices: readonly Choice[]
  /** For the page after this one; undefined where this is the last. */
  readonly next: string | undefined
  /** Of all pages; only the first one has it. */
  readonly total?: number
}

const limitMax = 1000
const recentMax = 20
const nothing: ChoicePage = { choices: [], next: undefined, total: 0 }

/** Lists the targets that a user may choose from, by names alone. */
export function listChoices(
  database: Database,
  identity: Identity,
  query: ChoiceQuery,
): Promise<ChoicePage> {
  return database.read(
    identity.tenant,
    async (tx) => {
      const [[asker], page] = await Promise.all([
        readAskers(tx, [credentialOf(identity)]),
        readPage(tx, identity.user.id, query),
      ])
      const mayOpen = asker?.user !== undefined && refusePerson(asker, new Date()) === undefined
      return mayOpen ? page : nothing
    },
    { snapshot: true },
  )
}

/** The same for a user who is signed in to the pages, with whatever key they will come. */
export function listChoicesFor(
  database: Database,
  { tenant, user }: Pick<WebIdentity, 'tenant' | 'user'>,
  query: ChoiceQuery,
): Promise<ChoicePage> {
  return database.read(
    tenant,
    async (tx) => {
      const [now, page] = await Promise.all([
        findActiveUser(tx, user.id),
        readPage(tx, user.id, query),
      ])
      return now === undefined ? nothing : page
    },
    { snapshot: true },
  )
}

async function readPage(
  tx: ReadTx,
  user: UserId,
  { search = '', after = '', limit: asked }: ChoiceQuery,
): Promise<ChoicePage> {
  const limit = Math.min(Math.max(1, asked), limitMax)
  const page = { search, after, limit: limit + 1 }
  const [names, recent, total] = await Promise.all([
    search === '' ? listReachableNames(tx, user, page) : searchReachableNames(tx, user, page),
    search === '' && after === '' ? listRecentReachable(tx, user, recentMax) : [],
    after === '' ? countReachable(tx, user, search) : undefined,
  ])
  const shown = names.slice(0, limit)
  const lastNames = new Set(recent.map(({ name }) => name))
  return {
    choices: [
      ...recent.map(({ name, lastAt }) => ({ name, lastAt: lastAt.toISOString() })),
      ...shown.filter(({ name }) => !lastNames.has(name)),
    ],
    next: names.length > limit ? shown.at(-1)?.name : undefined,
    ...(total !== undefined && { total }),
  }
}
