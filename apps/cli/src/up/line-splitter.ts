/** A line longer than this is cut into several. */
const MAX_LINE_CHARACTERS = 16 * 1024;

/** Cuts a stream of text into lines; what is left without a line break is given out by `end`. */
export interface LineSplitter {
  push(text: string): void;
  end(): void;
}

/** Calls `onLine` once per line, without its line break. Holds at most one line of 16 Ki characters. */
export function createLineSplitter(onLine: (line: string) => void): LineSplitter {
  let rest = '';
  return {
    push: text => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) onLine(line.replace(/\r$/, ''));
      while (rest.length > MAX_LINE_CHARACTERS) {
        onLine(rest.slice(0, MAX_LINE_CHARACTERS));
        rest = rest.slice(MAX_LINE_CHARACTERS);
      }
    },
    end: () => {
      if (rest !== '') onLine(rest);
      rest = '';
    },
  };
}
