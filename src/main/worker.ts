import { runWorker } from '../bastion/index.ts'

runWorker()
