import { accessSync, constants } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import type { Place } from './demo-process.ts'

/** As whom the demo target's shell runs: whoever runs this program, however much of them is known. */
export interface DemoAccount extends Place {
  readonly login: string
  readonly shell: string
}

const loginPattern = /^[a-z_][a-z0-9_.-]{0,31}$/i
/** What sshd's AcceptEnv lets through on Debian, and what a terminal program needs. */
const acceptedEnvironment = /^(LANG|LC_\w{1,32}|COLORTERM|TZ)$/

/** The account, with an environment that holds nothing of this process's. */
export function demoAccount(): DemoAccount {
  const { name, directory, loginShell } = accountOfProcess()
  const login = loginPattern.test(name) ? name : 'demo'
  const shell = [loginShell, '/bin/bash', '/bin/sh'].find(isShell) ?? '/bin/sh'
  const cwd = [directory, '/'].find(isEnterable) ?? '/'
  const env = {
    HOME: cwd,
    USER: login,
    LOGNAME: login,
    SHELL: shell,
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: process.env.LANG ?? 'C.UTF-8',
  }
  return { login, shell, cwd, env }
}

/** Whether a client may set this variable. */
export function isAcceptedVariable(name: string, value: string): boolean {
  return acceptedEnvironment.test(name) && value.length <= 1024 && !value.includes('\0')
}

function accountOfProcess(): { name: string; directory: string; loginShell: string } {
  try {
    const { username, homedir: directory, shell } = userInfo()
    return { name: username, directory, loginShell: shell ?? '' }
  } catch {
    // A process id without an entry in passwd, as in many containers.
    return { name: 'demo', directory: homedir(), loginShell: '' }
  }
}

function isShell(path: string): boolean {
  return !/^$|\/(nologin|false|sync)$/.test(path) && may(path, constants.X_OK)
}

function isEnterable(path: string): boolean {
  return path !== '' && may(path, constants.X_OK)
}

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode)
    return true
  } catch {
    return false
  }
}
