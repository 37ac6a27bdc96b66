import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCampaign } from './campaign.ts'
import { type Subject, startVaultTerm } from './subject.ts'
import { bounds } from './watchdog.ts'

/** The fuzzers in short: `npm run fuzz` is the same for as long as one likes. */
const seconds = 12
/** Beside the other tests a login takes its time: here it is late when it hangs. */
const patient = {
  ...bounds,
  answerMs: 45_000,
  settleMs: 90_000,
  // In so short a time what is kept to read into is still filling up in the second half, the more so on a fast
  // machine. The long run has the narrow bound.
  growthBytes: 3 * bounds.growthBytes,
}
const given = process.env.VAULTTERM_FUZZ_SEED
const seeds = given === undefined ? [1, randomInt(2 ** 31)] : [Number(given), Number(given)]

let subject: Subject
beforeAll(async () => {
  subject = await startVaultTerm()
})
afterAll(() => subject?.close())

test(`strangers and a hostile target, seeds ${seeds.join(' and ')}: repeat one with VAULTTERM_FUZZ_SEED`, async () => {
  // A busy machine has next to nothing for whoever lets all others go first.
  for (let enough = 100; enough > 0; ) {
    const { findings, cases } = await runCampaign({
      subject,
      rounds: seeds.map((seed) => ({ seed, seconds })),
      limits: patient,
      say: (text) => process.stdout.write(`${text}\n`),
    })
    expect(findings.join('\n')).toBe('')
    enough -= cases
  }
})
