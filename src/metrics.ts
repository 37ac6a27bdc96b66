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

/** What is printed at `/metrics`. */
export type MetricsPage = Pick<Metrics, 'contentType' | 'metrics'>

const name = z.string().regex(/^[a-z][a-z0-9_]{0,99}$/)
const label = z.union([z.string().max(256), z.number()])
/** The JSON of another process's registry: it is not believed to be one. */
const registryShape = z
  .array(
    z.object({
      name,
      help: z
        .string()
        .max(500)
        .regex(/^[^\n]*$/),
      type: z.enum(['counter', 'gauge', 'histogram', 'summary']),
      aggregator: z.enum(['sum', 'first', 'min', 'max', 'average', 'omit']),
      values: z
        .array(
          z.object({
            value: z.number(),
            labels: z.record(name, label),
            metricName: name.optional(),
          }),
        )
        .max(1000),
    }),
  )
  .max(100)

/** A page of this process's figures and those of others, which are summed. */
export function mergeMetrics(
  registry: Metrics,
  others: () => Promise<readonly string[]>,
): MetricsPage {
  return {
    contentType: registry.contentType,
    async metrics() {
      const [own, theirs] = await Promise.all([registry.getMetricsAsJSON(), others()])
      const parsed = theirs.flatMap((text) => parseRegistry(text) ?? [])
      return AggregatorRegistry.aggregate([own, ...parsed]).metrics()
    },
  }
}

/**
 * The figures of processes that are no more, as one: what they counted stays counted, or sums would
 * fall, which reads as a restart of all. What they had goes with them.
 */
export async function retireMetrics(registries: readonly string[]): Promise<string> {
  const parsed = registries.flatMap((text) => parseRegistry(text) ?? [])
  const all = await AggregatorRegistry.aggregate(parsed).getMetricsAsJSON()
  return JSON.stringify(all.filter(({ type }) => String(type) !== 'gauge'))
}

function parseRegistry(text: string): [MetricObject[]] | undefined {
  try {
    const parsed = registryShape.safeParse(JSON.parse(text))
    return parsed.success ? [parsed.data as unknown as MetricObject[]] : undefined
  } catch {
    // No JSON: there is nothing to count.
    return undefined
  }
}
