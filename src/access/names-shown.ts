/**
 * A refusal names at most this many targets. It asks for one more, to know whether there are more.
 */
export const namesShownMax = 20
