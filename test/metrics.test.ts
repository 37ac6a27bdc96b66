import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { expect, test } from 'vitest'
import {
  type Figures,
  knownMetrics,
  mergeMetrics,
  parseFigures,
  retireFigures,
} from '../src/metrics.ts'

/** What each worker counts: a counter, a histogram and a gauge. */
function open() {
  const registry = new Registry()
  const registers = [registry]
  const bytes = new Counter({ name: 'bytes_total', help: 'b', labelNames: ['way'], registers })
  const seconds = new Histogram({ name: 'dial_seconds', help: 's', buckets: [1], registers })
  const live = new Gauge({ name: 'live', help: 'l', registers })
  return { registry, bytes, seconds, live }
}

const known = knownMetrics(open().registry)
const parse = (all: unknown) => parseFigures(JSON.stringify(all), known)
const printed = (figures: unknown) => mergeMetrics(new Registry(), async () => [figures as never])

test('sums what workers counted, and keeps the sums of those that are gone', async () => {
  const [one, other] = [open(), open()]
  for (const { bytes, seconds, live } of [one, other]) {
    bytes.inc({ way: 'up' }, 5)
    seconds.observe(0.5)
    live.set(2)
  }
  const figures: Figures[] = []
  for (const { registry } of [one, other]) {
    const read = parse(await registry.getMetricsAsJSON())
    if (read === undefined) throw new Error('not read')
    figures.push(read)
  }
  const both = await mergeMetrics(new Registry(), async () => figures).metrics()
  expect(both).toContain('bytes_total{way="up"} 10\n')
  expect(both).toContain('dial_seconds_bucket{le="1"} 2\n')
  expect(both).toContain('live 4\n')
  const retired = await retireFigures(figures)
  const past = await mergeMetrics(new Registry(), async () => [retired]).metrics()
  expect(past).toContain('bytes_total{way="up"} 10\n')
  expect(past).not.toContain('live')
})

test('attack: a worker makes up metrics, labels and figures', async () => {
  const values = [
    { value: 1, labels: { way: 'up' } },
    { value: -1, labels: { way: 'down' } },
    { value: 1e300, labels: { way: 'huge' } },
    { value: 1, labels: { tenant: 'acme' } },
    { value: 1, labels: { way: '"} 1\nforged 1' } },
    { value: 1, labels: { way: 'x'.repeat(65) } },
    { value: 1, labels: { way: 'up' }, metricName: 'process_cpu_seconds_total' },
    'nothing',
  ]
  const made = { name: 'bytes_total', help: 'evil\n# TYPE x counter', type: 'gauge', values }
  const page = await printed(
    parse([made, { name: 'made_up_total', help: '', type: 'counter', values }]),
  ).metrics()
  expect(page).toBe('# HELP bytes_total b\n# TYPE bytes_total counter\nbytes_total{way="up"} 1\n')
})

test.each([
  ['no JSON', '{'],
  ['no list', '{}'],
  ['more series than there are', JSON.stringify([{ name: 'bytes_total', values: Array(201) }])],
])('attack: a worker sends %s for its figures', (_what, text) => {
  expect(parseFigures(text, known)).toBeUndefined()
})

test('attack: three hundred readers at the same time cost one collection, and each page is new', async () => {
  const registry = new Registry()
  const counter = new Counter({ name: 'acts_total', help: 'a', registers: [registry] })
  let collections = 0
  const page = mergeMetrics(
    registry,
    async () => {
      collections++
      return []
    },
    50,
  )
  const read = (times: number) => Promise.all(Array.from({ length: times }, () => page.metrics()))
  await read(300)
  expect(collections).toBe(1)
  counter.inc()
  for (const text of await read(300)) expect(text).toContain('acts_total 1\n')
  expect(collections).toBe(2)
})
