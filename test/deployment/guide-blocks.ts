/** A block of commands of the operations guide. */
export interface GuideBlock {
  /** The line of its fence in the guide, from 1. */
  readonly line: number;
  /** The heading above it. */
  readonly section: string;
  readonly runs: boolean;
  /** What the test has to do before; '' for nothing. */
  readonly given: string;
  /** The exit code that is expected. */
  readonly exit: number;
  readonly commands: string;
}

/**
 * The blocks of shell commands of a Markdown text: fences whose info string is `sh run`, with `given=…` and `exit=…`, or
 * `sh not-run`, whose first line says why.
 * @throws Error for a fence with commands that is neither, or does not say why it is not run
 */
export function readGuideBlocks(markdown: string): GuideBlock[] {
  const blocks: GuideBlock[] = [];
  let section = '';
  let open: { info: string; line: number; commands: string[] } | undefined;
  for (const [index, text] of markdown.split('\n').entries()) {
    const fence = /^```(.*)$/.exec(text);
    if (open === undefined) {
      if (text.startsWith('#')) section = text.replace(/^#+ /, '');
      if (fence !== null) open = { info: fence[1]!, line: index + 1, commands: [] };
    } else if (fence === null) {
      open.commands.push(text);
    } else {
      blocks.push(toBlock(open.info, open.line, section, open.commands.join('\n')));
      open = undefined;
    }
  }
  return blocks;
}

function toBlock(info: string, line: number, section: string, commands: string): GuideBlock {
  const [language, mode, ...attributes] = info.split(' ');
  if (language !== 'sh' || (mode !== 'run' && mode !== 'not-run')) {
    throw new Error(`Line ${line}: a block is \`sh run\` or \`sh not-run\`, not "${info}".`);
  }
  if (mode === 'not-run' && !/^# not run: \S/.test(commands)) {
    throw new Error(`Line ${line}: the block does not say why it is not run.`);
  }
  const values = Object.fromEntries(attributes.map(attribute => attribute.split('=') as [string, string]));
  return {
    line,
    section,
    runs: mode === 'run',
    given: values['given'] ?? '',
    exit: Number(values['exit'] ?? 0),
    commands,
  };
}
