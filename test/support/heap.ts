import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect: unknown = runInNewContext('gc')

/** Bytes that this process holds, in the heap and outside it, after garbage was collected. */
export function heldBytes(): number {
  // Memory outside the heap is given back after the collection that found it unused: the next one waits for that.
  if (typeof collect === 'function') for (let round = 0; round < 2; round++) collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
