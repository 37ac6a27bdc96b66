const works = new Set<() => void>()

/**
 * Calls back when this process exits, for whatever reason but a kill: an error that nobody caught, a close
 * that is stuck. Only what is synchronous still happens then. Answers how to give it up.
 */
export function atExit(work: () => void): () => void {
  // One listener for all: Node warns of more than ten.
  if (works.size === 0) process.on('exit', runAll)
  works.add(work)
  return () => {
    works.delete(work)
    if (works.size === 0) process.off('exit', runAll)
  }
}

function runAll(): void {
  for (const work of works) work()
}
