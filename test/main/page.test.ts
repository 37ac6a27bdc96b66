import { expect, test } from 'vitest'
import { formatPage } from '../../src/main/page.ts'

const places = { home: '/srv/state', portal: 'http://127.0.0.1:1/', admin: 'http://127.0.0.1:2/' }
const demo = {
  sshConfig: '/srv/state/demo/ssh_config',
  tenant: 'acme',
  target: 'web1',
  user: 'demo',
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
