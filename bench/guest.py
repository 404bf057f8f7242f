# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows guest.* of bench/rows, as lines of bench.h: one VM with ours with a window, ours without one, and
the distribution's virtiofsd on tmpfs, none of which keeps attributes.

guest.py WORK POOL; BIN, PROGRAMS and DAXFUSE_VM in the environment. Rounds of both sides alternate. What has no
window is measured first: QEMU 11.1 sends what is mapped in one window to every vhost-user device of the VM.
The guest has one CPU: with two, one device's interrupts come to the one and the next one's to the other, and
which of them the program runs on decides a fifth.
"""
import contextlib
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'test', 'vm'))
import vm  # noqa: E402
from cases import Virtiofsd  # noqa: E402

ROUNDS = 15
ROUND_MS = 400
TICKS = os.sysconf('SC_CLK_TCK')


class Ours:
    def __init__(self, work, pool):
        self.sockets = [os.path.join(work, name) for name in ('window', 'plain')]
        self.log = open(os.path.join(work, 'ours.log'), 'wb')
        options = ['tag=dax,dax=always', 'tag=ours,window=0,cache=never']
        words = [word for socket, option in zip(self.sockets, options)
                 for word in ('--vhost-user', '%s,%s' % (socket, option))]
        self.process = subprocess.Popen([os.path.join(os.environ['BIN'], 'daxfuse'), '-f', pool, *words],
                                        stdout=self.log, stderr=self.log)
        vm.wait_until(lambda: all(os.path.exists(socket) for socket in self.sockets), 10, 'ours listens')

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def cpu_seconds(process):
    """Of the process, from its scheduler's count in nanoseconds where the kernel has it."""
    total = 0
    for task in os.listdir('/proc/%d/task' % process.pid):
        try:
            with open('/proc/%d/task/%s/schedstat' % (process.pid, task), encoding='ascii') as file:
                total += int(file.read().split()[0])
        except OSError:
            pass
    return total / 1e9


def one(guest, kind, folder):
    """Calls, and how many a second."""
    count, seconds = guest.run('guest measure %s %s %d' % (kind, folder, ROUND_MS)).split()
    return int(count), int(count) / float(seconds)


def row(name, values, peers, note='', goal=''):
    quartiles = statistics.quantiles(values, n=4)
    median = statistics.median(values)
    print('row\t%s\t%.6g\t%.6g\t%d\t%.3f\t%s%s' % (name, median, statistics.median(peers), len(values),
                                                    (quartiles[2] - quartiles[0]) / median, note,
                                                    '\t%s' % goal if goal else ''), flush=True)


def compare(guest, name, ours, peer, note='', goal=''):
    """ours and peer: (kind, folder)."""
    values, peers = [], []
    for _ in range(ROUNDS):
        rate = one(guest, *ours)[1]
        other = one(guest, *peer)[1]
        values.append(rate / other)
        peers.append(other)
    row(name, values, peers, note, goal)


def compare_cpu(guest, servers):
    """Each round has its own server's time; those that wait take none."""
    values, peers = [], []
    for _ in range(ROUNDS):
        cost = []
        for process, folder in zip(servers, ('/ours', '/peer')):
            before = cpu_seconds(process)
            count, _ = one(guest, 'read4k', folder)
            cost.append((cpu_seconds(process) - before) / count)
        values.append(cost[0] / cost[1])
        peers.append(cost[1])
    row('guest.cpu', values, peers)


def main():
    work, pool = sys.argv[1:]
    folder = os.path.join(work, 'peer')
    os.makedirs(folder)
    program = vm.build_guest(os.path.join(work, 'guest-program'))
    image = vm.build_image(os.path.join(work, 'image'), program)
    with contextlib.redirect_stdout(sys.stderr):
        kvm = vm.accelerator(image, work) == 'kvm'
    note = '' if kvm else 'emulated: the guest\'s own part is most of it'
    goal = '1.2' if kvm else ''
    ours = Ours(work, pool)
    peer = Virtiofsd(work, folder, 'virtiofsd', ['--cache', 'never'])
    devices = [vm.Window(ours.sockets[0]), vm.Plain('ours', ours.sockets[1]), vm.Plain('peer', peer.socket)]
    mounts = ['ours:/ours:rw', 'peer:/peer:rw', 'dax:/dax:dax=always']
    try:
        with vm.Guest(work, devices, mounts, image, extra=('-smp', '1')) as guest:
            for name in ('/ours', '/peer'):
                guest.run('guest measure setup ' + name, 300)
            for kind in ('read4k', 'write4k', 'read1m', 'stat', 'create'):
                compare(guest, 'guest.' + kind, (kind, '/ours'), (kind, '/peer'), note, goal)
            compare_cpu(guest, [ours.process, peer.process])
            compare(guest, 'guest.dax_anon', ('map', '/dax'), ('map', '-'))
            compare(guest, 'guest.dax_mmap4k', ('map', '/dax'), ('read4k', '/ours'))
            guest.run('umount /dax /ours /peer')
            guest.power_off()
        peer.close()
        peer = Virtiofsd(work, folder, 'virtiofsd', ['--cache', 'never'])
        ring = os.path.join(os.environ['PROGRAMS'], 'bench_ring')
        subprocess.run([ring, ours.sockets[1], str(ours.process.pid), peer.socket, str(peer.process.pid)],
                       check=True)
    finally:
        ours.close()
        peer.close()


if __name__ == '__main__':
    main()
