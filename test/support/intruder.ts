import { createPrivateKey, type KeyObject, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { parsePublicKey, Reader, Writer } from '../../src/ssh/index.ts'
import { demoKey } from './installation.ts'
import { Attacker, authRequest, msg, publicKeyFields } from './ssh-attacker.ts'
import { channelMsg, channelRequest } from './ssh-lab.ts'
import type { VaultTerm } from './vaultterm.ts'

/** The demo user, who has thrown ssh away: let in, and free to send what no client would. */
export async function enter(
  vaultterm: VaultTerm,
  user = 'acme+web1',
  ident?: string,
): Promise<Attacker> {
  const attacker = new Attacker(connect(Number(vaultterm.sshPort), '127.0.0.1'), ident)
  await attacker.handshakeForLogin()
  const parsed = parsePublicKey(readFileSync(`${demoKey(vaultterm)}.pub`, 'utf8'))
  if (!('key' in parsed)) throw new Error(parsed.problem)
  const fields = publicKeyFields('ssh-ed25519', parsed.key.blob, true)
  const request = authRequest(user, 'publickey', fields)
  const signed = new Writer().string(attacker.sessionId).bytes(request).build()
  const signature = new Writer()
    .text('ssh-ed25519')
    .string(sign(null, signed, openSshKey(demoKey(vaultterm))))
    .build()
  attacker.send(new Writer().bytes(request).string(signature).build())
  await attacker.first(msg.authSuccess)
  return attacker
}

export function execRequest(recipient: number, command: Buffer | string, wantReply = true): Buffer {
  return channelRequest(
    recipient,
    'exec',
    wantReply,
    new Writer().string(Buffer.from(command)).build(),
  )
}

/** All that came on channels of ours, and how it ended. */
export function outcomeOf(attacker: Attacker, channel: number) {
  const output: Buffer[] = []
  const errors: Buffer[] = []
  let status: number | undefined
  let closed = false
  let replies: readonly boolean[] = []
  for (const payload of attacker.received) {
    const reader = new Reader(payload)
    const type = reader.u8()
    if (type < channelMsg.confirmation || type > channelMsg.refused) continue
    if (reader.u32() !== channel) continue
    if (type === channelMsg.data) output.push(reader.string())
    if (type === channelMsg.extendedData && reader.u32() === 1) errors.push(reader.string())
    if (type === channelMsg.close) closed = true
    if (type === channelMsg.success || type === channelMsg.refused) {
      replies = [...replies, type === channelMsg.success]
    }
    if (type === channelMsg.request && reader.text() === 'exit-status') {
      reader.boolean()
      status = reader.u32()
    }
  }
  return { output: Buffer.concat(output), errors: Buffer.concat(errors), status, closed, replies }
}

/** The private half of an unencrypted OpenSSH Ed25519 key file: its seed is in the last part. */
function openSshKey(file: string): KeyObject {
  const bytes = Buffer.from(readFileSync(file, 'utf8').replace(/-----.*-----|\s/g, ''), 'base64')
  const publicAt = bytes.indexOf('\0\0\0\x0bssh-ed25519', 0, 'latin1') + 19
  const publicKey = bytes.subarray(publicAt, publicAt + 32)
  const privateAt = bytes.lastIndexOf(publicKey) - 32
  const seed = bytes.subarray(privateAt, privateAt + 32)
  const der = Buffer.from(`302e020100300506032b657004220420${seed.toString('hex')}`, 'hex')
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}
