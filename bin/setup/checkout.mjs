import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fail, say } from './step.mjs'

/** Ends set-up with one line where it cannot write: a read-only checkout, or one of another user. */
export function assertWritable(root) {
  for (const path of [root, join(root, 'node_modules')]) {
    if (!existsSync(path)) continue
    try {
      accessSync(path, constants.W_OK)
    } catch (err) {
      const { uid, mode } = statSync(path)
      const facts = `owner user ${uid}, mode 0${(mode & 0o7777).toString(8)}`
      const reason = err.code === 'EROFS' ? 'the file system is read-only' : facts
      fail(
        `set-up has to write to ${path}, and cannot (${reason}): run \`npm start\` once as a user who ` +
          'can, or copy the checkout to a directory of your own',
      )
    }
  }
}

/** A checkout of another user is code of that user: root, above all, should know. */
export function warnOfOwner(root) {
  const { uid } = statSync(root)
  const own = process.geteuid?.() ?? uid
  if (uid !== own && uid !== 0)
    say(
      `WARNING: ${root} belongs to another user (user ${uid}), who can change the program that you run`,
    )
}

/** Whether a directory, such as HOME under sudo, is the user's own. */
export function isOwn(path) {
  try {
    return statSync(path).uid === (process.geteuid?.() ?? statSync(path).uid)
  } catch {
    return false
  }
}
