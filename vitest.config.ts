import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/services.ts'],
    setupFiles: ['test/support/setup.ts'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A busy machine takes seconds for what takes milliseconds: only what never comes is a failure.
    expect: { poll: { timeout: 30_000, interval: 20 } },
    // Of two cores: tests wait for others a third of their time.
    maxWorkers: 3,
  },
})
