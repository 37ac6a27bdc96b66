import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadSsh2, makeHostKeys } from './ssh2-library.ts'

/**
 * A server that a fault may take down: `node ssh2-victim.ts DIRECTORY_OF_SSH2`. Prints its port, and
 * for each line of its input the most memory that it ever had, in MiB. It decides late, as one does
 * who asks a database, and does not expect an answer to throw.
 */
const [path = ''] = process.argv.slice(2)
const ssh2 = loadSsh2(path)
const hostKeys = makeHostKeys()
const server = new ssh2.Server({ hostKeys }, (client) => {
  client.on('error', () => {})
  client.on('authentication', (request) => {
    if (request.method === 'keyboard-interactive') return request.prompt('code')
    void sleep(20).then(() => request.reject())
  })
})
const listener = createServer((socket) => {
  socket.on('error', () => {})
  server.injectSocket(socket)
})
listener.listen(0, '127.0.0.1', () => {
  const address = listener.address()
  console.log(typeof address === 'object' ? address?.port : '')
})
process.stdin.on('data', () => {
  console.log(Math.round(process.resourceUsage().maxRSS / 1024))
})
