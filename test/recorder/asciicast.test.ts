import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CastInvalid,
  clampSize,
  EventFormat,
  formatHeader,
  outputBytes,
  parseCast,
  parseEvent,
} from '../../src/recorder/asciicast.ts'
import { OutputDecoder } from '../../src/recorder/output-text.ts'

const header = formatHeader({ cols: 80, rows: 24, startedAtMs: 1_700_000_000_000 })

/** A recording of these chunks, as the recorder formats them. */
function castOf(chunks: readonly Buffer[], isTerminal: boolean): string {
  const format = new EventFormat(() => 0)
  const decoder = new OutputDecoder(isTerminal)
  const texts = [...chunks.map((chunk) => decoder.decode(chunk)), decoder.end()]
  const lines = texts.flatMap((piece) => {
    if (piece === undefined) return []
    const { text, exact } = piece
    const output = format.line('o', text)
    return exact === undefined ? [output] : [output, format.line('b', exact.toString('base64'))]
  })
  return header + lines.join('')
}

function readBack(chunks: readonly Buffer[]): Buffer {
  const [terminal, command] = [true, false].map((isTerminal) =>
    outputBytes(parseCast(castOf(chunks, isTerminal)).events),
  )
  // Whatever is shown of them, the bytes are the same.
  expect(command).toEqual(terminal)
  return terminal ?? Buffer.alloc(0)
}

describe('every byte comes back', () => {
  test('of every value, alone and together', () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    expect(readBack([all])).toEqual(all)
    expect(readBack([...all].map((byte) => Buffer.of(byte)))).toEqual(all)
  })

  test('of a character cut at each place, which is still shown whole', () => {
    const text = Buffer.from('é€😀')
    for (let cut = 0; cut <= text.length; cut++) {
      const chunks = [text.subarray(0, cut), text.subarray(cut)]
      expect(readBack(chunks)).toEqual(text)
      const shown = parseCast(castOf(chunks, true)).events.filter(({ code }) => code === 'o')
      expect(shown.map(({ data }) => data).join('')).toBe('é€😀')
    }
  })

  test('TE-06: of any bytes in any chunks', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc.string({ unit: 'binary', maxLength: 32 }).map((text) => Buffer.from(text)),
      fc.constantFrom(...['}\n[', '\u2028\u2029', '\ufeff', '\ufffd', '\r\n'].map(Buffer.from)),
    )
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 12 }), (parts) => {
        const chunks = parts.map((part) => Buffer.from(part))
        expect(readBack(chunks)).toEqual(Buffer.concat(chunks))
      }),
      { numRuns: 500 },
    )
  })

  test('with no exact bytes beside text that stands for itself', () => {
    const cast = castOf([Buffer.from('plain'), Buffer.from('\ufeffäöü\ufffd')], false)
    expect(parseCast(cast).events.map(({ code }) => code)).toEqual(['o', 'o'])
  })
})

describe('lines', () => {
  test('TE-06: hostile text stays inside its own string', () => {
    const hostile = '"]}\n[0,"o","forged"]\n\u2028\u2029\ud800\u0000</script>'
    const text =
      formatHeader({ cols: 1, rows: 1, startedAtMs: 0, title: hostile, command: hostile }) +
      new EventFormat(() => 0).line('m', hostile)
    expect(text.split('\n')).toHaveLength(3)
    expect(text).not.toMatch(/[\u2028\u2029]/)
    const cast = parseCast(text)
    expect(cast.header.title).toBe(hostile)
    expect(cast.events).toEqual([{ interval: 0, code: 'm', data: hostile }])
  })

  test('keep of the environment only what a player may need', () => {
    const env = { TERM: 'xterm', SHELL: '/bin/sh', AWS_SECRET_ACCESS_KEY: 'hidden' }
    const line = formatHeader({ cols: 1, rows: 1, startedAtMs: 0, env })
    expect(JSON.parse(line).env).toEqual({ TERM: 'xterm', SHELL: '/bin/sh' })
  })

  test.each([
    [4_294_967_295, 4_294_967_295, { cols: 1000, rows: 500 }],
    [0, 0, { cols: 80, rows: 24 }],
    [Number.NaN, -5, { cols: 80, rows: 24 }],
    [132, 43, { cols: 132, rows: 43 }],
    // One column makes the portal's player fail at a wide character.
    [1, 1, { cols: 2, rows: 1 }],
  ])('a size of %d × %d is drawn as %o', (cols, rows, size) => {
    expect(clampSize(cols, rows)).toEqual(size)
  })

  test.each(['[-1,"o",""]', '[0,"o"]', '[0,"o",{}]', '["0","o",""]', '{}', '[0,"o","', ''])(
    'refuses %s',
    (line) => {
      expect(() => parseEvent(line)).toThrow(CastInvalid)
    },
  )

  test('a recording without its last line end is refused as torn', () => {
    expect(() => parseCast(`${header}[0,"o","x"]`)).toThrow('torn')
  })
})

describe('time', () => {
  test('a million events over ten hours add up to the clock within a millisecond', () => {
    let nowUs = 0.25
    const format = new EventFormat(() => nowUs)
    const events = 1_000_000
    const stepUs = (10 * 3600 * 1e6) / events + 0.3
    let sum = 0
    for (let event = 0; event < events; event++) {
      nowUs += stepUs
      sum += Number(format.line('o', '').slice(1).split(',')[0])
    }
    expect(Math.abs(sum - (nowUs - 0.25) / 1e6)).toBeLessThan(0.001)
  })

  test('RF-07: a clock that steps back makes no negative interval, and nothing is counted twice', () => {
    const times = [1_000_000, 2_000_000, 500_000, 2_500_000]
    const format = new EventFormat(() => times.shift() ?? 0)
    const lines = [format.line('o', ''), format.line('o', ''), format.line('o', '')]
    expect(lines).toEqual(['[1.000,"o",""]\n', '[0.000,"o",""]\n', '[0.500,"o",""]\n'])
  })

  test('intervals have three to six decimals', () => {
    const times = [0, 1_234_000, 1_234_001, 1_234_011]
    const format = new EventFormat(() => times.shift() ?? 0)
    const intervals = [1, 2, 3].map(() => format.line('m', '').slice(1).split(',')[0])
    expect(intervals).toEqual(['1.234', '0.000001', '0.00001'])
  })
})
