// Deliveries with BullMQ and undici: every job that waits is signed as Standard Webhooks asks, and posted.
//
//     node deliver.mjs REDIS_PORT URL CONCURRENCY EVENTS
//
// Prints one line of JSON: events, seconds, and CPU (user and system) of this process in microseconds an event.
import { createHmac, randomBytes } from 'node:crypto';
import { Worker } from 'bullmq';
import { Pool } from 'undici';

const [port, url, concurrency, events] =
  [Number(process.argv[2]), new URL(process.argv[3]), Number(process.argv[4]), Number(process.argv[5])];
const pool = new Pool(url.origin, { connections: concurrency });
const secret = randomBytes(32);
let done = 0;
let finish;
const finished = new Promise((resolve) => { finish = resolve; });

async function deliver(job) {
  const body = JSON.stringify(job.data);
  const timestamp = Math.floor(Date.now() / 1000);
  const signature = createHmac('sha256', secret).update(`${job.id}.${timestamp}.${body}`).digest('base64');
  const answer = await pool.request({
    path: url.pathname, method: 'POST', body,
    headers: {
      'content-type': 'application/json', 'webhook-id': job.id,
      'webhook-timestamp': String(timestamp), 'webhook-signature': `v1,${signature}`,
    },
  });
  await answer.body.dump();
  if (answer.statusCode >= 300) throw new Error(`status ${answer.statusCode}`);
}

const start = process.hrtime.bigint();
const cpu = process.cpuUsage();
const worker = new Worker('bench', deliver, { connection: { host: '127.0.0.1', port }, concurrency });
worker.on('completed', () => { if (++done === events) finish(); });
worker.on('failed', (job, error) => { console.error(error.message); process.exit(1); });
await finished;
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const used = process.cpuUsage(cpu);
console.log(JSON.stringify({ events, seconds, cpu_us: (used.user + used.system) / events }));
process.exit(0);
