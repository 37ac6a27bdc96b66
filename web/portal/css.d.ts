/** The build takes a stylesheet that is imported to the page. */
declare module '*.css'
