// msgcenter from Node.js 18 or newer, without packages: send one, send a batch, receive callbacks.
//
//   export MSGCENTER_URL=http://127.0.0.1:8080 MSGCENTER_KEY=mck_...
//   node sample.mjs send 13800138000 '您的业务已受理'
//   node sample.mjs batch '生日快乐' 13800138000 13800138001
//   MSGCENTER_SECRET=whsec_... node sample.mjs receive 9000
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

async function post(path, body) {
  const headers = {
    Authorization: `Bearer ${process.env.MSGCENTER_KEY}`,
    "Content-Type": "application/json",
    "Idempotency-Key": randomUUID(), // the same in every try: one message, however often it is sent
  };
  for (let attempt = 0; ; attempt++) {
    let answer;
    try {
      answer = await fetch(process.env.MSGCENTER_URL + path, {
        method: "POST", headers, body: JSON.stringify(body), redirect: "error",
        signal: AbortSignal.timeout(30_000),
      });
    } catch (gone) {
      if (attempt >= 5) throw gone;
      await pause(0.2 * 2 ** attempt);
      continue;
    }
    const told = await answer.json();
    if (answer.ok) return told;
    const again = [429, 503].includes(answer.status) || told.code === "idempotency_busy";
    if (!again || attempt >= 5) throw new Error(`HTTP ${answer.status} ${told.code}: ${told.detail}`);
    await pause(Number(answer.headers.get("Retry-After")) || 0.2 * 2 ** attempt);
  }
}

// Standard Webhooks: HMAC-SHA256 over id.timestamp.body, at most 300 s old. Throws when it does not fit.
function verify(headers, body) {
  const { "webhook-id": id = "", "webhook-timestamp": at = "", "webhook-signature": given = "" } = headers;
  if (!/^\d{1,11}$/.test(at) || Math.abs(Date.now() / 1000 - Number(at)) > 300) throw new Error("not of now");
  const key = Buffer.from(process.env.MSGCENTER_SECRET.slice("whsec_".length), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest();
  const fits = given.split(" ").some((one) => {
    const [version, mark = ""] = one.split(",");
    const bytes = Buffer.from(mark, "base64");
    return version === "v1" && bytes.length === expected.length && timingSafeEqual(bytes, expected);
  });
  if (!fits) throw new Error("not signed by msgcenter");
  return id;
}

function receive(port) {
  const seen = new Map(); // id -> when it may be forgotten; share it (Redis: SET NX EX 600) between processes
  const server = createServer(async (request, response) => {
    const answer = (status) => response.writeHead(status).end();
    const pieces = [];
    let size = 0;
    for await (const piece of request) {
      size += piece.length;
      if (size > 1 << 20) return answer(413);
      pieces.push(piece);
    }
    const body = Buffer.concat(pieces);
    let id;
    try {
      id = verify(request.headers, body);
    } catch {
      return answer(401);
    }
    const now = Date.now();
    for (const [old, until] of seen) if (until < now) seen.delete(old);
    if (seen.has(id)) return answer(200);
    seen.set(id, now + 600_000);
    const event = JSON.parse(body);
    console.log(event.id, event.type, event.data?.message ?? "");
    answer(204);
  });
  server.listen(Number(port), "127.0.0.1", () => console.log("listening on", server.address().port));
}

const content = (text) => ({ type: "text", text });
const [command, ...rest] = process.argv.slice(2);
if (command === "send") {
  const [to, text] = rest;
  const sent = await post("/v1/messages", { to, category: "transactional", content: content(text) });
  console.log(sent.id, sent.status);
} else if (command === "batch") {
  const [text, ...numbers] = rest;
  const messages = numbers.map((to) => ({ to, category: "care", content: content(text) }));
  const answer = await post("/v1/messages:batch", { messages });
  for (const one of answer.results) console.log(one.index, one.status, one.id ?? "");
} else if (command === "receive") {
  receive(rest[0]);
} else {
  console.error("usage: node sample.mjs send TO TEXT | batch TEXT TO... | receive PORT");
  process.exit(2);
}
