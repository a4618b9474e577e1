// How figures are written.
export const NONE = '–';

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** Milliseconds, to three digits at most: 0.4 ms, 12 ms, 1.24 s. */
export const milliseconds = (value) => {
  if (!known(value)) return NONE;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 1_000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
};

/** A span in two units at most: 8 s, 3 min 20 s, 2 h 5 min, 4 d 1 h. */
export const span = (value) => {
  if (!known(value)) return NONE;
  const seconds = Math.max(0, Math.round(value / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
};

export const count = (value) => (known(value) ? value.toLocaleString('en') : NONE);

export const percent = (share) => {
  if (!known(share)) return NONE;
  const value = share * 100;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
};

export const rate = (value) => (value >= 100 ? count(Math.round(value)) : value.toFixed(value >= 10 ? 1 : 2).replace(/\.?0+$/, ''));

/** The time of day of a moment in seconds since 1970. */
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString('en-GB');

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** The meaning of each ejection reason. */
export const REASONS = {
  connect: 'no connection to it',
  timeout: 'it answers too late',
  reset: 'its connections break',
  status: 'it answers with server errors',
  redirect: 'it sends its clients elsewhere',
  no_answer: 'it answers with errors or nothing, as if they were answers',
  error_rate: 'over half of its attempts fail',
  break_rate: 'a tenth of its answers or more break off',
  credential: 'it refuses our key',
  account: 'our account there has no money',
  stall: 'nothing comes from it',
  missing: 'it does not have the model',
  disabled: 'its operator has taken it out of use',
};
