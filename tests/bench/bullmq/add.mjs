// A producer with BullMQ: jobs into a Redis that syncs every write.
//
//     node add.mjs REDIS_PORT one|bulk EVENTS
//
// one: 64 calls of add() under way, each with one job. bulk: addBulk() with 500 jobs, one after another.
// Prints one line of JSON: events and seconds.
import { Queue } from 'bullmq';
import { payload } from './payload.mjs';

const [port, how, events] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
const queue = new Queue('bench', { connection: { host: '127.0.0.1', port } });
const options = { attempts: 12, backoff: { type: 'exponential', delay: 5000 }, removeOnComplete: true };
const data = payload(1024);

await queue.waitUntilReady();
const start = process.hrtime.bigint();
if (how === 'bulk') {
  for (let n = 0; n < events; n += 500) {
    const jobs = Array.from({ length: Math.min(500, events - n) }, () => ({ name: 'bench.event', data, opts: options }));
    await queue.addBulk(jobs);
  }
} else {
  let left = events;
  const produce = async () => {
    while (left-- > 0) await queue.add('bench.event', data, options);
  };
  await Promise.all(Array.from({ length: 64 }, produce));
}
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
console.log(JSON.stringify({ events, seconds }));
await queue.close();
