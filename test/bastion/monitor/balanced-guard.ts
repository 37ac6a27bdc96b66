import { ForwardGuard } from '../../../src/bastion/monitor/forward-guard.ts'

/** Asks where forwards may lead on a host whose loopback interface has the address 10.99.0.1. */
const guard = new ForwardGuard(() => ({ ports: [4100], directories: [] }))
const asked = [
  // From another host, and from this one where it is registered by that address.
  { host: '10.99.0.1', peer: '192.0.2.7' },
  { host: '127.0.0.1', peer: '10.99.0.1' },
]
for (const { host, peer } of asked) {
  const answer = await guard.judge(
    { host, port: 4100 },
    { peer, owner: { tenant: 't', user: 'u' } },
  )
  process.stdout.write('refused' in answer ? 'refused\n' : 'allowed\n')
}
