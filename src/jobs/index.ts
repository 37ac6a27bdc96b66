/**
 * Background work: jobs in a queue in Postgres.
 *
 * A job is added in the transaction of the act that wants it, and its effects are committed together with its
 * end. It may run twice, and never two at once of one key. A queue that is down delays jobs, and nothing else.
 */

export {
  JobInputInvalid,
  JobLost,
  JobMissing,
  JobStateWrong,
  JobsFull,
  QueueDown,
} from './errors.ts'
export { type Job, job, type Progress, type Schedule, type Turn } from './job.ts'
export {
  createJobs,
  type JobActor,
  type JobProgress,
  type JobState,
  type Jobs,
  type JobView,
  jobStates,
  type Working,
} from './jobs.ts'
export { queueTables } from './schema.ts'
