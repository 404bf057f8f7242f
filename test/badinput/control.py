#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The other end of a control socket, behaving badly, or being somebody. For scripts/suites/badinput.sh.

  control.py flood SOCKET COUNT [PAUSE]   COUNT connections that send requests as long as they are taken,
                                          and read nothing, or 4 KiB every PAUSE seconds; "ready" when no
                                          more is taken
  control.py answer SOCKET POOL FILE      is the server of POOL: FILE has an object that says for each
                                          command what is sent back, a string as it is; info is answered
                                          rightly unless it says otherwise; "ready" when it listens
  control.py ask SOCKET USER              asks for info as the user of that number, in no group, and prints
                                          the answer
"""
import json
import os
import socket
import sys
import time


def flood(path, count, pause):
    line = b'{"command": "info"}\n' * 1000
    clients = []
    for _ in range(count):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(path)
        client.setblocking(False)
        clients.append(client)
    taken = time.monotonic()
    told = False
    while True:
        for client in clients:
            try:
                if client.send(line) > 0:
                    taken = time.monotonic()
                if pause:
                    client.recv(4096)
            except BlockingIOError:
                pass
            except OSError:
                clients.remove(client)
        if not told and (pause or time.monotonic() - taken > 0.3):
            print("ready", flush=True)
            told = True
        time.sleep(pause or 0.05)


def answer(path, pool, file):
    if os.path.exists(path):
        os.unlink(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    print("ready", flush=True)
    found = os.stat(pool)
    info = {"pool_device": found.st_dev, "pool_inode": found.st_ino, "pool": pool}
    while True:
        client = listener.accept()[0]
        with open(file) as stream:
            said = json.load(stream)
        try:
            for line in client.makefile("r"):
                command = json.loads(line)["command"]
                what = said.get(command, {})
                if command == "info" and isinstance(what, dict):
                    what = {**info, **what}
                text = what if isinstance(what, str) else json.dumps(what)
                client.sendall(text.encode() + b"\n")
        except OSError:
            pass
        client.close()


def ask(path, user):
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(path)
    stream = client.makefile("rw")
    try:
        stream.write('{"command": "info"}\n')
        stream.flush()
    except BrokenPipeError:  # answered before it was asked
        pass
    print(stream.readline(), end="")


if sys.argv[1] == "ask":
    ask(sys.argv[2], int(sys.argv[3]))
elif sys.argv[1] == "flood":
    flood(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 0)
else:
    answer(*sys.argv[2:5])
