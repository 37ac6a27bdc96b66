import { expect, test } from 'vitest'
import { EventFormat, parseEvent } from '../../src/recorder/asciicast.ts'
import { EventScan } from '../../src/recorder/event-scan.ts'

const samples = [
  '[0,"o",""]\n',
  '[0.000,"o","first € \\u001b[0m\\r\\n"]\n',
  '[12.345678,"i","\\"\\\\\\/\\b\\f\\n\\r\\t\\ud83d"]\n',
  '[1.5,"r","80x24"]\n',
  '[0.1,"m","a marker"]\n',
  '[00.1,"o","x"]\n',
  '[1.,"o","x"]\n',
  '[.1,"o","x"]\n',
  '[1e3,"o","x"]\n',
  '[-1,"o","x"]\n',
  '[123456789012345,"o","x"]\n',
  '[1234567890123456,"o","x"]\n',
  '[0.1234567890123456789,"o","x"]\n',
  '[0.1, "o","x"]\n',
  '[0.1,"o","x",1]\n',
  '[0.1,"oo","x"]\n',
  '[0.1,"o","\\x"]\n',
  '[0.1,"o","\\u12g4"]\n',
  '[0.1,"o","x"]',
  '[0.1,"o","x"]\r\n',
  '[0.1,"o","x\n',
]
const spoilers = Buffer.from('[]",.0195omx\\u\n\r\t\u0000\u007f€ -e{}#')

/** What is read in place, as parseEvent gives it; undefined for what is left to it. */
function read(line: Buffer) {
  const scan = new EventScan()
  const end = scan.read(line, 0)
  return end === 0 ? undefined : { end, interval: scan.interval, isOutput: scan.isOutput }
}

test('attack: no line is read in another way in its place than as a whole', () => {
  let taken = 0
  let state = 1
  const random = (max: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % max
  }
  for (let round = 0; round < 200_000; round++) {
    const line = Buffer.from(samples[random(samples.length)] ?? '')
    for (let count = random(4); count > 0; count--) {
      line[random(line.length)] = spoilers[random(spoilers.length)] ?? 0
    }
    const found = read(line)
    if (found === undefined) continue
    taken++
    expect(found.end).toBe(line.indexOf('\n') + 1)
    const { interval, code } = parseEvent(line.toString('utf8', 0, found.end))
    expect([found.interval, found.isOutput]).toEqual([interval, code === 'o'])
    expect(code).not.toBe('m')
  }
  expect(taken).toBeGreaterThan(10_000)
})

test('reads what we write in its place', () => {
  let nowUs = 0
  const format = new EventFormat(() => nowUs)
  for (const data of ['', 'ls -la\r\n', '\u001b[31m€ 😀\u0000\u007f', '\ud800 "quoted" \\ /']) {
    nowUs += 1_234_567
    const line = Buffer.from(format.line('o', data))
    expect(read(line)).toEqual({
      end: line.length,
      interval: parseEvent(line.toString()).interval,
      isOutput: true,
    })
  }
})
