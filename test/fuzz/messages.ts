import {
  byte,
  bytes,
  type Field,
  type Message,
  message,
  nested,
  no,
  string,
  u32,
  yes,
} from './fields.ts'

const ed25519 = nested(string('ssh-ed25519'), string(Buffer.alloc(32, 7)))
const rsa = nested(
  string('ssh-rsa'),
  string(Buffer.from([1, 0, 1])),
  string(Buffer.concat([Buffer.of(0), Buffer.alloc(256, 0xa5)])),
)
const ecdsa = nested(
  string('ecdsa-sha2-nistp256'),
  string('nistp256'),
  string(Buffer.concat([Buffer.of(4), Buffer.alloc(64, 9)])),
)
const securityKey = nested(
  string('sk-ssh-ed25519@openssh.com'),
  string(Buffer.alloc(32, 3)),
  string('ssh:'),
)
const certificate = nested(
  string('ssh-ed25519-cert-v01@openssh.com'),
  string(Buffer.alloc(32, 1)),
  string(Buffer.alloc(32, 7)),
  ...[u32(0), u32(1), u32(1)],
  string('id'),
  nested(string('acme')),
  ...[u32(0), u32(0), u32(2 ** 32 - 1), u32(2 ** 32 - 1)],
  nested(string('source-address'), nested(string('127.0.0.0/8'))),
  nested(string('permit-pty'), string('')),
  string(''),
  ed25519,
  nested(string('ssh-ed25519'), string(Buffer.alloc(64))),
)
const signature = nested(string('ssh-ed25519'), string(Buffer.alloc(64, 5)))
const securityKeySignature = nested(
  string('sk-ssh-ed25519@openssh.com'),
  string(Buffer.alloc(64, 5)),
  byte(1),
  u32(7),
)

/** A KEXINIT with these exchanges. */
export function kexInit(exchanges: string): Message {
  const lists = ['aes128-gcm@openssh.com', 'hmac-sha2-256', 'none', ''].flatMap((list) => [
    string(list),
    string(list),
  ])
  const cookie = bytes(Buffer.alloc(16, 4))
  return message(
    ...(['KEXINIT', 20, cookie, string(exchanges), string('ssh-ed25519')] as const),
    ...[...lists, no, u32(0)],
  )
}

/** What may come at any time: RFC 4253. */
export const transportMessages: readonly Message[] = [
  message('DISCONNECT', 1, u32(11), string('bye'), string('')),
  message('IGNORE', 2, string('nothing')),
  message('UNIMPLEMENTED', 3, u32(3)),
  message('DEBUG', 4, yes, string('text'), string('en')),
  message('SERVICE_REQUEST', 5, string('ssh-userauth')),
  message('SERVICE_REQUEST connection', 5, string('ssh-connection')),
  message('SERVICE_ACCEPT', 6, string('ssh-userauth')),
  message('EXT_INFO', 7, u32(1), string('server-sig-algs'), string('ssh-ed25519')),
  message('NEWCOMPRESS', 8),
  kexInit('curve25519-sha256,ext-info-c'),
  kexInit('mlkem768x25519-sha256,kex-strict-c-v00@openssh.com'),
  kexInit('ecdh-sha2-nistp256'),
  message('NEWKEYS', 21),
  message('KEX_INITIATE', 30, string(Buffer.alloc(32, 9))),
  message('KEX_INITIATE hybrid', 30, string(Buffer.alloc(1216, 9))),
  message('KEX_INITIATE nistp256', 30, string(Buffer.concat([Buffer.of(4), Buffer.alloc(64)]))),
  message('KEX_REPLY', 31, ed25519, string(Buffer.alloc(32, 9)), signature),
  message('GEX_GROUP', 31, string(Buffer.alloc(256, 0x5a)), string(Buffer.of(2))),
  message('GEX_INIT', 32, string(Buffer.alloc(256, 0x5a))),
  message('GEX_REPLY', 33, ed25519, string(Buffer.alloc(256, 0x5a)), signature),
  message('GEX_REQUEST', 34, u32(2048), u32(4096), u32(8192)),
  message('PING', 192, string('ping')),
  message('PONG', 193, string('pong')),
]

const login = (method: string, ...fields: readonly Field[]) =>
  message(
    ...([`USERAUTH_REQUEST ${method}`, 50, string('acme+web1'), string('ssh-connection')] as const),
    ...[string(method), ...fields],
  )
const hostBound = 'publickey-hostbound-v00@openssh.com'
const securityKeyName = string('sk-ssh-ed25519@openssh.com')
const certificateName = string('ssh-ed25519-cert-v01@openssh.com')

/** RFC 4252 and what hangs on it, from either side. No signature is good. */
export const loginMessages: readonly Message[] = [
  login('none'),
  login('password', no, string('secret')),
  login('password', yes, string('old'), string('new')),
  login('publickey', no, string('ssh-ed25519'), ed25519),
  login('publickey', no, string('rsa-sha2-512'), rsa),
  login('publickey', no, string('ecdsa-sha2-nistp256'), ecdsa),
  login('publickey', no, securityKeyName, securityKey),
  login('publickey', no, certificateName, certificate),
  login('publickey', yes, string('ssh-ed25519'), ed25519, signature),
  login('publickey', yes, string('rsa-sha2-256'), rsa, signature),
  login('publickey', yes, securityKeyName, securityKey, securityKeySignature),
  login('publickey', yes, certificateName, certificate, signature),
  login(hostBound, yes, string('ssh-ed25519'), ed25519, ed25519, signature),
  login('keyboard-interactive', string(''), string('')),
  login('hostbased', string('ssh-ed25519'), ed25519, string('h'), string('root'), signature),
  login('gssapi-with-mic', u32(1), string(Buffer.from('06092a864886f71201', 'hex'))),
  message('USERAUTH_FAILURE', 51, string('publickey'), no),
  message('USERAUTH_SUCCESS', 52),
  message('USERAUTH_BANNER', 53, string('hello\r\n'), string('')),
  message('USERAUTH_PK_OK', 60, string('ssh-ed25519'), ed25519),
  message(
    ...(['USERAUTH_INFO_REQUEST', 60, string('title'), string('text'), string('')] as const),
    ...[u32(1), string('code'), no],
  ),
  message('USERAUTH_INFO_RESPONSE', 61, u32(1), string('000000')),
  message('USERAUTH_GSSAPI_ERRTOK', 65, string('token')),
  message('USERAUTH_GSSAPI_MIC', 66, string('mic')),
]

const global = (name: string, ...fields: readonly Field[]) =>
  message(`GLOBAL_REQUEST ${name}`, 80, string(name), yes, ...fields)
const open = (type: string, ...fields: readonly Field[]) =>
  message(
    ...([`CHANNEL_OPEN ${type}`, 90, string(type), u32(1), u32(2 ** 21), u32(2 ** 15)] as const),
    ...fields,
  )
const request = (name: string, ...fields: readonly Field[]) =>
  message(`CHANNEL_REQUEST ${name}`, 98, u32(0), string(name), yes, ...fields)
const size = [u32(80), u32(24), u32(640), u32(480)]
const modes = nested(byte(1), u32(3), byte(128), u32(38400), byte(0))

/** RFC 4254 and OpenSSH's additions, from either side; channels are number 0. */
export const connectionMessages: readonly Message[] = [
  global('tcpip-forward', string('127.0.0.1'), u32(8080)),
  global('cancel-tcpip-forward', string('127.0.0.1'), u32(8080)),
  global('streamlocal-forward@openssh.com', string('/tmp/socket')),
  global('cancel-streamlocal-forward@openssh.com', string('/tmp/socket')),
  global('hostkeys-00@openssh.com', ed25519, rsa, ecdsa),
  global('hostkeys-prove-00@openssh.com', ed25519),
  global('keepalive@openssh.com'),
  global('no-more-sessions@openssh.com'),
  global('no such request', string('x')),
  message('REQUEST_SUCCESS', 81, u32(8080)),
  message('REQUEST_FAILURE', 82),
  open('session'),
  open('direct-tcpip', string('127.0.0.1'), u32(22), string('127.0.0.1'), u32(40000)),
  open('direct-streamlocal@openssh.com', string('/run/socket'), string(''), u32(0)),
  open('forwarded-tcpip', string('127.0.0.1'), u32(22), string('127.0.0.1'), u32(40000)),
  open('forwarded-streamlocal@openssh.com', string('/run/socket'), string('')),
  open('x11', string('127.0.0.1'), u32(6000)),
  open('auth-agent@openssh.com'),
  open('tun@openssh.com', u32(1), u32(0)),
  open('no such channel', string('x')),
  message('CHANNEL_OPEN_CONFIRMATION', 91, u32(0), u32(0), u32(2 ** 21), u32(2 ** 15)),
  message('CHANNEL_OPEN_FAILURE', 92, u32(0), u32(1), string('no'), string('')),
  message('CHANNEL_WINDOW_ADJUST', 93, u32(0), u32(2 ** 20)),
  message('CHANNEL_DATA', 94, u32(0), string('data\n')),
  message('CHANNEL_EXTENDED_DATA', 95, u32(0), u32(1), string('error\n')),
  message('CHANNEL_EOF', 96, u32(0)),
  message('CHANNEL_CLOSE', 97, u32(0)),
  request('pty-req', string('xterm'), ...size, modes),
  request('window-change', ...size),
  request('env', string('LANG'), string('C.UTF-8')),
  request('shell'),
  request('exec', string('true')),
  request('subsystem', string('sftp')),
  request('x11-req', no, string('MIT-MAGIC-COOKIE-1'), string('00ff'), u32(0)),
  request('auth-agent-req@openssh.com'),
  request('xon-xoff', yes),
  request('signal', string('TERM')),
  request('break', u32(500)),
  request('exit-status', u32(0)),
  request('exit-signal', string('KILL'), no, string('killed'), string('')),
  request('eow@openssh.com'),
  request('keepalive@openssh.com'),
  request('no such request', string('x')),
  message('CHANNEL_SUCCESS', 99, u32(0)),
  message('CHANNEL_FAILURE', 100, u32(0)),
]

/** Numbers that no paper gives a meaning, and those that only mean something elsewhere. */
export const strangeMessages: readonly Message[] = [
  ...[0, 9, 19, 29, 35, 49, 54, 62, 67, 79, 83, 89, 101, 127, 128, 191, 194, 254, 255],
].map((number) => message(`message ${number}`, number, u32(0), string('x')))
