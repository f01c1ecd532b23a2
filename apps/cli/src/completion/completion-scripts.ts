import type { CommandShape } from './describe-commands.ts';

/** Shells that completion is made for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

export type Shell = (typeof SHELLS)[number];

/** Asked by the scripts for the names of tenants; fails silently. */
const TENANTS = 'onewriter __tenants 2>/dev/null';

/** A script that a shell reads to complete the words of `onewriter`. */
export function completionScript(shell: Shell, shapes: readonly CommandShape[]): string {
  switch (shell) {
    case 'bash':
      return forBash(shapes);
    case 'zsh':
      return forZsh(shapes);
    case 'fish':
      return forFish(shapes);
    default:
      return shell satisfies never;
  }
}

/**
 * Words that begin no option lead to the command, as far as one of that name is there. bash has no descriptions.
 */
function forBash(shapes: readonly CommandShape[]): string {
  const cases = shapes.map(({ path, commands, options, argument }) => {
    const words = [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)].join(' ');
    const files = argument === 'file' ? ' files=1' : '';
    const tenants = argument === 'tenant' ? ' tenants=1' : '';
    return `    ${quote(path)}) words=${quote(words)}${files}${tenants} ;;`;
  });
  const paths = shapes.map(({ path }) => quote(path)).join('|');
  const withValue = [
    ...new Set(
      shapes.flatMap(({ options }) => options.filter(({ takesValue }) => takesValue).map(({ flag }) => flag)),
    ),
  ];
  return `# bash completion of onewriter. Load it: source <(onewriter completion bash)
_onewriter() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local path='' word words='' files='' tenants='' index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    case "\${path:+$path }$word" in
      ${paths}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$previous" in
    ${withValue.join('|')}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ $current != -* ]]; then
    [[ -n $tenants ]] && COMPREPLY+=($(compgen -W "$(${TENANTS})" -- "$current"))
    [[ -n $files ]] && COMPREPLY+=($(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _onewriter onewriter
`;
}

function forZsh(shapes: readonly CommandShape[]): string {
  const cases = shapes.map(({ path, commands, options, argument }) => {
    const entries = commands
      .map(({ name, description }) => quote(`${escapeColon(name)}:${description}`))
      .join(' ');
    const flags = options
      .map(({ flag, description }) => quote(`${escapeColon(flag)}:${description}`))
      .join(' ');
    const more =
      argument === 'tenant' ? ` tenants=(\${(f)"$(${TENANTS})"})` : argument === 'file' ? ' files=1' : '';
    return `    ${quote(path)}) commands=(${entries}) flags=(${flags})${more} ;;`;
  });
  const paths = shapes.map(({ path }) => quote(path)).join('|');
  return `#compdef onewriter
# zsh completion of onewriter. Load it: source <(onewriter completion zsh), or save it as _onewriter in a folder of $fpath.
_onewriter() {
  local path_='' word files=''
  local -a commands flags tenants
  integer index
  for ((index = 2; index < CURRENT; index++)); do
    word="\${words[index]}"
    case "\${path_:+$path_ }$word" in
      (${paths}) path_="\${path_:+$path_ }$word" ;;
    esac
  done
  case "$path_" in
${cases.join('\n')}
  esac
  if [[ $PREFIX == -* ]]; then
    _describe 'option' flags
    return
  fi
  (( \${#commands} )) && _describe 'command' commands
  (( \${#tenants} )) && _describe 'tenant' tenants
  if [[ -n $files || $words[CURRENT-1] == -* ]]; then _files; fi
}
if [[ $funcstack[1] == _onewriter ]]; then _onewriter "$@"; else compdef _onewriter onewriter; fi
`;
}

function forFish(shapes: readonly CommandShape[]): string {
  const lines = [
    '# fish completion of onewriter. Load it: onewriter completion fish | source',
    'complete -c onewriter -f',
    'function __onewriter_path',
    '  set -l path',
    '  for word in (commandline -opc)[2..-1]',
    "    switch (string join ' ' $path $word)",
    `      case ${shapes
      .filter(({ path }) => path !== '')
      .map(({ path }) => quote(path))
      .join(' ')}`,
    '        set path $path $word',
    '    end',
    '  end',
    "  string join ' ' -- $path",
    'end',
    'function __onewriter_at',
    '  set -l path (__onewriter_path)',
    '  test "$path" = "$argv[1]"',
    'end',
  ];
  for (const { path, commands, options, argument } of shapes) {
    const at = `-n "__onewriter_at ${quote(path)}"`;
    for (const { name, description } of commands) {
      lines.push(`complete -c onewriter ${at} -a ${quote(name)} -d ${quote(description)}`);
    }
    for (const { flag, description, takesValue } of options) {
      const value = takesValue ? ' -r -F' : '';
      lines.push(
        `complete -c onewriter ${at} -l ${quote(flag.replace(/^--/, ''))}${value} -d ${quote(description)}`,
      );
    }
    if (argument === 'tenant') lines.push(`complete -c onewriter ${at} -a "(${TENANTS})"`);
    if (argument === 'file') lines.push(`complete -c onewriter ${at} -F`);
  }
  return `${lines.join('\n')}\n`;
}

/** For all three shells: between single quotes, where fish alone knows an escape, which is not used. */
function quote(text: string): string {
  return `'${text.replaceAll("'", '’')}'`;
}

function escapeColon(text: string): string {
  return text.replaceAll(':', '\\:');
}
