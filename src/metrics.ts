import { AggregatorRegistry, collectDefaultMetrics, type MetricObject, Registry } from 'prom-client'
import { z } from 'zod'

/**
 * The registry that `/metrics` prints.
 *
 * The naming rule: prefix `bastion_`, base units, `_total` for counters; labels are small closed
 * sets (error kind, method, outcome), never ids or names of tenants.
 */
export type Metrics = Registry

export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  return registry
}

/** The output of `/metrics`. */
export type MetricsPage = Pick<Metrics, 'contentType' | 'metrics'>

type About = Pick<MetricObject, 'name' | 'help' | 'type' | 'aggregator'>

/** The figures of one registry, or of several that are summed. */
export type Figures = readonly (About & {
  readonly values: readonly { readonly value: number; readonly labels: object }[]
})[]

/** The metrics that another process may report; others are ignored. */
export type KnownMetrics = ReadonlyMap<string, About & { readonly labels: readonly string[] }>

export function knownMetrics(registry: Metrics): KnownMetrics {
  return new Map(
    registry.getMetricsAsArray().map((metric) => {
      const { name, help, type, aggregator } = metric
      const labels: unknown = Reflect.get(metric, 'labelNames')
      return [name, { name, help, type, aggregator, labels: Array.isArray(labels) ? labels : [] }]
    }),
  )
}

const seriesMax = 200
const value = z.number().min(0).max(Number.MAX_SAFE_INTEGER)
const label = z.union([
  z.string().regex(/^[\x20-\x21\x23-\x5b\x5d-\x7e]{0,64}$/),
  z.number().min(0).max(Number.MAX_SAFE_INTEGER),
])
const seriesShape = z.object({
  value,
  labels: z.record(z.string().max(64), label),
  metricName: z.string().max(128).exactOptional(),
})
const registryShape = z
  .array(z.object({ name: z.string(), values: z.array(z.unknown()).max(seriesMax) }))
  .max(100)

/**
 * The JSON of another process's registry, which is not trusted: of the known metrics, the values
 * that such a metric can have. Undefined when the text is not such JSON.
 */
export function parseFigures(text: string, known: KnownMetrics): Figures | undefined {
  const parsed = registryShape.safeParse(parseJson(text))
  if (!parsed.success) return undefined
  return parsed.data.flatMap(({ name, values }) => {
    const metric = known.get(name)
    if (metric === undefined) return []
    const { labels, ...about } = metric
    const names = new Set([name, `${name}_bucket`, `${name}_sum`, `${name}_count`])
    const figures = values.flatMap((one) => {
      const series = seriesShape.safeParse(one)
      if (!series.success) return []
      const { labels: of, metricName = name } = series.data
      const isKnown = Object.keys(of).every((key) => labels.includes(key) || key === 'le')
      return isKnown && names.has(metricName) ? [series.data] : []
    })
    return [{ ...about, values: figures }]
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON: there is nothing to count.
    return undefined
  }
}

const pageEveryMs = 1000

/**
 * A page with the sums of this process's figures and those of other processes. The figures are collected
 * once a second at most, for all readers together: a reader that comes sooner waits for the next page, so
 * that each page is newer than its request.
 */
export function mergeMetrics(
  registry: Metrics,
  others: () => Promise<readonly Figures[]>,
  everyMs = pageEveryMs,
): MetricsPage {
  let startedAtMs = -Infinity
  let next: Promise<string> | undefined
  const collect = async () => {
    const waitMs = Math.max(0, startedAtMs + everyMs - performance.now())
    await new Promise((resolve) => setTimeout(resolve, waitMs))
    startedAtMs = performance.now()
    next = undefined
    const [own, theirs] = await Promise.all([registry.getMetricsAsJSON(), others()])
    return sum([own, ...theirs]).metrics()
  }
  return {
    contentType: registry.contentType,
    metrics() {
      next ??= collect()
      return next
    },
  }
}

/**
 * The metrics of processes that have ended, as one set. Counters stay, because sums that fall would
 * look like a restart of all. Gauges go.
 */
export async function retireFigures(all: readonly Figures[]): Promise<Figures> {
  const summed = await sum(all).getMetricsAsJSON()
  return summed.filter(({ type }) => String(type) !== 'gauge')
}

function sum(all: readonly Figures[]): Registry {
  return AggregatorRegistry.aggregate(all.map((figures) => [...figures]))
}
