# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two guests and the host on one pool; one of the guests is stopped, continued, and killed."""
import os
import re
import time

import vm
from cases import expect
from daxfuse import Held, Server, finish, run

MIB = 1 << 20
COUNT = 200000
MESSAGES = 20000


def counter(one, two, server):
    """Atomic instructions of two guests on one page; the host sees it only grow."""
    server.here('stamp', 'io', '/counter', '4096', 1)
    server.here('part', 'punch', '/counter', 0, 4096)
    numbers = [(guest, guest.begin('guest counter map /mnt/counter %d' % COUNT)) for guest in (one, two)]
    last, seen = 0, set()
    end = time.monotonic() + 300
    while last < 2 * COUNT and time.monotonic() < end:
        with open(server.path('counter'), 'rb', buffering=0) as file:
            value = int.from_bytes(file.read(8), 'little')
        expect(value >= last, 'the host sees %d after %d' % (value, last))
        last = value
        seen.add(value)
    for guest, number in numbers:
        status, output = guest.finish(number)
        expect(status == 0, output)
    expect(last == 2 * COUNT, 'no step is lost: %d' % last)
    print('counter: the host saw %d values' % len(seen))


def ring(one, two, server):
    """Between the guests, and between each of them and the host, which reads and writes."""
    number = one.begin('guest ring map send /mnt/ring %d 1' % MESSAGES)
    two.run('guest ring map receive /mnt/ring %d 1' % MESSAGES)
    expect(one.finish(number)[0] == 0, 'sent')
    there = server.begin_here('ring', 'io', 'receive', '/ring1', MESSAGES, 2)
    one.run('guest ring map send /mnt/ring1 %d 2' % MESSAGES)
    finish(there)
    there = server.begin_here('ring', 'io', 'send', '/ring2', MESSAGES, 3)
    two.run('guest ring map receive /mnt/ring2 %d 3' % MESSAGES)
    finish(there)


def files(one, two, server):
    """Made by one, seen and removed by another."""
    one.run('guest tree make /mnt/t1 200 1 && guest tree check /mnt/t1 200 1')
    two.run('guest tree check /mnt/t1 200 1')
    server.here('tree', 'check', '/t1', 200, 1)
    server.here('tree', 'make', '/t2', 200, 2)
    for guest in one, two:
        guest.run('guest tree check /mnt/t2 200 2')
    two.run('guest tree remove /mnt/t1 200 1 && rmdir /mnt/t1')
    time.sleep(1.1)  # as long as names are kept
    one.run('test ! -e /mnt/t1')
    expect(not os.path.exists(server.path('t1')), 'removed here, too')
    # Appended by all three: each at the end as it is then.
    for step in range(10):
        one.run('echo one >>/mnt/log')
        two.run('echo two >>/mnt/log')
        with open(server.path('log'), 'a') as log:
            log.write('three\n')
    with open(server.path('log')) as log:
        expect(log.read() == 'one\ntwo\nthree\n' * 10, 'appended by all')


def stopped(one, two, server):
    """One stands still; the host and the other guest write into what it sees as a hole, and into what it
    has stored to. It goes on, and sees both; nothing of its own is lost. With 7 pieces or more QEMU 11.1
    does not start the device again."""
    one.run('umount /mnt && mount -t virtiofs -o dax=always A /mnt')
    run('truncate', '-s', '8M', server.path('both'))
    held = Held(one, '/mnt/both', '8M')
    held.do('zero', 0, 4 * MIB)
    held.do('store', 4 * MIB, 4 * MIB, 1)
    number = one.begin('guest stores /mnt/stores 2M 4')
    one.wait_output(number, 'ROUND 1\n')
    expect(len(server.mappings('A')) == 5, 'pieces: %s' % server.mappings('A'))
    one.stop()
    try:
        server.here('part', 'store', '/both', 4096, 4096, 2)
        two.run('guest part store /mnt/both %d 4096 3' % (2 * MIB + 4096))
        server.here('part', 'has', '/both', 4 * MIB, 4 * MIB, 1)
        server.here('part', 'store', '/both', 5 * MIB, 4096, 4)
        server.here('part', 'punch', '/both', 6 * MIB, 2 * MIB)
        # What is taken is not given to others while the guest may still store there.
        two.run('guest stamp map /mnt/other 32M 5')
        time.sleep(1)
    finally:
        one.cont()
    status, output = one.finish(number)
    expect(status == 0 and 'ROUNDS' in output, output)
    held.do('has', 4096, 4096, 2)
    held.do('has', 2 * MIB + 4096, 4096, 3)
    held.do('zero', 8192, MIB)
    held.do('has', 4 * MIB, MIB, 1)
    held.do('has', 5 * MIB, 4096, 4)
    held.do('zero', 6 * MIB, 2 * MIB)
    held.do('store', 8192, MIB, 6)
    held.do('store', 6 * MIB, MIB, 7)
    server.here('part', 'has', '/both', 8192, MIB, 6)
    server.here('part', 'has', '/both', 6 * MIB, MIB, 7)
    two.run('guest verify map /mnt/other 32M 5')
    held.close()


def record(one, two, server, kind):
    """Held by one, refused to the others, and given to who waits when it is let go; a step of a counter
    under the lock is nobody's loss."""
    server.here('stamp', 'io', '/lock-' + kind, '4096', 1)
    path = '/mnt/lock-' + kind
    number = one.begin('guest lock hold %s write %s 3 | cat' % (kind, path))
    time.sleep(1)
    said = two.status('guest lock try %s read %s' % (kind, path))
    expect(said[0] == 1 and 'HELD' in said[1], 'another guest is refused: %s' % (said,))
    there = server.begin_here('lock', 'try', kind, 'read', path.replace('/mnt', ''))
    expect(there.wait(20) == 1, 'the host is refused')
    there = server.begin_here('lock', 'wait', kind, 'write', path.replace('/mnt', ''))
    two.run('guest lock wait %s write %s' % (kind, path))
    finish(there)
    one.finish(number)
    server.here('part', 'store', path.replace('/mnt', ''), 0, 8, 1)
    server.here('part', 'punch', path.replace('/mnt', ''), 0, 4096)
    count = 300
    there = server.begin_here('counter', kind, path.replace('/mnt', ''), count)
    numbers = [(guest, guest.begin('guest counter %s %s %d' % (kind, path, count))) for guest in (one, two)]
    for guest, number in numbers:
        status, output = guest.finish(number)
        expect(status == 0, output)
    finish(there)
    with open(server.path('lock-' + kind), 'rb') as file:
        value = int.from_bytes(file.read(8), 'little')
    expect(value == 3 * count, 'steps under a %s lock: %d of %d' % (kind, value, 3 * count))


def killed(one, two, server):
    """Its pins are gone soon after its end, its locks too, and the others do not notice."""
    two.run('guest stores /mnt/killed 64M 1000 >/dev/null 2>&1 &')
    server.here('stamp', 'io', '/lock', '4096', 1)
    two.run('(guest lock hold fcntl write /mnt/lock 1000 | cat) >/dev/null 2>&1 &')
    vm.wait_until(lambda: len(server.mappings('B')) > 30, 60, 'it maps')
    number = one.begin('guest stores /mnt/goes-on 8M 5')
    one.wait_output(number, 'ROUND 1\n')
    two.kill()
    start = time.monotonic()
    vm.wait_until(lambda: not server.mappings('B'), 30, 'its pins are gone')
    print('killed: its pins were gone after %.2f s' % (time.monotonic() - start))
    status, output = one.finish(number)
    expect(status == 0 and 'ROUNDS' in output, output)
    server.here('stamp', 'io', '/after', '8M', 1)
    one.run('guest verify map /mnt/after 8M 1; rm /mnt/killed')
    server.here('lock', 'wait', 'fcntl', 'write', '/lock', limit=20)
    expect(re.search(r'has gone', server.said()), 'the log has it: ' + server.said())


def group(cases, work, image, program):
    with Server(work, 'many', {'A': '', 'B': 'cache=never'}, program) as server:
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'one') as one:
            with vm.Guest(work, [server.window('B')], ['B:/mnt:dax=always'], image, 'two') as two:
                cases.case('counter', counter, one, two, server)
                cases.case('ring', ring, one, two, server)
                cases.case('files', files, one, two, server)
                cases.case('stop-cont', stopped, one, two, server)
                for kind in 'fcntl', 'flock':
                    cases.soft('locks-' + kind, record, one, two, server, kind)
                cases.case('killed', killed, one, two, server)
            one.run('umount /mnt')
            one.power_off()
        cases.case('many-end', server.finish)
