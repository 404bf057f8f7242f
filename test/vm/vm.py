# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests for tests: QEMU, a kernel and an initramfs, and a line over which the host runs commands.

    with vm.Guest(work, [vm.Window('s', SOCKET)], ['s:/mnt:dax=always']) as guest:
        print(guest.run('guest check -d /mnt'))
        guest.power_off()

What QEMU and the guest are made of is the folder DAXFUSE_VM (scripts/lib/vm.sh). Every wait has a time
limit; when one is over, a command fails that must not, or QEMU ends by itself, VmError is raised, and
leaving the `with` shows the guest's whole console and QEMU's own words on stderr.

The guest has two processors: with one, QEMU's emulation does atomic instructions without the host's,
and two guests that share memory lose steps.
"""
import contextlib
import glob
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import initramfs  # noqa: E402

# An emulated guest on a busy machine is slow: limits are for what hangs, not for what is slow.
BOOT_LIMIT = 120
COMMAND_LIMIT = 120
KVM_LIMIT = 20
# A script goes to a terminal's input buffer of 4096 bytes as a whole.
SCRIPT_MAX = 3072


class VmError(Exception):
    pass


def in_set(name):
    folder = os.environ.get('DAXFUSE_VM')
    if not folder:
        raise VmError('DAXFUSE_VM is not set: vm_get of scripts/lib/vm.sh sets it')
    return os.path.join(folder, name)


def wait_until(condition, limit, what):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise VmError('not within %g s: %s' % (limit, what))
        time.sleep(0.01)


def build_guest(to, more=(), options=()):
    """The guest's program, static, so that it also runs on any host; with more sources, and options of
    the linker."""
    sources = sorted(glob.glob(os.path.join(HERE, 'guest', '*.c')))
    subprocess.run(['cc', '-D_GNU_SOURCE', '-std=gnu17', '-O2', '-g', '-Wall', '-Wextra', '-Wshadow',
                    '-Wstrict-prototypes', '-Werror', '-static', '-o', to + '.new', *sources, *more,
                    *options], check=True)
    os.rename(to + '.new', to)
    return to


def build_image(to, program, extra=None):
    """An initramfs with the program and extra = {name in the guest: path here}."""
    files = {'init': os.path.join(HERE, 'guest', 'init'), 'usr/bin/guest': program, **(extra or {})}
    loaded = {}
    for name, path in files.items():
        with open(path, 'rb') as file:
            loaded[name] = (file.read(), 0o755)
    initramfs.write(to, in_set('guest'), loaded)
    return to


class Window:
    """A virtio-fs device with a DAX window, as large as the back-end at the socket says. The tag is the
    back-end's."""

    def __init__(self, socket_path, queue_size=128, queues=2):
        self.socket = socket_path
        self.queue_size = queue_size
        self.queues = queues

    def arguments(self, name):
        return ['-chardev', 'socket,id=%s,path=%s' % (name, self.socket),
                '-device', 'vhost-user-test-device-pci,virtio-id=26,num_vqs=%d,config_size=44,vq_size=%d,'
                'chardev=%s' % (self.queues, self.queue_size, name)]


class Plain:
    """QEMU's own virtio-fs device, which has no window; queues are request queues."""

    def __init__(self, tag, socket_path, queue_size=1024, queues=1):
        self.tag = tag
        self.socket = socket_path
        self.queue_size = queue_size
        self.queues = queues

    def arguments(self, name):
        return ['-chardev', 'socket,id=%s,path=%s' % (name, self.socket),
                '-device', 'vhost-user-fs-pci,chardev=%s,tag=%s,num-request-queues=%d,queue-size=%d'
                % (name, self.tag, self.queues, self.queue_size)]


_accelerator = None


def accelerator(image, work):
    """kvm if a guest boots with it, else tcg; DAXFUSE_VM_ACCEL says it without a try. A /dev/kvm that
    is there may still not run a stock kernel, or hang."""
    global _accelerator
    if _accelerator is None:
        _accelerator = os.environ.get('DAXFUSE_VM_ACCEL')
    if _accelerator is None:
        why = 'no /dev/kvm for us'
        _accelerator = 'tcg'
        if os.access('/dev/kvm', os.R_OK | os.W_OK):
            probe = Guest(work, name='probe', image=image, accel='kvm')
            try:
                probe.start()
                probe.wait_ready(KVM_LIMIT)
                _accelerator = 'kvm'
            except VmError as error:
                why = '/dev/kvm does not run it: %s' % error
            finally:
                probe.close()
        print('accelerator: %s%s' % (_accelerator, '' if _accelerator == 'kvm' else ', ' + why))
    return _accelerator


class Guest:
    """One VM. Its files are in the folder work/name: console, qemu.log, qmp, line."""

    def __init__(self, work, devices=(), mounts=(), image=None, name='guest', memory=512, accel=None,
                 reboots=False, extra=()):
        self.folder = os.path.join(work, name)
        self.name = name
        self.devices = devices
        self.mounts = mounts
        self.image = image
        self.memory = memory
        self.accel = accel
        self.reboots = reboots
        self.extra = extra
        self._forget()

    def _forget(self):
        self.process = None
        self.line = None
        self.monitor_socket = None
        self.replies = b''
        self.received = b''
        self.outputs = {}
        self.statuses = {}
        self.last = 0
        self.boots = 0  # how often the agent said that it is ready

    # Its life

    def start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        accel = self.accel or accelerator(self.image, os.path.dirname(self.folder))
        words = ['console=ttyS0', 'panic=-1', 'oops=panic'] + ['vm_mount=' + mount for mount in self.mounts]
        command = [
            in_set('qemu'), '-machine', 'q35,memory-backend=mem',
            '-accel', 'tcg,thread=multi' if accel == 'tcg' else accel, '-cpu', 'max' if accel == 'tcg' else 'host',
            '-smp', '2', '-m', '%dM' % self.memory,
            '-object', 'memory-backend-memfd,id=mem,size=%dM,share=on' % self.memory,
            '-kernel', in_set('vmlinuz'), '-initrd', self.image, '-append', ' '.join(words),
            '-nodefaults', '-display', 'none', *([] if self.reboots else ['-no-reboot']),
            '-serial', 'file:' + os.path.join(self.folder, 'console'),
            '-chardev', 'socket,id=line,server=on,wait=off,path=' + os.path.join(self.folder, 'line'),
            '-serial', 'chardev:line',
            '-qmp', 'unix:%s,server=on,wait=off' % os.path.join(self.folder, 'qmp')]
        for index, device in enumerate(self.devices):
            command += device.arguments('dev%d' % index)
        command += self.extra
        with open(os.path.join(self.folder, 'qemu.log'), 'wb') as log:
            log.write((' '.join(command) + '\n').encode())
            log.flush()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.line = self._connect('line')
        self.monitor_socket = self._connect('qmp')
        self._monitor_reply()  # its greeting
        self.monitor('qmp_capabilities')
        return self

    def wait_ready(self, limit=BOOT_LIMIT, boots=1):
        """Until the agent answers: the mounts of the command line are done, or failed, by then."""
        end = time.monotonic() + limit
        while self.boots < boots:
            if time.monotonic() < end and not select.select([self.line], [], [], 0.5)[0]:
                # A KVM that cannot go on stops the guest, and QEMU lives.
                status = self.monitor('query-status')['status']
                if status != 'running':
                    raise VmError('%s: its state is %s' % (self.name, status))
            else:
                self._receive(end, 'the guest is ready')
        return self

    def power_off(self, limit=COMMAND_LIMIT):
        """As a machine is switched off: unmount before, for QEMU's sake (see README.md)."""
        self.line.sendall(b'OFF\n')
        return self.wait_ended(limit)

    def reboot(self, limit=BOOT_LIMIT, reset=False):
        """By its kernel, or by a reset that it is not asked about. Of a Guest(reboots=True)."""
        boots = self.boots + 1
        if reset:
            self.monitor('system_reset')
        else:
            self.begin('reboot -f')
        return self.wait_ready(limit, boots)

    def wait_ended(self, limit=COMMAND_LIMIT):
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise VmError('%s: QEMU does not end' % self.name) from None

    def kill(self):
        """kill -9, and QEMU's maps are gone when it returns."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def pid(self):
        return self.process.pid

    def ended(self):
        return self.process.poll() is not None

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for connection in (self.line, self.monitor_socket):
            if connection:
                connection.close()

    def _lost_a_patch(self):
        """Linux patches its own code while it runs, by way of int3. QEMU's emulation of several CPUs may see the
        int3 when Linux is done with it: a panic, rarely, which is no server's."""
        with contextlib.suppress(OSError), open(os.path.join(self.folder, 'console'), errors='replace') as console:
            return 'Oops: int3' in console.read()
        return False

    def __enter__(self):
        try:
            try:
                return self.start().wait_ready()
            except VmError:
                if not self._lost_a_patch():
                    raise
            print('%s: the emulator has missed a patch of the kernel: once more' % self.name)
            self.close()
            self._forget()
            return self.start().wait_ready()
        except BaseException:
            self.show()
            self.close()
            raise

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show()
        self.close()

    def show(self):
        for name in ('console', 'qemu.log'):
            with contextlib.suppress(OSError):
                with open(os.path.join(self.folder, name), errors='replace') as file:
                    print('--- %s: %s\n%s' % (self.name, name, file.read()), file=sys.stderr)

    def console(self):
        with open(os.path.join(self.folder, 'console'), errors='replace') as file:
            return file.read()

    # Commands

    def begin(self, script):
        """Starts a shell script in the guest; finish() has its end. One at a time runs: the next one
        begins when it has ended. What shall go on beside others it puts into the background itself."""
        data = script.encode()
        if len(data) > SCRIPT_MAX:
            raise ValueError('a script of %d bytes' % len(data))
        self.last += 1
        self.outputs[self.last] = b''
        self.line.sendall(b'RUN %d %d\n%s' % (self.last, len(data), data))
        return self.last

    def wait_output(self, number, text, limit=COMMAND_LIMIT):
        """Until a script that was begun has printed text; all that it printed so far."""
        end = time.monotonic() + limit
        while text.encode() not in self.outputs[number]:
            if number in self.statuses:
                raise VmError('%s: ended without %r: %s' % (self.name, text, self._said(number)))
            self._receive(end, '%r of script %d, which printed %s' % (text, number, self._said(number)))
        return self._said(number)

    def finish(self, number, limit=COMMAND_LIMIT):
        """(status, output) of a script that was begun."""
        end = time.monotonic() + limit
        while number not in self.statuses:
            self._receive(end, 'the end of script %d, which printed %s' % (number, self._said(number)))
        return self.statuses.pop(number), self.outputs.pop(number).decode(errors='replace')

    def status(self, script, limit=COMMAND_LIMIT):
        return self.finish(self.begin(script), limit)

    def run(self, script, limit=COMMAND_LIMIT):
        """The output of a script that must succeed."""
        status, output = self.status(script, limit)
        if status != 0:
            raise VmError('%s: status %d of: %s\n%s' % (self.name, status, script, output))
        return output

    # The monitor

    def monitor(self, command, **arguments):
        """QMP; what it returns."""
        self.monitor_socket.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode())
        while True:
            reply = self._monitor_reply()
            if 'return' in reply:
                return reply['return']
            if 'error' in reply:
                raise VmError('%s: monitor: %s: %s' % (self.name, command, reply['error']))

    def human_monitor(self, line):
        return self.monitor('human-monitor-command', **{'command-line': line})

    def stop(self):
        self.monitor('stop')

    def cont(self):
        self.monitor('cont')

    # Below all of it

    def _connect(self, name):
        path = os.path.join(self.folder, name)
        connection = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 20
        while True:
            try:
                connection.connect(path)
                return connection
            except OSError:
                if self.ended():
                    raise VmError('%s: QEMU ended with %s' % (self.name, self.process.returncode)) from None
                if time.monotonic() > end:
                    raise VmError('%s: no %s socket' % (self.name, name)) from None
                time.sleep(0.02)

    def _said(self, number):
        return self.outputs.get(number, b'').decode(errors='replace')

    def _receive(self, end, what):
        """What came on the line by now, or the first of what comes until end."""
        left = end - time.monotonic()
        if left <= 0 or not select.select([self.line], [], [], left)[0]:
            raise VmError('%s: not in time: %s' % (self.name, what))
        data = self.line.recv(65536)
        if not data:
            status = self.wait_ended(10)
            raise VmError('%s: QEMU ended with %s before %s' % (self.name, status, what))
        self.received += data
        while self._frame():
            pass

    def _frame(self):
        head, newline, rest = self.received.partition(b'\n')
        if not newline:
            return False
        words = head.split()
        if words == [b'READY']:
            self.boots += 1
            if self.boots > 1 and not self.reboots:
                raise VmError('%s: the agent started again' % self.name)
        elif len(words) == 3 and words[0] == b'OUT':
            length = int(words[2])
            if len(rest) < length:
                return False
            self.outputs[int(words[1])] += rest[:length]
            rest = rest[length:]
        elif len(words) == 3 and words[0] == b'END':
            self.statuses[int(words[1])] = int(words[2])
        else:
            raise VmError('%s: on the line: %r' % (self.name, head))
        self.received = rest
        return True

    def _monitor_reply(self, limit=30):
        end = time.monotonic() + limit
        while b'\n' not in self.replies:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.monitor_socket], [], [], left)[0]:
                raise VmError('%s: the monitor does not answer' % self.name)
            data = self.monitor_socket.recv(65536)
            if not data:
                raise VmError('%s: QEMU ended with %s' % (self.name, self.wait_ended(10)))
            self.replies += data
        reply, _, self.replies = self.replies.partition(b'\n')
        return json.loads(reply)
