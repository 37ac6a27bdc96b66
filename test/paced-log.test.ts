import { expect, test } from 'vitest'
import { createLog } from '../src/log.ts'
import { pacedLog } from '../src/paced-log.ts'

function open(level = 'info') {
  const lines: { level: string; msg: string; n?: number; leftOut?: number; child?: string }[] = []
  let nowMs = 0
  const log = pacedLog(
    createLog(level, { write: (line) => void lines.push(JSON.parse(line)) }),
    { burst: 3, perSecond: 1 },
    () => nowMs,
  )
  const passes = (ms: number) => {
    nowMs += ms
  }
  return { log, lines, passes }
}

test('attack: a flood of lines leaves the first ones, one a second, and how many were left out', () => {
  const { log, lines, passes } = open()
  for (let n = 0; n < 1000; n++) log.info({ n }, 'refused')
  expect(lines.map(({ n }) => n)).toEqual([0, 1, 2])
  passes(1000)
  for (let n = 1000; n < 2000; n++) log.info({ n }, 'refused')
  expect(lines.slice(3)).toMatchObject([{ n: 1000, leftOut: 997, msg: 'refused' }])
  passes(60_000)
  for (let n = 0; n < 3; n++) log.info({ n }, 'refused')
  expect(lines.slice(4)).toMatchObject([{ leftOut: 999 }, { n: 1 }, { n: 2 }])
  expect(lines.at(-1)).not.toHaveProperty('leftOut')
})

test('attack: a flood of one level hides no line of another, and its children share its lines', () => {
  const { log, lines } = open()
  for (let n = 0; n < 10; n++) log.info('refused')
  log.error({ err: new Error('real') }, 'failed')
  expect(lines.at(-1)).toMatchObject({ level: 'error', msg: 'failed', err: { message: 'real' } })
  log.child({ child: 'a' }).info('more')
  expect(lines).toHaveLength(4)
  log.child({ child: 'a' }).error('again')
  expect(lines.at(-1)).toMatchObject({ child: 'a', msg: 'again' })
})

test('a level that is off costs nothing', () => {
  const { log, lines } = open('warn')
  for (let n = 0; n < 10; n++) log.info('refused')
  log.warn('seen')
  expect(lines).toMatchObject([{ msg: 'seen' }])
  expect(lines[0]).not.toHaveProperty('leftOut')
  expect(log.level).toBe('warn')
})
