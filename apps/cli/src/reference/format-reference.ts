import type { Command } from 'commander';
import {
  AT_OPTION,
  DATA_DIR_OPTION,
  FROM_OPTION,
  JOBS_OPTION,
  JSON_OPTION,
  LIMIT_OPTION,
  OFFLINE_OPTION,
  TIMEOUT_OPTION,
  WITHOUT_FILES_OPTION,
} from '../program/options.ts';

/** Options that many commands have: explained once, named in each. */
const USUAL = [
  DATA_DIR_OPTION,
  WITHOUT_FILES_OPTION,
  OFFLINE_OPTION,
  JOBS_OPTION,
  TIMEOUT_OPTION,
  LIMIT_OPTION,
  AT_OPTION,
  FROM_OPTION,
  JSON_OPTION,
];
const HELP = ['-h, --help', 'display help for command'] as const;

/** Columns of a help text in the reference, whatever terminal it is made in. */
const WIDTH = 100;

/**
 * Every visible command with its `--help`, as Markdown. `npm run docs` writes it to docs/cli.md.
 * @param program see `createProgram`; it prints no complete help afterwards
 */
export function formatReference(program: Command): string {
  const sections: string[] = [];
  const visit = (command: Command, name: string) => {
    const usual = hideUsual(command);
    // The heading says as much as a usage without arguments.
    const help = helpOf(command).replace(`Usage: ${name} [options]\n\n`, '');
    sections.push(`## ${name}\n\n\`\`\`text\n${help}\n\`\`\`${usual}`);
    for (const child of command.commands)
      if (!('_hidden' in child && child._hidden)) visit(child, `${name} ${child.name()}`);
  };
  visit(program, program.name());
  return `# The command line

Written by \`npm run docs\` from \`--help\`: change that, not this. What \`--help\` does not say is in
[apps/cli](../apps/cli/README.md). Options that many commands have:

${[...USUAL, HELP].map(([flags, description]) => `- \`${flags}\`: ${description}`).join('\n')}

${sections.join('\n\n')}
`;
}

/** Leaves out what many commands have. @returns a line that names it */
function hideUsual(command: Command): string {
  command.helpOption(false);
  const usual = command.options.filter(option =>
    USUAL.some(([flags, description]) => option.flags === flags && option.description === description),
  );
  for (const option of usual) option.hideHelp();
  if (usual.length === 0) return '';
  return `\n\nAlso ${usual.map(({ long }) => `\`${long}\``).join(', ')}.`;
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
  // They have sections of their own.
  command.configureHelp({ ...command.configureHelp(), visibleCommands: () => [] });
  command.outputHelp();
  return text.trimEnd();
}
