import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import { createJobs } from '../../src/jobs/index.ts'
import { createLog } from '../../src/log.ts'
import { openDatabase } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { jobsOf, probeJobs } from './probe-jobs.ts'

/** A process that works on the probes, to be killed and stopped. Prints `up` once it takes jobs. */
const [appUrl = '', jobsUrl = ''] = process.argv.slice(2)
const log = createLog(process.env.VAULTTERM_LOG ?? 'error')
const metrics = new Registry()
const database = openDatabase({ url: new Secret(appUrl), role: 'vaultterm_app', log, metrics })
const url = new Secret(jobsUrl)
const working = createJobs({ database, url, log, metrics }).work({
  jobs: jobsOf(probeJobs(database)),
  schedules: [],
})
while (
  !(await working.requireUp().then(
    () => true,
    () => false,
  ))
) {
  await sleep(20)
}
process.stdout.write('up\n')
process.on('SIGTERM', async () => {
  await working.stop(1000)
  await database.close()
})
