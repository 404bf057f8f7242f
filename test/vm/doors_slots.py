# SPDX-License-Identifier: LGPL-2.1-or-later
"""One guest with more in its window than QEMU 11.1 tells of in one table (mem-slots): it is reset, and it is
stopped and continued."""
import time

import vm
from cases import expect
from daxfuse import Held, Server, run

MIB = 1 << 20
PIECES = 100


def mapped(server):
    return sorted((one['slot'], one['inode'], one['offset'], one['zeros'])
                  for one in server.mappings('A'))


def reset(guest, server):
    """While it has mapped what it has stored to: the next kernel finds it, and its own stores count."""
    guest.run('guest stamp map /mnt/reset 32M 1')
    expect(len(server.mappings('A')) >= 16, 'pieces: %s' % server.mappings('A'))
    guest.reboot(reset=True)
    guest.run('grep -q " /mnt virtiofs " /proc/mounts')
    expect(not server.mappings('A'), 'what the last one had mapped: %s' % server.mappings('A'))
    guest.run('guest verify map /mnt/reset 32M 1; guest stamp map /mnt/reset 32M 2')
    server.here('verify', 'io', '/reset', '32M', 2)


def meanwhile(server, before):
    """The guest stands. What it has mapped stays its own, whatever others do."""
    server.here('part', 'has', '/many', 0, MIB, 2)
    server.here('part', 'store', '/many', 4 * MIB, 4096, 3)
    server.here('part', 'store', '/hole', 4096, 4096, 4)
    server.here('part', 'resize', '/cut', 0)
    server.here('stamp', 'io', '/other', '512M', 5)
    expect(mapped(server) == before, 'mappings stay: %s, %s' % (mapped(server), before))


def stopped(guest, server):
    """With that many pieces, while it stores to some: nothing is lost, and nothing is reused."""
    run('truncate', '-s', '8M', server.path('hole'))
    guest.run('guest stamp map /mnt/many %dM 1; guest stamp map /mnt/cut 8M 1' % (2 * PIECES))
    many, hole, cut = (Held(guest, '/mnt/' + name, size) for name, size in
                       (('many', '%dM' % (2 * PIECES)), ('hole', '8M'), ('cut', '8M')))
    many.do('store', 0, MIB, 2)
    hole.do('zero', 0, 4 * MIB)
    cut.do('has', 0, 8 * MIB, 1)
    number = guest.begin('guest stores /mnt/stores 8M 5')
    guest.wait_output(number, 'ROUND 1\n')
    before = mapped(server)
    expect(len(before) >= PIECES + 6, 'pieces: %d' % len(before))
    guest.stop()
    try:
        meanwhile(server, before)
    finally:
        guest.cont()
    hole.do('has', 4096, 4096, 4)  # its zeros are replaced: QEMU must not be stopped while they are
    for _ in range(10):
        time.sleep(.05)
        guest.stop()
        guest.cont()
    status, output = guest.finish(number)
    expect(status == 0 and 'ROUNDS' in output, output)
    cut.ask('store', 0, 8 * MIB, 6)  # its blocks are its own still; a file of size 0 has no use for them
    server.here('verify', 'io', '/other', '512M', 5)
    many.do('has', 4 * MIB, 4096, 3)
    hole.do('store', 2 * MIB, 4096, 7)
    server.here('part', 'has', '/hole', 2 * MIB, 4096, 7)
    many.do('store', 100 * MIB, MIB, 8)
    server.here('part', 'has', '/many', 100 * MIB, MIB, 8)
    guest.run('guest stamp map /mnt/new 16M 9')
    server.here('verify', 'io', '/new', '16M', 9)
    for at, seed in (0, 1), (4 * MIB, 1), (100 * MIB, 1):
        many.do('store', at, MIB, seed)
    guest.run('guest verify map /mnt/many %dM 1' % (2 * PIECES))
    server.here('verify', 'io', '/many', '%dM' % (2 * PIECES), 1)
    for held in many, hole, cut:
        held.close()


def group(cases, work, image, program):
    with Server(work, 'slots', {'A': 'window=512M,mem-slots'}, program) as server:
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'slots-guest',
                      reboots=True) as guest:
            cases.case('reset-mapped', reset, guest, server)
            cases.case('stop-cont-many', stopped, guest, server)
            guest.run('umount /mnt')
            guest.power_off()
        cases.case('slots-end', server.finish)
