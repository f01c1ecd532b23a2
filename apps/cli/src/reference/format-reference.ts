import type { Command } from 'commander';

/** Columns of a help text in the reference, whatever terminal it is made in. */
const WIDTH = 100;

/**
 * Every visible command with its `--help`, as Markdown. `npm run docs` writes it to docs/cli.md.
 * @param program see `createProgram`; where its output goes is changed.
 */
export function formatReference(program: Command): string {
  const sections: string[] = [];
  const visit = (command: Command, name: string) => {
    sections.push(`## ${name}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\``);
    for (const child of command.commands)
      if (!('_hidden' in child && child._hidden)) visit(child, `${name} ${child.name()}`);
  };
  visit(program, program.name());
  return `# The command line

Written by \`npm run docs\` from \`--help\`: change that, not this. What \`--help\` does not say is in
[apps/cli](../apps/cli/README.md).

${sections.join('\n\n')}
`;
}

/** What `--help` prints, its examples included. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({
    ...command.configureOutput(),
    writeOut: part => {
      text += part;
    },
    getOutHelpWidth: () => WIDTH,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trimEnd();
}
