/** A run shows something that must not be, beyond what the oracle finds in journals and files. */
export class FaultFailure extends Error {
  override readonly name = 'FaultFailure';
}

/** The machine does not let the fault be injected; the run then shows nothing, and fails. */
export class CannotInject extends Error {
  override readonly name = 'CannotInject';
}
