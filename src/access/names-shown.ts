/** A refusal names up to so many targets. It asks for one more, to know whether there are more. */
export const namesShownMax = 20
