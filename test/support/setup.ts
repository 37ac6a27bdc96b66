import { inject } from 'vitest'
import { useRsaKeys } from './rsa-keys.ts'

useRsaKeys(inject('rsaKeys'))
