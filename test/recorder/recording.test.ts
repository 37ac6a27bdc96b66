import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { access, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { describe, expect, test, vi } from 'vitest'
import { outputBytes } from '../../src/recorder/asciicast.ts'
import { freshState, OutputDecoder } from '../../src/recorder/output-text.ts'
import { PromptWrites } from '../../src/recorder/prompt-writes.ts'
import { Tail } from '../../src/recorder/tail.ts'
import { newSession, newTenant, testRecorder } from '../support/recording.ts'

test('output is in the file before its callback runs, in order', async () => {
  await using fixture = await testRecorder()
  const { recording, path, check } = await fixture.begin()
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 200 }, (_, number) => {
      return new Promise<void>((done) => {
        recording.output(Buffer.from(`line ${number}\r\n`), () => {
          expect(readFileSync(path, 'utf8')).toContain(`line ${number}\\r\\n`)
          order.push(number)
          done()
        })
      })
    }),
  )
  expect(order).toEqual(Array.from({ length: 200 }, (_, number) => number))
  await check()
})

test('a session with output, sizes, a marker and an exit reads back as it was', async () => {
  await using fixture = await testRecorder()
  const { recording, output, check } = await fixture.begin({
    cols: 4_294_967_295,
    rows: 30,
    term: 'xterm-256color',
    title: 'demo on web1 as root',
  })
  await output('hello')
  recording.resize(132, 43)
  await output('world')
  recording.resize(132, 43)
  recording.marker('sftp started')
  recording.exit('0')
  const { cast, digest } = await check()
  expect(cast.header.term).toEqual({ cols: 1000, rows: 30, type: 'xterm-256color' })
  expect(cast.header.title).toBe('demo on web1 as root')
  expect(cast.events.map(({ code, data }) => [code, data])).toEqual([
    ['o', 'hello'],
    ['r', '132x43'],
    ['o', 'world'],
    ['m', 'sftp started'],
    ['x', '0'],
  ])
  expect(digest.empty).toBe(false)
  expect(digest.streams).toBeUndefined()
})

test('a client that resizes without end cannot fill the memory or the disk', async () => {
  await using fixture = await testRecorder()
  const { recording, output, check } = await fixture.begin()
  for (let cols = 1; cols <= 1000; cols++) recording.resize(cols, 10)
  await output('x')
  const sizes = (await check()).cast.events.filter(({ code }) => code === 'r')
  expect(sizes.map(({ data }) => data)).toEqual(['1000x10'])
})

test('one chunk of a hundred megabytes is many events that any reader takes', async () => {
  await using fixture = await testRecorder()
  const { output, check } = await fixture.begin()
  await output(Buffer.alloc(8 * 1048576, 'x'))
  const { cast } = await check()
  expect(Math.max(...cast.events.map(({ data }) => data.length))).toBeLessThanOrEqual(65536)
})

test('RF-12: what the user types is not recorded', async () => {
  await using fixture = await testRecorder()
  const { recording, output, check } = await fixture.begin()
  await output('Password: ')
  recording.inputSeen()
  const { cast } = await check()
  expect(cast.events.map(({ code }) => code)).toEqual(['o'])
})

test('a session in which nothing was seen is not kept', async () => {
  await using fixture = await testRecorder()
  const { recording, session, path } = await fixture.begin()
  recording.exit('0')
  expect((await recording.end()).empty).toBe(true)
  await expect(access(path)).rejects.toThrow('ENOENT')
  await expect(fixture.recorder.open(fixture.tenant, session)).rejects.toMatchObject({
    code: 'ERR_RECORDING_MISSING',
  })
})

test('a live recording can be opened, up to its last whole line', async () => {
  await using fixture = await testRecorder()
  const { output, session, path, check } = await fixture.begin()
  await output('so far')
  const open = async () =>
    Buffer.concat(await (await fixture.recorder.open(fixture.tenant, session)).toArray()).toString()
  expect(await open()).toMatch(/"so far"\]\n$/)
  await writeFile(path, '[0,"o","half', { flag: 'a' })
  expect(await open()).toMatch(/"so far"\]\n$/)
  await fixture.recorder.remove(fixture.tenant, session)
  await check().catch(() => undefined)
})

describe('a command without a terminal', () => {
  const kept = { firstBytes: 1000, lastBytes: 100 }

  test('keeps short output of both streams whole, and needs no other digest of them', async () => {
    await using fixture = await testRecorder({ kept })
    const { recording, output, check } = await fixture.begin({ kind: 'exec', command: 'make' })
    await output('out')
    await new Promise<void>((written) => recording.errorOutput(Buffer.from('err'), written))
    const { cast, digest } = await check()
    expect(cast.header).toMatchObject({ command: 'make' })
    expect(cast.header.term.type).toBeUndefined()
    expect(outputBytes(cast.events).toString()).toBe('outerr')
    expect(digest.streams).toBeUndefined()
  })

  test('keeps the beginning and the end of long output, and says what is missing', async () => {
    await using fixture = await testRecorder({ kept })
    const { recording, output, check } = await fixture.begin({ kind: 'exec', command: 'cat big' })
    const bytes = randomBytes(5000)
    for (let at = 0; at < bytes.length; at += 300) await output(bytes.subarray(at, at + 300))
    recording.exit('0')
    const { cast, digest } = await check()
    const note = cast.events.findIndex(({ code }) => code === 'm')
    expect(cast.events[note]?.data).toBe(
      `3900 bytes not shown; the whole: output 5000 bytes SHA-256 ${sha256(bytes)}, ` +
        `error output 0 bytes SHA-256 ${sha256('')}`,
    )
    expect(outputBytes(cast.events.slice(0, note))).toEqual(bytes.subarray(0, 1000))
    expect(outputBytes(cast.events.slice(note))).toEqual(bytes.subarray(4900))
    expect(cast.events.at(-1)).toMatchObject({ code: 'x', data: '0' })
    expect(digest.streams?.output).toEqual({ bytes: 5000, sha256: sha256(bytes) })
  })

  test('attack: no text is hidden in the replay by a byte that it does not show', async () => {
    await using fixture = await testRecorder({ kept })
    const { recording, output, check } = await fixture.begin({
      kind: 'exec',
      command: 'cat can.bin',
    })
    await output('\x1b[8m\x1b[6;1H\x1b7\x1b]0;x')
    // CAN ends the sequence on a terminal; so does a byte that is no text within one.
    const bytes = Buffer.concat([
      Buffer.alloc(200),
      Buffer.from('\x18SEEN\x9b8m\x1b['),
      Buffer.of(0xff),
      Buffer.from('8m too\x1bE\rover'),
    ])
    await output(bytes)
    // What is text again moves a cursor that is elsewhere by now, and so does the other stream.
    await output('\x1b8THIS TOO\x1b[1;1H\r    \n')
    await new Promise<void>((done) =>
      recording.errorOutput(Buffer.from('\x1b[2Jand this\r\n'), done),
    )
    const { cast } = await check()
    const shown = cast.events.filter(({ code }) => code === 'o').map(({ data }) => data)
    expect(shown[0]).toBe('\x1b[8m\x1b[6;1H\x1b7\x1b]0;x')
    expect(shown.slice(1)).toEqual([
      `${freshState}SEEN8m[8m tooE\nover`,
      '8THIS TOO[1;1H\n    \n',
      '[2Jand this\r\n',
    ])
    expect(outputBytes(cast.events.slice(1, 3))).toEqual(bytes)
  })

  test('attack: the end of a long output is seen, whatever was open where its beginning was cut', async () => {
    await using fixture = await testRecorder({ kept })
    const { output, check } = await fixture.begin({ kind: 'exec', command: 'cat tail.bin' })
    await output(`${'y'.repeat(996)}\x1b]0;`)
    await output(`\x07${'z'.repeat(5000)}SEEN\x1b[?1047l\rover`)
    const { cast } = await check()
    const note = cast.events.findIndex(({ code }) => code === 'm')
    expect(cast.events[note - 1]?.data.endsWith('\x1b]0;')).toBe(true)
    expect(cast.events[note + 1]).toMatchObject({ code: 'o', data: freshState })
    expect(cast.events[note + 3]?.data).toMatch(/^z+SEEN\[\?1047l\nover$/)
    expect(outputBytes(cast.events.slice(note)).toString()).toMatch(/SEEN.*over$/s)
    // The control: what is shown from its beginning to its end is shown as it came.
    const { output: more, check: checkMore } = await fixture.begin({ kind: 'exec', command: 'ls' })
    await more('\x1b[1mblue\x1b[m\r\n')
    expect((await checkMore()).cast.events[0]?.data).toBe('\x1b[1mblue\x1b[m\r\n')
  })

  test('digests the whole of an SFTP stream of which it keeps a part', async () => {
    await using fixture = await testRecorder()
    const { output, check } = await fixture.begin({ kind: 'sftp' })
    const bytes = randomBytes(300 * 1024)
    await output(bytes.subarray(0, 200 * 1024))
    await output(bytes.subarray(200 * 1024))
    const { digest } = await check()
    expect(digest.streams?.output).toEqual({ bytes: bytes.length, sha256: sha256(bytes) })
  })

  test('RF-08: gigabytes cost neither memory nor disk', async () => {
    await using fixture = await testRecorder()
    const { recording, path, check } = await fixture.begin({ kind: 'exec' })
    const chunk = Buffer.alloc(1048576, 'y\n')
    const before = process.memoryUsage().rss
    for (let count = 0; count < 1024; count++) {
      await new Promise<void>((written) => recording.output(chunk, written))
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1048576)
    const { digest } = await check()
    expect(digest.streams?.output.bytes).toBe(1024 * 1048576)
    expect(statSync(path).size).toBeLessThan(16 * 1048576)
  })
})

describe('the tail', () => {
  test('is the last bytes, whatever the chunks', () => {
    const tail = new Tail(10)
    const all: Buffer[] = []
    for (let length = 0; length < 35; length = length * 2 + 1) {
      const chunk = randomBytes(length)
      all.push(chunk)
      tail.push(chunk)
      expect(tail.bytes()).toEqual(Buffer.concat(all).subarray(-10))
    }
  })

  test('is not changed by what its owner does to a chunk later', () => {
    const chunk = Buffer.from('before')
    const tail = new Tail(10)
    tail.push(chunk)
    chunk.fill('x')
    expect(tail.bytes().toString()).toBe('before')
  })
})

test('an unfinished character at the end is marked', () => {
  const decoder = new OutputDecoder(true)
  expect(decoder.decode(Buffer.of(0xe2, 0x82))).toEqual({ text: '', exact: Buffer.of(0xe2, 0x82) })
  expect(decoder.end()).toEqual({ text: '\ufffd', exact: Buffer.alloc(0) })
  expect(decoder.end()).toBeUndefined()
})

test.each([
  ['zeros', Buffer.alloc(600)],
  ['what is compressed', deflateSync(randomBytes(600))],
  ['a program', Buffer.from('7f454c4602010100000000000000000003003e00', 'hex')],
])('of %s a command puts the bytes on record, and what can be read of them', (_what, bytes) => {
  const { text, exact } = new OutputDecoder(false).decode(bytes)
  expect(exact).toEqual(bytes)
  expect(text).not.toMatch(/[\0\ufffd]/)
  expect(new OutputDecoder(true).decode(bytes).text.length).toBeGreaterThan(
    text.replace(freshState, '').length,
  )
})

test.each([
  ['behind', Buffer.concat([Buffer.alloc(600), Buffer.from('root:x:0:0 größer')])],
  ['between', Buffer.from('root:x:0:0 größer', 'utf16le')],
])('attack TE-08: text that stands %s zeros is in the recording', (where, bytes) => {
  const { text } = new OutputDecoder(false).decode(bytes)
  expect(text).toContain(where === 'behind' ? 'root:x:0:0 größer' : 'root:x:0:0 gr')
})

test('of SFTP what comes on stderr is on record, however much of packets there was', async () => {
  await using fixture = await testRecorder()
  const { recording, output, check } = await fixture.begin({ kind: 'sftp' })
  await output(Buffer.alloc(320 * 1024, 'p'))
  await new Promise<void>((written) => recording.errorOutput(Buffer.from('a secret'), written))
  const { cast } = await check()
  const shown = outputBytes(cast.events).toString()
  expect(shown).toHaveLength(256 * 1024 + 8)
  expect(shown).toContain('a secret')
})

test.each([
  ['names that NUL separates', Buffer.from('./src/main.ts\0./src/app.ts\0'.repeat(20))],
  ['colours', Buffer.from('\x1b[31mred\x1b[0m '.repeat(50))],
  ['another alphabet', Buffer.from('Übergröße 日本語 '.repeat(50))],
  ['an old encoding', Buffer.from('Stra\u00dfe und Gr\u00fc\u00dfe. '.repeat(50), 'latin1')],
])('%s are text in a command too', (_what, bytes) => {
  expect(new OutputDecoder(false).decode(bytes)).toEqual(new OutputDecoder(true).decode(bytes))
})

describe('small writes', () => {
  const ext4 = 0xef53
  const bytes = Buffer.alloc(100)

  test('are done at once, where the storage is this machine’s', () => {
    const write = vi.fn(() => 40)
    expect(new PromptWrites(ext4).write(7, bytes, write)).toBe(40)
    expect(write).toHaveBeenCalledWith(7, bytes)
    // NFS, and what is long.
    expect(new PromptWrites(0x6969).write(7, bytes, write)).toBe(0)
    expect(new PromptWrites(ext4).write(7, Buffer.alloc(20_000), write)).toBe(0)
    expect(write).toHaveBeenCalledTimes(1)
  })

  test('are left to the threads for a while when one has kept us waiting, or has failed late', () => {
    let nowMs = 0
    let takesMs = 1
    const prompt = new PromptWrites(ext4, () => nowMs)
    const write = () => {
      nowMs += takesMs
      if (takesMs > 100) throw new Error('late')
      return 100
    }
    expect(prompt.write(7, bytes, write)).toBe(100)
    takesMs = 6
    expect(prompt.write(7, bytes, write)).toBe(100)
    expect(prompt.write(7, bytes, write)).toBe(0)
    nowMs += 1001
    takesMs = 200
    expect(() => prompt.write(7, bytes, write)).toThrow('late')
    nowMs += 999
    expect(prompt.write(7, bytes, write)).toBe(0)
  })
})

describe('names', () => {
  test('a second recording of one session is refused, and the first is untouched', async () => {
    await using fixture = await testRecorder()
    const first = await fixture.begin()
    await first.output('first')
    await expect(fixture.begin({ session: first.session })).rejects.toMatchObject({
      code: 'ERR_RECORDER_FAILED',
    })
    expect((await first.check()).text).toContain('"first"')
  })

  test('a symbolic link is neither written nor read, as file or as directory', async () => {
    await using fixture = await testRecorder()
    const { recorder, directory, tenant } = fixture
    const outside = join(directory, 'outside')
    await mkdir(outside)
    await writeFile(join(outside, 'secret'), 'secret\n')
    const session = newSession()
    await mkdir(join(directory, tenant))
    await symlink(join(outside, 'secret'), join(directory, tenant, `${session}.cast`))
    await expect(recorder.open(tenant, session)).rejects.toThrow('not a regular file')
    await expect(fixture.begin({ session })).rejects.toMatchObject({ code: 'ERR_RECORDER_FAILED' })
    const linked = newTenant()
    await symlink(outside, join(directory, linked))
    await expect(fixture.begin({ tenant: linked })).rejects.toMatchObject({
      code: 'ERR_RECORDER_FAILED',
    })
    await expect(recorder.open(linked, session)).rejects.toThrow('not a regular file')
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret\n')
  })

  test('only the owner may read a recording', async () => {
    await using fixture = await testRecorder()
    const { path, output } = await fixture.begin()
    await output('x')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700)
  })

  test('one tenant does not find the recording of another', async () => {
    await using fixture = await testRecorder()
    const { session, output } = await fixture.begin()
    await output('x')
    const foreign = fixture.recorder.open(newTenant(), session)
    const missing = fixture.recorder.open(fixture.tenant, newSession())
    const [a, b] = await Promise.allSettled([foreign, missing])
    expect(a).toEqual(b)
    expect(a).toMatchObject({ status: 'rejected', reason: { code: 'ERR_RECORDING_MISSING' } })
  })
})

test('metrics count bytes, open recordings and failures', async () => {
  await using fixture = await testRecorder()
  const { output, check } = await fixture.begin()
  await output('x')
  expect(await fixture.metrics.metrics()).toMatch(/^bastion_recordings_open 1$/m)
  const { digest } = await check()
  const text = await fixture.metrics.metrics()
  expect(text).toMatch(new RegExp(`^bastion_recorder_bytes_total ${digest.bytes}$`, 'm'))
  expect(text).toMatch(/^bastion_recordings_open 0$/m)
  expect(text).toMatch(/^bastion_recorder_lag_seconds 0$/m)
  expect(text).toMatch(/^bastion_recorder_failures_total\{reason="full"\} 0$/m)
})

function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}
