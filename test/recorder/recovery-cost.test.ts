import { readFile, writeFile } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { parseEvent } from '../../src/recorder/asciicast.ts'
import {
  checkRecording,
  newSession,
  type TestRecorder,
  testRecorder,
} from '../support/recording.ts'

const header = '{"version":3,"term":{"cols":80,"rows":24},"timestamp":1700000000}\n'

/** A recording of one line over and over, as a worker that was taken over leaves it. */
async function repeated({ directory, tenant, begin }: TestRecorder, line: string, count: number) {
  // For its directory.
  await begin()
  const session = newSession()
  const path = `${directory}/${tenant}/${session}.cast`
  await writeFile(path, header + line.repeat(count))
  return { tenant, session, path }
}

/** Of this thread: a busy machine does not count. */
const cpuMs = () => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

test('attack: tiny lines cost the process far less than to parse each of them', async () => {
  await using its = await testRecorder()
  const [line, count] = ['[0,"o",""]\n', 1_000_000]
  const { tenant, session } = await repeated(its, line, count)
  const beforeMs = cpuMs()
  for (let i = 0; i < count; i++) parseEvent(Buffer.from(line).toString('utf8'))
  const parsedMs = cpuMs() - beforeMs
  const startMs = cpuMs()
  const recovered = await its.recorder.recover({ tenant, session })
  expect(recovered).toMatchObject({ outcome: 'mended', events: count + 1, cutBytes: 0 })
  expect(cpuMs() - startMs).toBeLessThan(parsedMs / 2)
})

test('attack: recordings of lines in a spelling that is dear to read hold the process up only for moments', async () => {
  await using its = await testRecorder()
  // A chunk of them is read at once from the disk, and one of each recording may come in the same turn.
  const [line, chunks, recordings] = ['[0, "o",""]\n', 6, 8]
  const perChunk = Math.floor((256 * 1024) / line.length)
  const all = await Promise.all(
    Array.from({ length: recordings }, () => repeated(its, line, perChunk * chunks)),
  )
  const beforeMs = cpuMs()
  for (let i = 0; i < perChunk; i++) parseEvent(Buffer.from(line).toString('utf8'))
  const chunkMs = cpuMs() - beforeMs
  let isOver = false
  const pauses: number[] = []
  const watching = (async () => {
    for (let lastMs = cpuMs(); !isOver; lastMs = cpuMs()) {
      await setImmediate()
      pauses.push(cpuMs() - lastMs)
    }
  })()
  const recovered = await Promise.all(all.map((one) => its.recorder.recover(one)))
  expect(recovered.map(({ outcome }) => outcome)).toEqual(all.map(() => 'mended'))
  isOver = true
  await watching
  // Linux counts the time of a thread in steps of 4 ms while others want its processor.
  const longMs = Math.max(2 * chunkMs, 16)
  expect(pauses.filter((ms) => ms > longMs).length).toBeLessThan(chunks / 2)
})

test('stops in time where it may take only a moment, changes nothing, and does it all later', async () => {
  await using its = await testRecorder()
  const one = await repeated(its, '[0.5,"o","x"]\n', 100_000)
  const before = await readFile(one.path)
  const soon = { ...one, withinMs: -1 }
  expect(await its.recorder.recover(soon)).toEqual({ outcome: 'unfinished' })
  expect(await readFile(one.path)).toEqual(before)
  const recovered = await its.recorder.recover(one)
  if (recovered.outcome !== 'mended') throw new Error(`it is ${recovered.outcome}`)
  await checkRecording(its.recorder, one.tenant, one.session, recovered)
  expect(recovered.durationMs).toBe(50_000_000)
  // A short one is always read.
  const short = await repeated(its, '[0.5,"o","x"]\n', 1000)
  expect(await its.recorder.recover({ ...short, withinMs: -1 })).toMatchObject({
    outcome: 'mended',
  })
})

test('reads lines of every length across the borders of what is read at once', async () => {
  await using its = await testRecorder()
  const { tenant, session, path } = await repeated(its, '', 0)
  const lines = [1, 4090, 256 * 1024, 700_000, 5, 0, 262_100, 4096].map(
    (length, index) => `[0.${index}5,"o","${'€'.repeat(length / 3)}${'x'.repeat(length % 3)}"]\n`,
  )
  await writeFile(path, `${header}# a comment\n${lines.join('')}[0.1,"o","torn`)
  const recovered = await its.recorder.recover({ tenant, session })
  if (recovered.outcome !== 'mended') throw new Error(`it is ${recovered.outcome}`)
  const { cast } = await checkRecording(its.recorder, tenant, session, recovered)
  expect(cast.events.length).toBe(lines.length + 1)
  expect(recovered.cutBytes).toBe('[0.1,"o","torn'.length)
})
