import type { ServerResponse } from 'node:http'

const lookMs = 5000
/** Without an answer for so long, as when the database is gone, nobody knows that the reader may go on. */
const unknownMs = 15_000

/**
 * Cuts an answer that is still on its way when its reader loses the right to it. Asked every five seconds:
 * an answer that is read slowly takes hours.
 */
export function watchAnswer(answer: ServerResponse, mayGoOn: () => Promise<boolean>): void {
  if (answer.destroyed) return
  let knownAtMs = performance.now()
  let isAsking = false
  const ask = async () => {
    const askedAtMs = performance.now()
    if (await mayGoOn()) knownAtMs = askedAtMs
    else answer.destroy()
  }
  const look = () => {
    if (performance.now() - knownAtMs >= unknownMs) answer.destroy()
    if (isAsking || answer.destroyed) return
    isAsking = true
    const asked = () => {
      isAsking = false
    }
    ask().then(asked, asked)
  }
  const looking = setInterval(look, lookMs).unref()
  answer.once('close', () => clearInterval(looking))
}
