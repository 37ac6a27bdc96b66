import { InvalidArgumentError, Option } from 'commander'
import { parseMoment } from '../moment.ts'

export interface JsonOption {
  readonly json?: boolean
}

export function jsonOption(): Option {
  return new Option('--json', 'print one JSON document')
}

/** Collects `a,b` and repeated options into one list. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  const items = value.split(',').map((item) => item.trim())
  if (items.includes('')) throw new InvalidArgumentError('the list has an empty item')
  return [...before, ...items]
}

export function parseMomentOption(value: string): string {
  return parseMoment(value).toISOString()
}

export function parsePort(value: string): number {
  const port = Number(value)
  if (!/^\d{1,5}$/.test(value) || port < 1 || port > 65_535) {
    throw new InvalidArgumentError('give a port number from 1 to 65535')
  }
  return port
}

export function parseCount(value: string): number {
  const count = Number(value)
  if (!/^\d{1,5}$/.test(value) || count < 1)
    throw new InvalidArgumentError('give a whole number from 1')
  return count
}
