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
