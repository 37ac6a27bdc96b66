import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import { createLog } from '../../src/log.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createRecorder, openDirStore, outputBytes, parseCast } from '../../src/recorder/index.ts'
import { checkRecording, newSession, newTenant, testRecorder } from '../support/recording.ts'

const note = 'recording interrupted: the bastion stopped'

/** A process that records and prints what a user would have been shown, until it is killed. */
const victim = `
import { createLog } from './src/log.ts'
import { createMetrics } from './src/metrics.ts'
import { createRecorder, openDirStore } from './src/recorder/index.ts'
import { writeSync } from 'node:fs'
const [, directory, tenant, session] = process.argv
const recorder = createRecorder({
  store: await openDirStore(directory), log: createLog('silent'), metrics: createMetrics(), floorBytes: 0,
})
const recording = await recorder.start({
  tenant, session, kind: 'terminal', cols: 80, rows: 24, onFailure(err) { throw err },
})
let number = 0
function next() {
  const text = 'line ' + number++ + ' € '.repeat(number % 50)
  recording.output(Buffer.from(text), () => { show(text + '\\n'); setImmediate(next) })
}
function show(text) {
  // A pipe that is full for now takes nothing: what was not taken was not shown.
  for (let rest = Buffer.from(text); rest.length > 0; ) {
    try { rest = rest.subarray(writeSync(1, rest)) } catch (err) { if (err.code !== 'EAGAIN') throw err }
  }
}
for (let parallel = 0; parallel < 8; parallel++) next()
`

test('RF-04: what was shown before kill -9 is in the recording, which plays', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vaultterm-crash-'))
  const recorder = createRecorder({
    store: await openDirStore(directory),
    log: createLog('silent'),
    metrics: createMetrics(),
  })
  try {
    for (let round = 0; round < 10; round++) {
      const tenant = newTenant()
      const session = newSession()
      const child: ChildProcess = spawn(
        process.execPath,
        ['--input-type=module', '--eval', victim, directory, tenant, session],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      )
      const shown: string[] = []
      if (child.stdout === null) throw new Error('the child has an output')
      const lines = createInterface({ input: child.stdout })
      lines.on('line', (line) => {
        shown.push(line)
        if (shown.length === 50 + round * 137) child.kill('SIGKILL')
      })
      await once(lines, 'close')
      expect(shown.length).toBeGreaterThanOrEqual(50)

      const recovered = await recorder.recover({ tenant, session })
      if (recovered.outcome !== 'mended') throw new Error(`it is ${recovered.outcome}`)
      const { cast } = await checkRecording(recorder, tenant, session, recovered)
      const recorded = outputBytes(cast.events).toString()
      expect(recorded.startsWith(shown.join(''))).toBe(true)
      expect(cast.events.at(-1)).toEqual({ interval: 0, code: 'm', data: note })
    }
  } finally {
    await recorder.close()
    await rm(directory, { recursive: true })
  }
})

describe('recovery', () => {
  /** A whole recording to spoil, and a place for the spoiled ones. */
  async function sample() {
    const fixture = await testRecorder()
    const { recording, output, path, check } = await fixture.begin()
    await output('first €\r\n')
    recording.resize(100, 30)
    await output(Buffer.of(0xff, 0xfe))
    recording.exit('0')
    const { cast } = await check()
    return { fixture, whole: await readFile(path), cast }
  }

  test('RF-06: cut at every byte, the whole lines are kept and the rest is gone', async () => {
    const { fixture, whole, cast } = await sample()
    await using owned = fixture
    const { recorder, tenant, directory } = owned
    const headerBytes = whole.indexOf('\n') + 1
    for (let length = 0; length <= whole.length; length++) {
      const session = newSession()
      await writeFile(join(directory, tenant, `${session}.cast`), whole.subarray(0, length))
      const recovered = await recorder.recover({ tenant, session })
      const lines = whole.subarray(0, length).toString('latin1').split('\n').length - 2
      if (length <= headerBytes || lines < 1) {
        expect(recovered).toEqual({ outcome: 'empty' })
        continue
      }
      if (recovered.outcome !== 'mended')
        throw new Error(`of ${length} bytes: ${recovered.outcome}`)
      const found = await checkRecording(recorder, tenant, session, recovered)
      expect(found.cast.events.slice(0, -1)).toEqual(cast.events.slice(0, lines))
      expect(found.cast.events.at(-1)?.data).toBe(note)
    }
  })

  test.each([
    ['zeros of a power cut', Buffer.alloc(5000)],
    ['random bytes', Buffer.from('8f00ff13370a0a0a', 'hex')],
    ['an object', Buffer.from('{"a":1}\n')],
    ['a line without an end, however long', Buffer.alloc(9 * 1048576, '[')],
  ])('RF-06: garbage behind the last line is cut away: %s', async (_, garbage) => {
    const { fixture, whole } = await sample()
    await using owned = fixture
    const { recorder, tenant, directory } = owned
    const session = newSession()
    const path = join(directory, tenant, `${session}.cast`)
    await writeFile(path, Buffer.concat([whole, garbage]))
    const recovered = await recorder.recover({ tenant, session })
    if (recovered.outcome !== 'mended') throw new Error(`it is ${recovered.outcome}`)
    expect(recovered.cutBytes).toBe(garbage.length)
    expect(readFileSync(path).subarray(0, whole.length)).toEqual(whole)
    await checkRecording(recorder, tenant, session, recovered)
  })

  test('happens once, however often it is asked for', async () => {
    const { fixture, whole } = await sample()
    await using owned = fixture
    const { recorder, tenant, directory } = owned
    const session = newSession()
    await writeFile(join(directory, tenant, `${session}.cast`), whole)
    const first = await recorder.recover({ tenant, session })
    expect(first).toMatchObject({ outcome: 'mended', cutBytes: 0 })
    expect(await recorder.recover({ tenant, session })).toEqual(first)
  })

  test('finds nothing where there is nothing, and says so', async () => {
    await using fixture = await testRecorder()
    const { recorder, tenant, directory } = fixture
    const session = newSession()
    expect(await recorder.recover({ tenant, session })).toEqual({ outcome: 'missing' })
    await mkdir(join(directory, tenant))
    await writeFile(join(directory, tenant, `${session}.cast`), '')
    expect(await recorder.recover({ tenant, session })).toEqual({ outcome: 'empty' })
  })

  test('control: without it the torn recording does not play', async () => {
    const { fixture, whole } = await sample()
    await using _ = fixture
    expect(() => parseCast(whole.subarray(0, -3).toString())).toThrow()
  })
})
