import { createServer } from 'node:net'

/**
 * Below where Linux takes ports from for whoever names none: until the caller listens there, nobody
 * gets this one by chance.
 */
const [first, last] = [20_000, 32_767]

/** A port that nobody listens on at the moment. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = first + Math.floor(Math.random() * (last - first + 1))
    if (await isFree(port)) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
