/** Whether to colour what goes to `stream`: a terminal, unless NO_COLOR is set. Source: https://no-color.org */
export function useColour(stream: { readonly isTTY?: boolean | undefined }): boolean {
  return stream.isTTY === true && !process.env['NO_COLOR'];
}
