import type { Terminal } from './terminal.ts'

const afterMs = 400

/**
 * Says on a person's terminal that something takes its time, and wipes it away at the end. Scripts
 * see nothing of it.
 */
export async function withProgress<T>(
  { stderr }: Terminal,
  what: string,
  work: () => Promise<T>,
): Promise<T> {
  if (stderr.isTTY !== true) return work()
  let shown = false
  const started = performance.now()
  const show = () => {
    shown = true
    stderr.write(`\r${what} … ${Math.round((performance.now() - started) / 1000)} s `)
  }
  // What is quick needs no word.
  const first = setTimeout(show, afterMs)
  const ticker = setInterval(() => shown && show(), 1000)
  try {
    return await work()
  } finally {
    clearTimeout(first)
    clearInterval(ticker)
    if (shown) stderr.write('\r\x1b[2K')
  }
}
