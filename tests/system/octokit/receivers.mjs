// Receivers as a customer would write them: node's http server and the official standardwebhooks library.
//
// Argument: JSON {"/path": {"secret": "whsec_...", "behaviour": "healthy" | "flaky" | "slow"}, ...}. Prints the
// port, then a line of JSON for each request, as the ledger reads them (tests/fault/receivers.py). What does not verify is
// answered 400.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const endpoints = JSON.parse(process.argv[2]);
for (const endpoint of Object.values(endpoints)) endpoint.webhook = new Webhook(endpoint.secret);

function answerOf(endpoint) {
  if (endpoint.behaviour !== "flaky" || Math.random() >= 0.3) return [200, {}];
  return Math.random() < 0.5 ? [500, {}] : [503, { "Retry-After": "1" }];
}

const server = createServer((request, response) => {
  const pieces = [];
  const seconds = () => Number(process.hrtime.bigint()) / 1e9;
  const at = seconds();
  const wall = Date.now() / 1000;
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.concat(pieces);
    const endpoint = endpoints[request.url];
    let verified = false;
    try {
      endpoint.webhook.verify(body, request.headers);
      verified = true;
    } catch (error) {
      process.stderr.write(`${request.url}: ${error}\n`);
    }
    const [status, extra] = verified ? answerOf(endpoint) : [400, {}];
    const finish = () => {
      // Said before it is answered: what a killed hookd never heard was received all the same.
      const headers = [];
      for (let i = 0; i < request.rawHeaders.length; i += 2) headers.push(request.rawHeaders.slice(i, i + 2));
      process.stdout.write(JSON.stringify({
        path: request.url, headers, body: body.toString("base64"), at, wall, answered: seconds(), status,
      }) + "\n");
      response.writeHead(status, { ...extra, "Content-Length": "0" });
      response.end();
    };
    if (endpoint?.behaviour === "slow") setTimeout(finish, 1000);
    else finish();
  });
});
server.keepAliveTimeout = 60000;
server.listen(0, "127.0.0.1", 4096, () => process.stdout.write(`${server.address().port}\n`));
