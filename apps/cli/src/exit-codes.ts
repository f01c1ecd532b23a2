/** Exit codes of every command. */
export const EXIT = Object.freeze({
  /** It did what it was asked to. */
  ok: 0,
  /** It failed, or a part of it did; standard error says what, and what to do. */
  failed: 1,
  /** The command line is wrong, also a value of an option; nothing was done. */
  usage: 2,
  /** It looked, and found an error: `adopt`, `check`, `doctor`, `replica`, `status`. A warning alone is `ok`. */
  found: 3,
});

/** For `--help`. */
export const EXIT_CODES_HELP = `
Exit codes:
  0  done
  1  failed, or a part of it did: standard error says what, and what to do
  2  the command line is wrong, also a value of an option; nothing was done
  3  looked, and found an error, not only warnings (adopt, check, doctor, replica, status)`;
