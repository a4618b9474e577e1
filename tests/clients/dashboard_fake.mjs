// A fake mesh of thirty nodes, passed to the page instead of /live. Runs in the page before
// anything else, and so uses nothing from outside of itself.
export const fakeMesh = () => {
  const PLACES = {
    sgp: [1.35, 103.8], jpn: [35.7, 139.7], usa: [37.4, -78.7], usw: [45.8, -119.7], eur: [52.4, 4.9], fra: [50.1, 8.7],
    gbr: [51.5, -0.1], bra: [-23.5, -46.6], zaf: [-26.2, 28], ind: [19, 72.9], aus: [-33.9, 151.2], can: [43.7, -79.4], kor: [37.6, 127], are: [25.2, 55.3], swe: [60.7, 17.1],
  };
  const regions = Object.keys(PLACES);
  const hash = (text) => [...text].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
  const nodes = Array.from({ length: 30 }, (_, index) => {
    const region = regions[index % regions.length];
    const name = `${region}-${1 + Math.floor(index / regions.length)}`;
    const [lat, lon] = PLACES[region];
    const rtt = index === 0 ? 0 : region === 'sgp' ? 0.8 : 20 + (hash(region) % 300);
    const isDead = name === 'zaf-2' || name === 'ind-1';
    const upstreams = ['openai', 'vllm'].map((kind, number) => {
      const isOut = (name === 'usa-1' && number === 0) || name === 'bra-2';
      const isCooling = name === 'eur-1' && number === 1;
      return {
        name: kind, state: isDead ? 'unreachable' : isOut ? 'ejected' : isCooling ? 'cooldown' : 'healthy', reported_state: 'healthy', usable: !isDead && !isOut && !isCooling, reason: isOut ? (number ? 'credential' : 'connect') : null,
        since_ms: isOut ? 83_000 : 9_400_000, again_in_ms: isCooling ? 12_000 : null, models: ['gpt-4o', 'gpt-4o-mini'], models_total: number ? 2 : 7,
        ttft_ms: 90 + (hash(name + kind) % 400), p50_ms: index ? null : 212.4, p99_ms: index ? null : 1_240, answer_ms: index ? null : 4_210, error_rate: isOut ? 1 : 0,
        in_flight: hash(kind + name) % 200, in_flight_max: 256, tier: 1, weight: 1, age_ms: 400,
        mean_ms: index ? null : 231.7, checked: index ? null : { ms_ago: 4_000, by: number ? 'traffic' : 'probe', good: number === 1, outcome: number ? 'answered' : 'connect_timeout' }, failures_in_row: index ? undefined : number ? 0 : 3,
        configured: index ? undefined : { provider: kind, base_url: `https://${kind}.example.com/v1`, max_retries: 3, timeout: { connect: '2s', first_byte: '2m', answer: '10m', idle: '5m', total: '1h' } },
      };
    });
    return {
      name, region, live: name !== 'zaf-2', state: isDead ? 'unreachable' : name === 'jpn-2' ? 'draining' : 'ready', phase: name === 'jpn-2' ? 'draining' : 'ready', reach: name === 'zaf-2' ? 'down' : name === 'jpn-2' ? 'closed' : name === 'ind-1' ? 'silent' : 'open',
      rtt_ms: rtt, build: '0.1.0', location: { lat, lon }, serves_requests: true, services: index % 3 ? ['async-task:process', 'workflow:process'] : [],
      tasks_waiting: index % 7 ? {} : { 'async-task:process': 3 + index, 'my-plugin:process': index }, residency_differs: false, upstreams, upstreams_total: 2,
    };
  });
  const totals = { nodes: 30, live: 29, links: 27, links_open: 27, upstreams: 60, usable: 52 };
  const summary = {
    nodes: { all: 30, ready: 27, joining: 0, draining: 1, unreachable: 2 },
    upstreams: { all: 60, usable: nodes.flatMap((it) => it.upstreams).filter((it) => it.usable).length, unreachable: 4 },
    models: { all: 9, unserved: 1, unserved_names: ['o3'] },
  };
  const sums = regions.map((name) => {
    const own = nodes.filter((node) => node.region === name);
    const all = own.flatMap((node) => node.upstreams);
    const sum = (key) => all.reduce((total, upstream) => total + upstream[key], 0);
    return {
      name, nodes: own.length, live: own.filter((node) => node.live).length, reachable: own.filter((node) => node.reach === 'open').length,
      upstreams: all.length, usable: all.filter((upstream) => upstream.usable).length,
      in_flight: sum('in_flight'), in_flight_max: sum('in_flight_max'), rtt_ms: Math.min(...own.map((node) => node.rtt_ms)), ttft_ms: Math.min(...all.map((it) => it.ttft_ms)),
    };
  });
  const wave = (index, base, swing) => Math.round(base + swing * Math.sin(index / 7) + swing * 0.4 * Math.sin(index / 2.3));
  const buckets = Array.from({ length: 120 }, (_, index) => index);
  const mesh = {
    self: 'sgp-1', region: 'sgp', version: '0.1.0', worker_mode: '', time: 1_790_000_000, under_way: 37, totals, summary, regions: sums, nodes,
    readiness: { ready: true, reasons: [], warnings: ['keys: none are configured, so the public address lets everyone in'] },
    config: {
      file_hash: '0123456789ab', loaded_ms_ago: 7_200_000, last_reload_at: 1_790_000_000, pending_restart: ['mesh', 'tasks'],
      last_reload_failed: { error: 'grapevine.yaml:3:1: listne: is not a known key; did you mean listen?\ngrapevine.yaml:4:1: x', ms_ago: 61_000, file_hash: 'fedcba987654' },
    },
    certificates: [
      { used_for: 'mesh', not_after: 1_790_000_000, expires_in_ms: 259_200_000, ending: true },
      { used_for: 'mesh_ca', not_after: 2_000_000_000, expires_in_ms: 8_640_000_000, ending: false },
      { used_for: 'public', not_after: 1_790_000_000, expires_in_ms: -7_200_000, ending: true },
    ],
    limits: {
      keys: 212, limited_total: 19, budgets_total: 2, faults: { store_is_old: 0, clock_differs: 0, unsaved: 3 },
      limited: [
        { key: 'app', issued: false, of: 'requests', unit: 'requests', window: 'minute', limit: 600, left: 12, left_here: 0, whole_again_in_ms: 58_000, refused: 1_204, refused_ms_ago: 400 },
        { key: 'gvk_5b0c1d6a2f9e4c7788aa90ef', issued: true, of: 'budget', unit: 'micro_usd', window: 'month', limit: 50_000_000, left: 130_000, left_here: 130_000, whole_again_in_ms: 864_000_000, refused: 3, refused_ms_ago: 61_000 },
      ],
      budgets: [
        { key: 'gvk_5b0c1d6a2f9e4c7788aa90ef', issued: true, of: 'budget', unit: 'micro_usd', window: 'month', limit: 50_000_000, left: 130_000, left_here: 130_000, whole_again_in_ms: 864_000_000, refused: 3, refused_ms_ago: 61_000 },
        { key: 'batch', issued: false, of: 'budget', unit: 'micro_usd', window: 'day', limit: 10_000_000, left: 7_310_000, left_here: 620_000, whole_again_in_ms: 31_000_000, refused: 0, refused_ms_ago: null },
      ],
    },
    unserved: [{ service: 'my-plugin:process', node: 'sgp-1', waiting: 7 }],
    forwarded: [['jpn-1', 410, 2], ['usa-1', 96, 31], ['eur-1', 52, 0], ['aus-1', 12, 0]].map(([node, attempts, failed]) => ({ node, attempts, failed })),
    origins: [['SG', 1, 104, 1_800], ['MY', 3, 102, 310], ['ID', -5, 120, 240], ['IN', 22, 79, 120], ['DE', 51, 9, 44]].map(([area, lat, lon, requests]) => ({ area, location: { lat, lon }, requests })),
    pulse: {
      interval_s: 5, elapsed_s: 2.5, requests: buckets.map((index) => wave(index, 260, 90)), failed: buckets.map((index) => (index > 98 && index < 106 ? 14 : 0)),
      p50_ms: buckets.map((index) => wave(index, 190, 30)), p99_ms: buckets.map((index) => wave(index, 900, 160) + (index > 98 && index < 106 ? 700 : 0)),
    },
  };
  const cost = (rtt, ttft, load) => ({ rtt, ttft, load, staleness: 0, breaks: 0, total: rtt + ttft + load });
  const requests = Array.from({ length: 12 }, (_, index) => {
    const moved = index % 4 === 1;
    const failed = index === 6;
    const first = { node: 'usa-1', region: 'usa', upstream: 'openai', outcome: 'connect_failed', ms: 3.1, reason: 'least-cost', cost_ms: cost(221, 96, 12), detail: 'connect: Connection refused (os error 111)' };
    const last = { node: index % 3 ? 'jpn-1' : 'sgp-1', region: index % 3 ? 'jpn' : 'sgp', upstream: 'vllm', outcome: failed ? 'timed_out' : 'answered', ms: 240 + index * 31, reason: moved ? 'fallback' : 'least-cost', cost_ms: cost(index % 3 ? 74 : 0, 168, 9), detail: null };
    return {
      id: `req_${hash(`${index}`).toString(16)}`, time: 1_790_000_000 - index * 0.7, method: 'POST', path: '/v1/chat/completions', model: index % 5 ? 'gpt-4o' : 'claude-sonnet-4-5-20250929', stream: index % 2 === 0,
      status: failed ? 504 : index === 9 ? 451 : 200, node: failed ? null : last.node, region: failed ? null : last.region, upstream: failed ? null : 'vllm', client: { area: index % 2 ? 'SG' : 'MY', location: null },
      attempts: index === 9 ? [] : moved ? [first, last] : [last], untried: moved || failed ? [] : [{ node: 'eur-1', region: 'eur', upstream: 'openai', reason: 'fallback', cost_ms: cost(163, 131, 4) }],
      overhead_ms: 0.4, first_byte_ms: failed || index === 9 ? 0 : last.ms, total_ms: 900 + index * 40, tokens_in: 812, tokens_out: 207, key: 'app', residency: index === 9 ? 'residency[0]' : null, error: failed ? 'upstream_timeout' : index === 9 ? 'residency' : null, kind: index === 3 ? 'task' : 'client',
    };
  });
  const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
  const whole = window.fetch.bind(window);
  window.fetch = (path, options) => {
    if (path !== '/live') return whole(path, options);
    const encoder = new TextEncoder();
    let timer = 0;
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(encoder.encode(event('mesh', mesh) + event('requests', { total: 48_211, requests })));
        timer = setInterval(() => controller.enqueue(encoder.encode(event('mesh', mesh))), 500);
      },
      cancel: () => clearInterval(timer),
    });
    return Promise.resolve(new Response(body));
  };
};
