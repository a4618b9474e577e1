// What is wrong with the files this node runs by: its configuration on disk, and its certificates.
import { span } from './format.js';

/** The worst first, as {tone, text}. */
export const fileProblems = (mesh) => {
  const found = [];
  const { config, certificates = [] } = mesh;
  const failed = config?.last_reload_failed;
  if (failed) {
    const [first, ...more] = failed.error.split('\n');
    const rest = more.length ? ` (and ${more.length} more)` : '';
    const hash = failed.file_hash ? ` ${failed.file_hash}` : '';
    found.push({ tone: 'bad', text: `The configuration on disk${hash} was refused ${span(failed.ms_ago)} ago, and the next restart may fail: ${first}${rest}` });
  }
  for (const { used_for: use, expires_in_ms: left } of certificates.filter((it) => it.ending)) {
    found.push(left > 0
      ? { tone: 'warn', text: `The certificate ${use} expires in ${span(left)}` }
      : { tone: 'bad', text: `The certificate ${use} expired ${span(-left)} ago` });
  }
  if (config?.pending_restart.length) {
    found.push({ tone: 'warn', text: `Changes on disk wait for a restart of this node: ${config.pending_restart.join(', ')}` });
  }
  return found;
};

/** The configuration that runs, and until when certificates are valid, as sentences for the foot of the page. */
export const fileNotes = (mesh) => {
  const { config, certificates = [] } = mesh;
  const notes = config?.file_hash ? [`configuration ${config.file_hash}, loaded ${span(config.loaded_ms_ago)} ago`] : [];
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const dates = certificates.map((it) => `${it.used_for} until ${day(it.not_after)}`);
  return dates.length ? [...notes, `certificates: ${dates.join(', ')}`] : notes;
};
