// Receivers as a customer would write them: node's http server and the official standardwebhooks library.
//
// Argument: JSON {"/path": {"secret": "whsec_...", "behaviour": "healthy" | "flaky" | "slow"}, ...}. Prints the
// port, then a line of JSON for each request: path, id, whether it verified, the body's hash, and the answer.
import { createHash } from "node:crypto";
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
    const [status, headers] = verified ? answerOf(endpoint) : [400, {}];
    const finish = () => {
      // Said before it is answered: what a killed hookd never heard was received all the same.
      process.stdout.write(JSON.stringify({
        path: request.url,
        id: request.headers["webhook-id"],
        type: request.headers["webhook-event"],
        verified,
        sha256: createHash("sha256").update(body).digest("hex"),
        status,
      }) + "\n");
      response.writeHead(status, { ...headers, "Content-Length": "0" });
      response.end();
    };
    if (endpoint?.behaviour === "slow") setTimeout(finish, 1000);
    else finish();
  });
});
server.keepAliveTimeout = 60000;
server.listen(0, "127.0.0.1", 4096, () => process.stdout.write(`${server.address().port}\n`));
