import type { Terminal } from './terminal.ts'

const afterMs = 400

/**
 * Shows a line on a person's terminal while slow work runs, and removes it at the end. Scripts do not
 * see it.
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
  // Quick work shows no line.
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
