# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server ends while a guest lives: asked to, and killed."""
import time

import vm
from cases import expect
from daxfuse import Held, Server, call, number_printed, tool

MIB = 1 << 20
EXIT_BUSY = 16


def stop_idle(work, image, program):
    """Asked to end while a guest is idle: in time. Of a guest that has unmounted nothing is left; what one
    has mapped stays its own until its QEMU ends, and the pool is as it should be then."""
    with Server(work, 'idle', {'A': ''}, program, '256M') as server:
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'unmounted') as guest:
            guest.run('guest stamp map /mnt/a 8M 1; umount /mnt')
            server.stop()
            # QEMU says that a piece is unmapped before it is: it waits for its own readers (RCU).
            server.check(patience=10)
            expect(not guest.ended() and guest.run('echo lives') == 'lives\n', 'the guest lives')
            server.start()
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'mapped') as guest:
            guest.run('guest verify map /mnt/a 8M 1')
            guest.run('guest stamp io /mnt/short 40K 1')
            held, short = Held(guest, '/mnt/a', '8M'), Held(guest, '/mnt/short', '40K')
            held.do('store', 0, 8 * MIB, 2)
            short.do('store', 0, 4096, 2)
            start = time.monotonic()
            server.stop()
            print('stop-idle: the server ended after %.2f s' % (time.monotonic() - start))
            held.do('store', MIB, MIB, 3)
            short.do('store', 4096, 4096, 3)  # of a piece that the file has only to be mapped
            refused(server, guest, tool('fsck.daxfuse'), '-n', server.pool)
        server.check()
        server.start()
        server.here('part', 'has', '/a', 0, MIB, 2)
        server.here('part', 'has', '/a', MIB, MIB, 3)
        server.here('part', 'has', '/a', 2 * MIB, 6 * MIB, 2)
        server.here('part', 'has', '/short', 0, 4096, 2)
        server.here('part', 'has', '/short', 4096, 4096, 3)
        server.stop()
        server.check()


def pieces_of(server, name):
    inode = server.inode(name)
    return sorted(one['pool_offset'] for one in server.mappings('A')
                  if one['inode'] == inode and not one['zeros'])


def pool_bytes(server):
    with open(server.pool, 'rb') as file:
        return file.read()


def refused(server, guest, *command):
    status, output = call(*command, limit=30)
    expect(status != 0 and 'pid %d' % guest.pid in output,
           '%s is refused, naming %d: %d: %s' % (command[0], guest.pid, status, output))
    return status


def stores_alone(server, guest, held, pieces):
    """With nobody there the guest's stores reach its own blocks, and nothing else changes."""
    before = pool_bytes(server)
    held.do('store', 0, 8 * MIB, 2)
    held.do('has', 0, 8 * MIB, 2)
    expect(refused(server, guest, *server.command()) == EXIT_BUSY, 'the status of a pool in use')
    refused(server, guest, tool('fsck.daxfuse'), '-n', server.pool)
    refused(server, guest, tool('fsck.daxfuse'), '-y', server.pool)
    held.do('store', 0, 8 * MIB, 3)
    after = pool_bytes(server)
    changed = [at for at in range(0, len(after), 2 * MIB)
               if after[at:at + 2 * MIB] != before[at:at + 2 * MIB]]
    expect(changed == pieces, 'only its own pieces %s change: %s' % (pieces, changed))


def after_end(server, told):
    server.check()
    server.start()
    server.here('verify', 'io', '/mine', '8M', 3)
    server.here('verify', 'io', '/other', '8M', 4)
    server.here('verify', 'io', '/written', '3M', 5)
    with open(server.path('synced'), 'rb') as file:
        value = int.from_bytes(file.read(8), 'little')
    expect(value >= told, 'what was synced: %d of %d' % (value, told))
    server.stop()
    server.check()


def group(cases, work, image, program):
    cases.case('stop-idle', stop_idle, work, image, program)
    with Server(work, 'crash', {'A': ''}, program, '256M') as server:
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'crash-guest') as guest:
            server.here('stamp', 'io', '/other', '8M', 4)
            guest.run('guest stamp map /mnt/mine 8M 1; guest stamp io /mnt/written 3M 5; sync')
            held = Held(guest, '/mnt/mine', '8M')
            held.do('store', 0, 8 * MIB, 1)
            number = guest.begin('timeout 3 guest synced io /mnt/synced')
            told = number_printed(guest.finish(number)[1], 'SYNCED')
            expect(told > 0, 'synced: %d' % told)
            pieces = pieces_of(server, 'mine')
            expect(len(pieces) == 4, 'pieces: %s' % pieces)
            server.kill()
            cases.case('server-killed', stores_alone, server, guest, held, pieces)
            guest.kill()
        cases.case('after-both', after_end, server, told)
