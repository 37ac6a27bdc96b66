import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

/** The Chromium of the system, without a window. */
export function openBrowser(): Promise<Browser> {
  const paths = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  const executablePath = paths.find(existsSync)
  if (executablePath === undefined) throw new Error('there is no Chromium here')
  // Its sandbox needs privileges that a container and root do not give it.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
}
