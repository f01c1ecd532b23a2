import { formatBytes } from '@onewriter/files';

/** A line on standard error that changes; nothing where that is no terminal. */
export interface Progress {
  /** @param fraction 0 to 1; undefined where the end is not known */
  update(text: string, fraction?: number | undefined): void;
  /** Removes the line. Idempotent. */
  end(): void;
}

const BAR_CHARACTERS = 24;
const DRAW_EVERY_MS = 100;

/** @param silent also at a terminal */
export function createProgress(silent = false): Progress {
  const stream = process.stderr;
  if (silent || !stream.isTTY) return { update: () => {}, end: () => {} };
  let drawnAt = Number.NEGATIVE_INFINITY;
  let shown = false;
  return {
    update: (text, fraction) => {
      const now = performance.now();
      if (now - drawnAt < DRAW_EVERY_MS && fraction !== 1) return;
      drawnAt = now;
      shown = true;
      const line = `${fraction === undefined ? '' : `${drawBar(fraction)} `}${text}`;
      stream.write(`\r\u001b[2K${line.slice(0, (stream.columns || 80) - 1)}`);
    },
    end: () => {
      if (shown) stream.write('\r\u001b[2K');
      shown = false;
    },
  };
}

/** `[=====>     ]  42%` */
function drawBar(fraction: number): string {
  const clamped = Math.min(1, Math.max(0, fraction));
  const full = Math.round(clamped * BAR_CHARACTERS);
  const bar = '='.repeat(Math.max(0, full - 1)) + (full === 0 ? '' : full === BAR_CHARACTERS ? '=' : '>');
  return `[${bar.padEnd(BAR_CHARACTERS)}] ${String(Math.floor(clamped * 100)).padStart(3)}%`;
}

/** `12.0 MiB, 3.1 MiB/s` */
export function describeRate(bytes: number, elapsedMs: number): string {
  return `${formatBytes(bytes)}, ${formatBytes(Math.round((bytes / Math.max(1, elapsedMs)) * 1_000))}/s`;
}
