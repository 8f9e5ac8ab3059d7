"""Truth: one thread, blocked in accept on a loopback socket."""
import json
import socket
import sys

answer = 42
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(4)
sys.stdout.write("ready %s\n" % json.dumps({"port": server.getsockname()[1]}))
sys.stdout.flush()
while True:
    peer, _ = server.accept()  # mark: accepting
    if peer.recv(16) == b"quit":
        break
    peer.sendall(b"ok")
    peer.close()
