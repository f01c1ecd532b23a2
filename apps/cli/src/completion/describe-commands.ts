import type { Command } from 'commander';

/** What completion knows of a command. */
export interface CommandShape {
  /** Words that lead to it: `tenants pause`; '' for the program itself. */
  readonly path: string;
  readonly description: string;
  /** Names of the commands below it, with what they do. */
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly {
    readonly flag: string;
    readonly description: string;
    readonly takesValue: boolean;
  }[];
  /** Whether its first argument is a tenant, a file, or something else. */
  readonly argument: 'tenant' | 'file' | 'other' | 'none';
}

/** Every command of a program, its own options with `--help`. */
export function describeCommands(program: Command): readonly CommandShape[] {
  const shapes: CommandShape[] = [];
  const visit = (command: Command, path: string) => {
    const visible = command.commands.filter(child => !('_hidden' in child && child._hidden));
    shapes.push({
      path,
      description: command.description(),
      commands: visible.map(child => ({ name: child.name(), description: child.description() })),
      options: [
        ...command.options.map(option => ({
          flag: option.long ?? option.flags,
          description: option.description,
          takesValue: option.required || option.optional,
        })),
        { flag: '--help', description: 'display help for command', takesValue: false },
      ],
      argument: argumentOf(command),
    });
    for (const child of visible) visit(child, `${path} ${child.name()}`.trim());
  };
  visit(program, '');
  return shapes;
}

function argumentOf(command: Command): CommandShape['argument'] {
  const name = command.registeredArguments[0]?.name();
  if (name === undefined) return 'none';
  if (name === 'tenant' || name === 'tenants') return 'tenant';
  return name === 'file' || name === 'backup' ? 'file' : 'other';
}
