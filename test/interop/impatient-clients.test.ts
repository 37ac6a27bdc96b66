import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runPython } from '../support/clients.ts'
import { addTarget } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
})
afterAll(async () => {
  await sshd?.close()
  await vaultterm?.close()
})

const connected = `
import json, sys, time, paramiko
port, key, known, *others = sys.argv[1:]
transport = paramiko.Transport(('127.0.0.1', int(port)))
transport.start_client(timeout=60)
`

test('Paramiko asks for the login service anew with each key, and gets in with the last one', async () => {
  const others = ['a', 'b', 'c'].map((name) => {
    const file = join(vaultterm.home, name)
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file])
    return file
  })
  const program = `${connected}
refused = 0
for other in others:
    try: transport.auth_publickey('acme+real', paramiko.Ed25519Key.from_private_key_file(other))
    except paramiko.AuthenticationException: refused += 1
transport.auth_publickey('acme+real', paramiko.Ed25519Key.from_private_key_file(key))
channel = transport.open_session()
channel.exec_command('echo in')
print(json.dumps({'refused': refused, 'said': channel.makefile().read().decode()}))
`
  expect(await runPython(vaultterm, program, ...others)).toEqual({ refused: 3, said: 'in\n' })
})

const loggedIn = `${connected}
transport.auth_publickey('acme+real', paramiko.Ed25519Key.from_private_key_file(key))
def refuse():
    channel = transport.open_session()
    try: channel.invoke_subsystem('no-such-subsystem')
    except paramiko.SSHException: return channel
    raise SystemExit('the subsystem was not refused')
`

test('a client that waits for ever after a refused subsystem is disconnected', async () => {
  const program = `${loggedIn}
channel = refuse()
transport.join(60)
print(json.dumps({'active': transport.is_active()}))
`
  expect(await runPython(vaultterm, program)).toEqual({ active: false })
})

test('a refused subsystem ends no connection on which something else is open', async () => {
  const program = `${loggedIn}
other = transport.open_session()
other.exec_command('read line; echo $line')
channel = refuse()
while not channel.closed: time.sleep(0.1)
other.sendall(b'still here\\n')
print(json.dumps({'said': other.makefile().read().decode()}))
`
  expect(await runPython(vaultterm, program)).toEqual({ said: 'still here\n' })
})
