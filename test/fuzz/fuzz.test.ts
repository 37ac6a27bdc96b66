import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCampaign } from './campaign.ts'
import { type Subject, startVaultTerm } from './subject.ts'

/** The fuzzers in short: `npm run fuzz` is the same for as long as one likes. */
const seconds = 12
const given = process.env.VAULTTERM_FUZZ_SEED
const seeds = given === undefined ? [1, randomInt(2 ** 31)] : [Number(given), Number(given)]

let subject: Subject
beforeAll(async () => {
  subject = await startVaultTerm()
})
afterAll(() => subject?.close())

test(`strangers and a hostile target, seeds ${seeds.join(' and ')}: repeat one with VAULTTERM_FUZZ_SEED`, async () => {
  const { findings, cases } = await runCampaign({
    subject,
    rounds: seeds.map((seed) => ({ seed, seconds })),
    say: (text) => process.stdout.write(`${text}\n`),
  })
  expect(findings.join('\n')).toBe('')
  expect(cases).toBeGreaterThan(100)
})
