# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our server, for tests in guests: a pool of its own, mounted, with sockets for guests; and a mapping that
lives in a guest while others do something to its file. Programs are from $OUT/bin, or from $OUT."""
import contextlib
import json
import os
import re
import subprocess
import threading
import time

import vm
from cases import expect

# The longest that a whole group of tests may take: then the server is killed, so that nothing waits for
# it for ever.
LIFE_LIMIT = 3600
CALL_LIMIT = 120
SERVER_OPTIONS = os.environ.get('DAXFUSE_VM_SERVER', '').split()
FSCK_BUSY = 8


def tool(name):
    folder = os.environ['OUT']
    path = os.path.join(folder, 'bin', name)
    return path if os.path.exists(path) else os.path.join(folder, name)


def call(*command, limit=CALL_LIMIT):
    """(status, output) of a command here."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=limit, check=False)
    return done.returncode, done.stdout.decode(errors='replace')


def run(*command, limit=CALL_LIMIT):
    """The output of a command that must succeed."""
    status, output = call(*command, limit=limit)
    if status != 0:
        raise vm.VmError('status %d of: %s: %s' % (status, ' '.join(command), output.strip()))
    return output


class Server:
    """exports = {name: options}: each has a socket and is the tag, too. program: the guest's, for here."""

    def __init__(self, work, name, exports, program, size='1G'):
        self.folder = os.path.join(work, name)
        os.makedirs(self.folder, exist_ok=True)
        self.pool = os.path.join(self.folder, 'pool')
        self.mountpoint = os.path.join(self.folder, 'mnt')
        os.makedirs(self.mountpoint, exist_ok=True)
        self.exports = exports
        self.program = program
        self.process = None
        self.timer = None
        self.log = os.path.join(self.folder, 'log')
        run(tool('mkfs.daxfuse'), '-s', size, self.pool)
        self.start()

    # Its life

    def command(self):
        command = [tool('daxfuse'), '-f', *SERVER_OPTIONS, self.pool, self.mountpoint]
        for name, options in self.exports.items():
            command += ['--vhost-user', '%s,tag=%s%s' % (self.socket(name), name,
                                                         options and ',' + options)]
        return command

    def start(self):
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        self.timer = threading.Timer(LIFE_LIMIT, self.process.kill)
        self.timer.daemon = True
        self.timer.start()
        vm.wait_until(self._is_ready, 30, 'the server is ready')
        self.mounted = True

    def _is_ready(self):
        expect(self.process.poll() is None, 'the server lives: ' + self.said())
        status, output = call(tool('daxfuse-ctl'), 'info', '--json', self.pool)
        return status == 0 and json.loads(output)['served'] and \
            os.path.exists(self.socket(list(self.exports)[-1])) and os.path.ismount(self.mountpoint)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._unmount()

    def stop(self, limit=30):
        """By a signal, as service managers do; within the limit."""
        self.process.terminate()
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise vm.VmError('the server does not end: ' + self.said()) from None
        expect(status == 0, 'the server ends with %d: %s' % (status, self.said()))

    def finish(self):
        self.stop()
        self.check()

    def close(self):
        if self.timer:
            self.timer.cancel()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._unmount()
        with contextlib.suppress(OSError):
            os.unlink(self.pool)

    def _unmount(self):
        subprocess.run(['umount', '-l', self.mountpoint], stderr=subprocess.DEVNULL, check=False)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print('--- server:\n' + self.said(), file=os.sys.stderr)
        self.close()

    def said(self):
        with open(self.log, errors='replace') as file:
            return file.read()[-4000:]

    # What it says

    def socket(self, name):
        return os.path.join(self.folder, name + '.sock')

    def window(self, name):
        return vm.Window(self.socket(name))

    def requests(self, name):
        """How many of each kind a guest has sent."""
        stat = json.loads(run(tool('daxfuse-ctl'), 'stat', '--json', self.pool))
        guest = [one for one in stat['guests'] if one['socket'] == self.socket(name)][0]
        return {kind: one['count'] for kind, one in guest['requests'].items()}

    def mappings(self, name=None):
        answer = json.loads(run(tool('daxfuse-ctl'), 'mappings', '--json', self.pool))
        return [one for one in answer['mappings'] if name is None or one['door'] == self.socket(name)]

    def check(self, patience=0):
        """patience: seconds in which a VMM may let go of what it was asked to unmap."""
        end = time.monotonic() + patience
        status, output = call(tool('fsck.daxfuse'), '-n', self.pool)
        while status == FSCK_BUSY and time.monotonic() < end:
            time.sleep(.05)
            status, output = call(tool('fsck.daxfuse'), '-n', self.pool)
        expect(status == 0 and 'clean' in output, 'fsck: %d: %s' % (status, output))

    # The host's side of a test, on its mount

    def path(self, name):
        return os.path.join(self.mountpoint, name)

    def here(self, *arguments, limit=CALL_LIMIT):
        """The guest's program here: words that begin with / are below the mount."""
        return run(self.program, *[self.path(word[1:]) if word.startswith('/') else word
                                   for word in map(str, arguments)], limit=limit)

    def begin_here(self, *arguments):
        return subprocess.Popen([self.program] + [self.path(word[1:]) if word.startswith('/') else word
                                                  for word in map(str, arguments)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def inode(self, name):
        return int(run('stat', '-c', '%i', self.path(name)))


def unknown_calls():
    """Calls of servers that the sandbox has logged (--seccomp log), as the kernel's log has them."""
    return [line for line in run('dmesg').splitlines()
            if 'type=1326' in line and '/daxfuse"' in line and 'code=0x7ffc0000' in line]


def finish(process, limit=CALL_LIMIT):
    """A process of begin_here that must succeed."""
    try:
        output = process.communicate(timeout=limit)[0].decode(errors='replace')
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise vm.VmError('does not end: %s' % process.args) from None
    expect(process.returncode == 0, '%s: %s' % (process.args, output))
    return output


class Held:
    """A shared mapping in a guest, told through fifos. Its answers are `done`, `SIGBUS` or what differs."""
    count = 0

    def __init__(self, guest, path, size):
        Held.count += 1
        self.guest = guest
        self.fifo = '/tmp/held%d' % Held.count
        guest.run('mkfifo %s.in %s.out' % (self.fifo, self.fifo))
        guest.run('guest hold %s %s %s.in %s.out >/tmp/held.log 2>&1 &' % (path, size, self.fifo, self.fifo))

    def ask(self, what, offset, length, seed=0):
        return self.guest.run('echo "%s %d %d %d" >%s.in; cat %s.out' % (
            what, offset, length, seed, self.fifo, self.fifo)).strip()

    def do(self, what, offset, length, seed=0):
        answer = self.ask(what, offset, length, seed)
        expect(answer == 'done', 'mapping: %s %d %d: %s' % (what, offset, length, answer))

    def close(self):
        self.guest.run('echo end >%s.in; rm %s.in %s.out' % (self.fifo, self.fifo, self.fifo))


def number_printed(text, word):
    """The largest number behind the word in what a guest printed."""
    return max([int(number) for number in re.findall(word + r' (\d+)\n', text)] or [0])
