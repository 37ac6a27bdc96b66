import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, dirname, join } from 'node:path'
import { environment, findNpm } from './npm.mjs'
import { run, step } from './step.mjs'

/**
 * Builds ssh2's native ciphers if there is a compiler, and tests them: ssh2 loads any file there,
 * and a faulty build ends every connection with one cipher.
 */
export async function buildBinding({ root, state, node }) {
  const ssh2 = join(root, 'node_modules', 'ssh2')
  const source = join(ssh2, 'lib', 'protocol', 'crypto')
  const built = join(source, 'build', 'Release', 'sshcrypto.node')
  const kept = join(state, `sshcrypto-${keyOf(source, node)}.node`)
  const headers = existsSync(join(node.home, 'include', 'node', 'node.h'))
  const away = (why) => {
    rmSync(join(source, 'build'), { recursive: true, force: true })
    return { built: false, why }
  }

  if (existsSync(kept)) {
    mkdirSync(dirname(built), { recursive: true })
    copyFileSync(kept, built)
    if (await works(built, node)) return { built: true, how: 'kept from the last build' }
  }
  if (!headers) return away(`the headers of Node ${node.version} are not beside it`)
  const tools = [['make'], ['c++', 'g++', 'clang++'], ['python3', 'python']]
  const missing = tools.filter((names) => !names.some(onPath)).map(([name]) => name)
  if (missing.length > 0)
    return away(`no ${missing.join(', ')} here (Debian: apt-get install g++ make python3)`)
  const nodeGyp = findNodeGyp()
  if (nodeGyp === undefined) return away('this npm comes without node-gyp')

  const output = await step('building the native ciphers of ssh2', () =>
    build({ root, ssh2, state, node, nodeGyp }),
  )
  if (!existsSync(built)) {
    writeFileSync(join(state, 'binding.log'), output)
    return away('the build failed (node_modules/.vaultterm/binding.log)')
  }
  if (!(await works(built, node))) return away('the build does not work with this Node')
  mkdirSync(state, { recursive: true })
  copyFileSync(built, kept)
  return { built: true, how: 'built' }
}

/** With ssh2's own install script, which tells the compiler the OpenSSL version of this Node. */
async function build({ root, ssh2, state, node, nodeGyp }) {
  const shim = join(state, 'bin')
  mkdirSync(shim, { recursive: true })
  writeFileSync(
    join(shim, 'node-gyp'),
    '#!/bin/sh\nexec "$VAULTTERM_NODE" "$VAULTTERM_NODE_GYP" "$@"\n',
  )
  chmodSync(join(shim, 'node-gyp'), 0o755)
  const env = {
    ...environment(root, node.path),
    VAULTTERM_NODE: node.path,
    VAULTTERM_NODE_GYP: nodeGyp,
    // The headers of the running Node, whatever the user's own setting.
    npm_config_nodedir: node.home,
  }
  env.PATH = `${shim}${delimiter}${env.PATH}`
  const { output } = await run(node.path, ['install.js'], { cwd: ssh2, env })
  return output
}

const proof = `
  const { ChaChaPolyCipher, ChaChaPolyDecipher, AESGCMCipher } = require(process.argv[1])
  const packet = Buffer.alloc(4 + 16 + 16, 7)
  packet.writeUInt32BE(16)
  new ChaChaPolyCipher(Buffer.alloc(64, 1)).encrypt(packet, 0)
  const decipher = new ChaChaPolyDecipher(Buffer.alloc(64, 1))
  if (decipher.decryptLen(packet.subarray(0, 4), 0) !== 16) process.exit(1)
  decipher.decrypt(packet.subarray(4, 20), packet.subarray(20), 0)
  if (!packet.subarray(4, 20).equals(Buffer.alloc(16, 7))) process.exit(1)
  const other = Buffer.alloc(4 + 16 + 16, 7)
  other.writeUInt32BE(16)
  const gcm = () => new AESGCMCipher('aes-128-gcm', Buffer.alloc(16), Buffer.alloc(12))
  gcm().encrypt(other)
  // Their connections over, ciphers are left to the collector. When it runs as a task of its own, as
  // between two events, Node ends the process over a build that knows only of Node's older ways.
  for (let i = 0; i < 300; i++) gcm()
  const kept = []
  const fill = () => {
    for (let i = 0; i < 100; i++) kept.push(new Array(1000).fill(i))
    if (kept.length < 6000) setTimeout(fill, 1)
  }
  fill()
`

async function works(built, node) {
  const { status } = await run(node.path, ['-e', proof, built])
  return status === 0
}

function keyOf(source, node) {
  const hash = createHash('sha256').update(node.version)
  for (const file of ['binding.gyp', 'src/binding.cc'])
    hash.update(readFileSync(join(source, file)))
  return hash.digest('hex').slice(0, 16)
}

function onPath(name) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .some((at) => at !== '' && existsSync(join(at, name)))
}

function findNodeGyp() {
  try {
    return createRequire(findNpm()).resolve('node-gyp/bin/node-gyp.js')
  } catch {
    return undefined
  }
}
