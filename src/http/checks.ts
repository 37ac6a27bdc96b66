import { errorCode } from '../errors.ts'

/**
 * Resolves when the checked part works; a rejection, or no answer in time, means that it does not.
 */
export type Check = () => Promise<void>

/** A part that people can do without: it is told, and the process stays ready. */
export interface Aside {
  readonly aside: Check
}

export interface Checks {
  readonly [name: string]: Check | Aside
}

export interface CheckReport {
  readonly ready: boolean
  readonly checks: { readonly [name: string]: { readonly ok: boolean; readonly code?: string } }
}

const answerMs = 2000

/** Runs all checks at once. The caller may be a stranger, so a failure shows only its code. */
export async function runChecks(checks: Checks, waitMs = answerMs): Promise<CheckReport> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => {
      const isAside = typeof check !== 'function'
      const result = await run(isAside ? check.aside : check, waitMs)
      return { name, result, isReady: isAside || result.ok }
    }),
  )
  return {
    ready: results.every(({ isReady }) => isReady),
    checks: Object.fromEntries(results.map(({ name, result }) => [name, result])),
  }
}

/** The same for strangers: the checks run at most once in this time, for any number of callers. */
export function shareChecks(checks: Checks, shareMs = 1000): () => Promise<CheckReport> {
  let report: Promise<CheckReport> | undefined
  return () => {
    if (report !== undefined) return report
    report = runChecks(checks)
    const forget = () => setTimeout(() => (report = undefined), shareMs).unref()
    report.then(forget, forget)
    return report
  }
}

async function run(check: Check, waitMs: number): Promise<{ ok: boolean; code?: string }> {
  const late = Promise.withResolvers<'late'>()
  const timer = setTimeout(() => late.resolve('late'), waitMs)
  try {
    const answer = await Promise.race([check(), late.promise])
    return answer === 'late' ? { ok: false, code: 'ERR_TIMEOUT' } : { ok: true }
  } catch (err) {
    const code = errorCode(err)
    return { ok: false, code: code?.startsWith('ERR_') ? code : 'ERR_INTERNAL' }
  } finally {
    clearTimeout(timer)
  }
}
