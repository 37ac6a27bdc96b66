import { runCommand } from './main/command.ts'

/** A finished command ends after this time even if a handle was left open by mistake. */
const lingerMs = 5000

const { argv, env, stdin, stdout, stderr } = process

process.exitCode = await runCommand(argv.slice(2), { stdin, stdout, stderr, env })
setTimeout(() => process.exit(), lingerMs).unref()
