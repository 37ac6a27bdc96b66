import { expect, test } from 'vitest'
import { formatPage } from '../../src/main/page.ts'

const places = { home: '/srv/state', portal: 'http://127.0.0.1:1/', admin: 'http://127.0.0.1:2/' }
const demo = {
  sshConfig: '/srv/state/demo/ssh_config',
  tenant: 'acme',
  target: { name: 'web1', shellUser: 'games' },
  user: 'demo',
  isReachable: false,
  portal: 'http://127.0.0.1:1/login',
}

test('tells each way to the demo target, and nothing of it where there is none', () => {
  const page = formatPage({ ...places, demo })
  for (const to of ['acme\n', 'acme+web1 uname -a\n', 'web1.acme    # by ssh -J\n']) {
    expect(page).toContain(`ssh -F /srv/state/demo/ssh_config ${to}`)
  }
  const bare = formatPage({ ...places, demo: undefined })
  expect(bare).not.toContain('ssh -F')
  expect(bare).toContain(places.portal)
})

test('warns when the demo shell can read the keys, and when other machines reach the demo shell', () => {
  expect(formatPage({ ...places, demo })).not.toContain('WARNING')
  const open = formatPage({ ...places, demo: { ...demo, isReachable: true } })
  expect(open).toMatch(/WARNING: The SSH listener is open to other machines.*user games/s)
  const target = { name: 'web1', shellUser: undefined }
  for (const isReachable of [false, true]) {
    const shared = formatPage({ ...places, demo: { ...demo, target, isReachable } })
    expect(shared).toMatch(/WARNING:.*can read the keys of the bastion/s)
    expect(shared).toContain('vaultterm target remove acme web1')
    expect(shared.includes('open to other machines')).toBe(isReachable)
  }
})

test('without a demo target it warns of no shell, offers no login to it, and says how to add a target', () => {
  for (const isReachable of [false, true]) {
    const page = formatPage({ ...places, demo: { ...demo, target: undefined, isReachable } })
    expect(page).toContain('bin/vaultterm target add acme ')
    expect(page).not.toMatch(/web1|WARNING/)
  }
})
