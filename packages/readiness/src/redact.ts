/** Takes the user and password out of the URLs in a text. */
export function redact(text: string): string {
  return text.replace(/\/\/[^\s/@]+@/g, '//***@')
}
