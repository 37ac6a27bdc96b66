/** A worker in the hands of an attacker: says what it is given, once it may serve. */
const words: unknown[] = JSON.parse(process.argv[2] ?? '[]')
const times = Number(process.argv[3] ?? 1)

process.on('message', (message: { type: string; id?: number }) => {
  if (message.type === 'ping') process.send?.({ type: 'pong', id: message.id })
  if (message.type !== 'start') return
  process.send?.({ type: 'ready' })
  for (let time = 0; time < times; time++) for (const word of words) process.send?.(word)
})
process.once('disconnect', () => process.exit(1))
