/** Threads of a worker for what the system does only while a thread waits: file calls and look-ups of names. */
export const workerThreads = 12

/** libuv gives look-ups at most half of the threads: the other half writes recordings meanwhile. */
export const lookupsAtOnce = workerThreads / 2
