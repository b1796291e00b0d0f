"""Post one write to the server behind a socket: ``post.py SOCKET WHAT``; fails unless it is accepted."""

import http.client
import os
import socket
import sys

connection = http.client.HTTPConnection("bank")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
key = os.environ["RUNNER_IDEMPOTENCY_KEY"]
connection.request("POST", f"/{sys.argv[2]}", headers={"Idempotency-Key": key})
answer = connection.getresponse()
sys.exit(0 if answer.status == http.client.OK else f"the server answered {answer.status}")
