import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

/** The scripts of package.json that run a task of ours, by the task. */
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>
}
const tasks = Object.values(scripts).flatMap((script) => /bin\/run (\S+)/.exec(script)?.[1] ?? [])

test('every script of the package is a task that there is', () => {
  const { stderr, status } = spawnSync('bin/run', ['no-task'], { encoding: 'utf8' })
  expect(status).toBe(2)
  const known = /^usage: bin\/run (\S+) /.exec(stderr)?.[1]?.split('|') ?? []
  expect(tasks.length).toBeGreaterThan(5)
  expect(known).toEqual(expect.arrayContaining(tasks))
})
