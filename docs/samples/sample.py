"""msgcenter from Python, by its own client: send one, send a batch, receive callbacks.

export MSGCENTER_URL=http://127.0.0.1:8080 MSGCENTER_KEY=mck_...
python sample.py send 13800138000 '您的业务已受理'
python sample.py batch '生日快乐' 13800138000 13800138001
MSGCENTER_SECRET=whsec_... python sample.py receive 9000
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgcenter.client import BadSignature, Client, Replayed, Webhook


def connect() -> Client:
    return Client(os.environ["MSGCENTER_URL"], os.environ["MSGCENTER_KEY"])


def send(to: str, text: str) -> None:
    with connect() as client:
        sent = client.send_message(
            {
                "to": to,
                "category": "transactional",
                "content": {"type": "text", "text": text},
            }
        )
        print(sent["id"], sent["status"])


def batch(text: str, *numbers: str) -> None:
    with connect() as client:
        answer = client.send_messages(
            {
                "messages": [
                    {"to": to, "category": "care", "content": {"type": "text", "text": text}}
                    for to in numbers
                ]
            }
        )
        for result in answer["results"]:
            print(result["index"], result["status"], result.get("id", ""))


def receive(port: str) -> None:
    hook = Webhook(os.environ["MSGCENTER_SECRET"])

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > 1 << 20:
                return self.answer(413)
            body = self.rfile.read(size)
            try:
                event = hook.verify(dict(self.headers), body)
            except Replayed:
                return self.answer(200)
            except BadSignature:
                return self.answer(401)
            print(event.id, event.type, event.data.get("message", ""), flush=True)
            return self.answer(204)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
    print("listening on", server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    {"send": send, "batch": batch, "receive": receive}[sys.argv[1]](*sys.argv[2:])
