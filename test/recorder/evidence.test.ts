import { execFileSync } from 'node:child_process'
import { link, mkdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import {
  checkWitness,
  type RecordingPoint,
  RecordingWitness,
  type Unended,
} from '../../src/recorder/index.ts'
import { testRecorder } from '../support/recording.ts'

/** A recording that grows, with what another process was told of it. */
async function witnessed(points = 2) {
  const fixture = await testRecorder()
  const witness = new RecordingWitness()
  const told: RecordingPoint[] = []
  const begun = await fixture.begin({
    onDurable(point) {
      told.push(point)
      witness.add(point)
    },
  })
  for (let count = 1; count <= points; count++) {
    await begun.output(`piece ${count}\r\n`)
    await vi.waitFor(() => expect(told.length).toBe(count), { timeout: 30_000 })
  }
  const { kept } = witness
  if (kept === undefined) throw new Error('nothing was witnessed')
  const unended: Unended = { tenant: fixture.tenant, session: begun.session, witness: kept }
  return { ...fixture, ...begun, told, witness, kept, unended }
}

async function* inPieces(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

describe('a witness', () => {
  test('is satisfied by the recording that it saw grow, in whatever pieces it is read', async () => {
    await using its = await witnessed(3)
    await its.output('more, of which no point was told')
    const whole = await readFile(its.path)
    for (const size of [1, 7, whole.length]) {
      expect(await checkWitness(inPieces(whole, size), its.kept)).toBe('intact')
    }
  })

  test('attack: finds every byte that is changed before its last point', async () => {
    await using its = await witnessed(2)
    const whole = await readFile(its.path)
    expect(its.kept.bytes).toBe(whole.length)
    for (let at = 0; at < whole.length; at++) {
      const forged = Buffer.from(whole)
      forged[at] = (forged[at] ?? 0) ^ 1
      expect(await checkWitness(inPieces(forged, 4096), its.kept)).toBe('altered')
    }
    expect(await checkWitness(inPieces(whole.subarray(0, -1), 4096), its.kept)).toBe('altered')
  })

  test('attack: a point that is told of a forged file later does not hide the forgery', async () => {
    await using its = await witnessed(1)
    const forged = Buffer.from((await readFile(its.path)).toString().replace('piece', 'peace'))
    const longer = Buffer.concat([forged, Buffer.from('[0.1,"o","more"]\n')])
    const witness = new RecordingWitness()
    for (const point of its.told) witness.add(point)
    witness.add({ bytes: longer.length, sha256: sha256(longer) })
    if (witness.kept === undefined) throw new Error('nothing was witnessed')
    expect(await checkWitness(inPieces(longer, 4096), witness.kept)).toBe('altered')
  })

  test('attack: takes no point back, and none that is no point', () => {
    const witness = new RecordingWitness()
    expect(witness.add({ bytes: 10, sha256: 'a'.repeat(64) })).toBe(true)
    const { kept } = witness
    for (const point of [
      { bytes: 10, sha256: 'b'.repeat(64) },
      { bytes: 9, sha256: 'b'.repeat(64) },
      { bytes: 11.5, sha256: 'b'.repeat(64) },
      { bytes: Number.NaN, sha256: 'b'.repeat(64) },
      { bytes: 2 ** 60, sha256: 'b'.repeat(64) },
      { bytes: 11, sha256: 'B'.repeat(64) },
      { bytes: 11, sha256: '' },
    ]) {
      expect(witness.add(point)).toBe(false)
    }
    expect(witness.kept).toEqual(kept)
  })

  test('attack: points without end cost little', () => {
    const witness = new RecordingWitness()
    for (let bytes = 1; bytes <= 1_000_000; bytes++) {
      witness.add({ bytes, sha256: '0'.repeat(64) }, 0)
    }
    expect(witness.kept?.offsets.length).toBeLessThan(100_000)
  })

  test('attack: a spoiled list of points is satisfied by nothing', async () => {
    await using its = await witnessed(1)
    const whole = await readFile(its.path)
    for (const offsets of [Buffer.alloc(0), Buffer.alloc(3), Buffer.alloc(40, 0xff)]) {
      const kept = { ...its.kept, offsets }
      expect(await checkWitness(inPieces(whole, 4096), kept)).toBe('altered')
    }
  })
})

function sha256(bytes: Buffer): string {
  return execFileSync('sha256sum', { input: bytes, encoding: 'utf8' }).slice(0, 64)
}

describe('recovery', () => {
  test('says that a recording is what was witnessed', async () => {
    await using its = await witnessed()
    expect(await its.recorder.recover(its.unended)).toMatchObject({
      outcome: 'mended',
      evidence: 'intact',
    })
  })

  test('says nothing of evidence where nothing was witnessed', async () => {
    await using its = await witnessed()
    const { tenant, session } = its
    const recovered = await its.recorder.recover({ tenant, session })
    expect(recovered).toMatchObject({ outcome: 'mended', evidence: undefined })
  })

  test.each<[string, (text: string) => string]>([
    ['changed what was shown', (text) => text.replace('piece 1', 'peace 1')],
    ['took a line out', (text) => text.replace(/^.*piece 1.*\n/m, '')],
    ['cut the end off', (text) => text.replace(/^.*piece 2.*\n/m, '')],
    ['left nothing but the first line', (text) => text.slice(0, text.indexOf('\n') + 1)],
    ['left nothing', () => ''],
  ])('attack: tells that a worker %s before it died', async (_what, forge) => {
    await using its = await witnessed()
    await writeFile(its.path, forge(await readFile(its.path, 'utf8')))
    expect(await its.recorder.recover(its.unended)).toMatchObject({
      outcome: 'mended',
      evidence: 'altered',
    })
  })

  test('says when the last event was', async () => {
    await using its = await witnessed()
    const recovered = await its.recorder.recover(its.unended)
    if (recovered.outcome !== 'mended') throw new Error(`it is ${recovered.outcome}`)
    // The first line has whole seconds.
    expect(Math.abs((recovered.lastEventMs ?? 0) - Date.now())).toBeLessThan(30_000)
    expect(recovered.lastEventMs).toBeLessThanOrEqual(Date.now())
  })

  test('attack: a sparse file of 400 GB costs no more than its first bytes', async () => {
    await using its = await witnessed()
    const { tenant, session, path } = its
    const { length } = await readFile(path)
    await truncate(path, 400e9)
    const recovered = await its.recorder.recover({ tenant, session })
    expect(recovered).toMatchObject({ outcome: 'mended', cutBytes: 400e9 - length })
  })

  test.each([
    ['too-large', { bytesMax: 300_000 }],
    ['too-slow', { timeMaxMs: -1 }],
  ])('leaves a recording as it is that is %s, and says so', async (why, recovery) => {
    await using fixture = await testRecorder({ recovery })
    const { output, path, session } = await fixture.begin()
    for (let count = 0; count < 10; count++) await output('x'.repeat(60_000))
    const before = await readFile(path)
    const { tenant } = fixture
    const recovered = await fixture.recorder.recover({ tenant, session })
    expect(recovered).toEqual({ outcome: 'given-up', why, bytes: before.length })
    expect(await readFile(path)).toEqual(before)
  })
})

describe('attack: something else in the place of a recording', () => {
  const others: [string, (path: string) => Promise<void>][] = [
    ['a FIFO', async (path) => void execFileSync('mkfifo', [path])],
    ['a directory', async (path) => void (await mkdir(path))],
    ['a link to a file', async (path) => symlink(await other(path), path)],
    ['a second name of another file', async (path) => link(await other(path), path)],
    ['a link to nothing', (path) => symlink(`${path}-not-there`, path)],
    ['a link to a device', (path) => symlink('/dev/zero', path)],
  ]

  /** A file that must stay as it is. */
  async function other(path: string): Promise<string> {
    await writeFile(`${path}-other`, 'a secret, and no recording\n')
    return `${path}-other`
  }

  test.each(others)('%s is neither mended nor read, and nobody waits for it', async (_, put) => {
    await using its = await witnessed(1)
    const { tenant, session, path, recorder } = its
    await rm(path)
    await put(path)
    expect(await recorder.recover({ tenant, session })).toMatchObject({
      outcome: 'given-up',
      why: 'not-a-file',
    })
    await expect(recorder.open(tenant, session)).rejects.toMatchObject({
      code: 'ERR_RECORDING_UNUSABLE',
    })
    const left = await readFile(`${path}-other`, 'utf8').catch(() => undefined)
    expect([undefined, 'a secret, and no recording\n']).toContain(left)
  })

  test('a link in the place of the tenant’s directory leads nowhere', async () => {
    await using its = await witnessed(1)
    const { tenant, session, path, recorder, directory } = its
    await rm(dirname(path), { recursive: true })
    await symlink(directory, dirname(path))
    expect(await recorder.recover({ tenant, session })).toMatchObject({ outcome: 'given-up' })
  })

  test('a file of another length is not read where the length is known', async () => {
    await using its = await witnessed(1)
    const { tenant, session, path, recorder } = its
    const { length } = await readFile(path)
    await truncate(path, 400e9)
    await expect(recorder.open(tenant, session, length)).rejects.toMatchObject({
      code: 'ERR_RECORDING_UNUSABLE',
      why: 'other-size',
    })
  })
})
