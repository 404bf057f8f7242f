# SPDX-License-Identifier: LGPL-2.1-or-later
"""One guest and the host: what is mapped by a window, in each of the ways to mount; and without a window."""
import time

import vm
from cases import checks_report, expect
from daxfuse import Held, Server, run

MIB = 1 << 20


def checks(guest, server, prefix, *options):
    start = time.monotonic()
    output = guest.status('mkdir -p /mnt/checks; guest check %s /mnt/checks' % ' '.join(options), 900)[1]
    failed = checks_report(output, prefix)
    print('%s: %.1f s' % (prefix, time.monotonic() - start), flush=True)
    expect('PASS' in output and not failed, '%d checks failed' % failed)


def stores(guest, server):
    """Not one byte that a guest stores goes by a request."""
    before = server.requests('A')
    guest.run('guest stamp map /mnt/stores 8M 3 && guest verify map /mnt/stores 8M 3')
    after = server.requests('A')
    expect(after.get('write', 0) == before.get('write', 0), 'no FUSE WRITE: %s' % after)
    expect(after.get('read', 0) == before.get('read', 0), 'no FUSE READ: %s' % after)
    expect(after['setupmapping'] >= before.get('setupmapping', 0) + 4, 'four pieces: %s' % after)
    inode = server.inode('stores')
    pieces = [one for one in server.mappings('A') if one['inode'] == inode and one['write']]
    expect(len(pieces) == 4 and all(one['pinned'] for one in pieces), 'pieces: %s' % pieces)
    server.here('verify', 'io', '/stores', '8M', 3)


def both_ways(guest, server):
    """What the host writes is in the mapping at once, and the other way round."""
    server.here('stamp', 'io', '/both', '8M', 4)
    held = Held(guest, '/mnt/both', '8M')
    held.do('has', 0, 8 * MIB, 4)
    for step in range(5):
        at = step * 1500 * 1024 + 77
        server.here('part', 'store', '/both', at, 5000, 10 + step)
        held.do('has', at, 5000, 10 + step)
        held.do('store', at + 5000, 5000, 20 + step)
        server.here('part', 'has', '/both', at + 5000, 5000, 20 + step)
    held.close()


def sparse(guest, server):
    """Zeros that were only looked at become the host's bytes, and then the guest's."""
    run('truncate', '-s', '4M', server.path('sparse'))
    held = Held(guest, '/mnt/sparse', '4M')
    held.do('zero', 0, 4 * MIB)
    expect(run('stat', '-c', '%b', server.path('sparse')).strip() == '0', 'nothing is allocated')
    server.here('part', 'store', '/sparse', 3 * MIB, 4096, 1)
    held.do('has', 3 * MIB, 4096, 1)
    held.do('zero', 0, 3 * MIB)
    held.do('store', 3 * MIB + 4096, 4096, 2)
    held.do('store', MIB, 4096, 3)
    server.here('part', 'has', '/sparse', 3 * MIB, 4096, 1)
    server.here('part', 'has', '/sparse', 3 * MIB + 4096, 4096, 2)
    server.here('part', 'has', '/sparse', MIB, 4096, 3)
    held.close()


def punch(guest, server):
    """Punched by the host under the mapping: zeros, and new stores count."""
    guest.run('guest stamp map /mnt/punch 8M 5')
    held = Held(guest, '/mnt/punch', '8M')
    held.do('has', 0, 8 * MIB, 5)
    for at, length in (2 * MIB, 2 * MIB), (5 * MIB + 4096, 8192), (7 * MIB + 11, 100000):
        server.here('part', 'punch', '/punch', at, length)
        held.do('zero', at, length)
        held.do('has', at - 4096, 4096, 5)
        held.do('has', at + length, 4096, 5)
        held.do('store', at, length, 6)
        server.here('part', 'has', '/punch', at, length, 6)
        held.do('has', at, length, 6)
    held.close()
    run('sync', '-f', server.mountpoint)


def shrink(guest, server):
    """Truncated by the host and grown again: zeros, whatever the guest stored there meanwhile."""
    keep = MIB + 100
    guest.run('guest stamp map /mnt/shrink 8M 7')
    held = Held(guest, '/mnt/shrink', '8M')
    for stale in False, True:
        held.do('has', 0, keep, 7)
        held.do('store', 4 * MIB, MIB, 8)
        server.here('part', 'resize', '/shrink', keep)
        if stale:
            # It may not know yet that the file is short; the rest of the last page it has in any case.
            expect(held.ask('store', 4 * MIB, MIB, 9) in ('done', 'SIGBUS'), 'a store behind the end')
            held.do('store', keep, 1000, 9)
        server.here('part', 'resize', '/shrink', 8 * MIB)
        server.here('part', 'zero', '/shrink', keep, 7 * MIB - 100)
        # A guest that has seen the short file believes its size for a second.
        vm.wait_until(lambda: guest.run('stat -c %s /mnt/shrink').strip() == str(8 * MIB), 10, 'the size')
        held.do('zero', keep, 7 * MIB - 100)
        held.do('has', 0, keep, 7)
        held.do('store', 5 * MIB, 100000, 10)
        server.here('part', 'has', '/shrink', 5 * MIB, 100000, 10)
    held.close()


def remount(guest, server, options):
    """DESTROY and INIT: nothing stays mapped, and all of it is there again."""
    guest.run('umount /mnt')
    vm.wait_until(lambda: not server.mappings('A'), 10, 'nothing is mapped')
    guest.run('mount -t virtiofs -o %s A /mnt' % options)
    guest.run('guest verify io /mnt/stores 8M 3')


def is_dax(guest, name):
    return guest.run('guest dax /mnt/' + name).strip() == 'DAX'


def by_size(guest, server, options):
    """The server says which files: here those that are large when they are looked up."""
    remount(guest, server, options)
    server.here('stamp', 'io', '/small', '100K', 1)
    server.here('stamp', 'io', '/large', '4M', 1)
    expect(not is_dax(guest, 'small') and is_dax(guest, 'large'), 'only the large one is DAX')
    before = server.requests('A')
    guest.run('guest stamp map /mnt/large 4M 2; guest verify map /mnt/large 4M 2')
    expect(server.requests('A').get('write', 0) == before.get('write', 0), 'no FUSE WRITE')
    guest.run('guest stamp map /mnt/small 100K 2; sync')
    expect(server.requests('A')['write'] > before.get('write', 0), 'FUSE WRITE')
    server.here('verify', 'io', '/large', '4M', 2)
    server.here('verify', 'io', '/small', '100K', 2)


def cut_by_open(guest, server):
    """Cut off by open(2) while its dirty pages are written back: no old byte comes after."""
    guest.run('cd /mnt && mkdir -p cut && for i in $(seq 20); do (sleep 0.0$((RANDOM % 9)); sync) & '
              'guest check -n truncating-open cut || exit 1; done')


def never(guest, server):
    remount(guest, server, 'dax=never')
    before = server.requests('A')
    expect(not is_dax(guest, 'large'), 'no file is DAX')
    guest.run('guest verify map /mnt/large 4M 2; guest stamp map /mnt/large 4M 3; sync')
    after = server.requests('A')
    expect(after.get('setupmapping', 0) == before.get('setupmapping', 0), 'no SETUPMAPPING')
    server.here('verify', 'io', '/large', '4M', 3)


def by_flag(guest, server):
    """dax=inode: chattr +x, here, says which."""
    for name in 'with', 'without':
        server.here('stamp', 'io', '/' + name, '4M', 1)
    run('chattr', '+x', server.path('with'))
    expect(is_dax(guest, 'with') and not is_dax(guest, 'without'), 'the flag says which file is DAX')
    before = server.requests('B').get('write', 0)
    guest.run('guest stamp map /mnt/with 4M 2; guest verify map /mnt/with 4M 2')
    expect(server.requests('B').get('write', 0) == before, 'no FUSE WRITE')
    server.here('verify', 'io', '/with', '4M', 2)
    guest.run('guest stamp map /mnt/without 4M 2; sync')
    expect(server.requests('B').get('write', 0) > before, 'FUSE WRITE')
    server.here('verify', 'io', '/without', '4M', 2)


def reset(guest, server):
    """QEMU tells nobody of it, and maps nothing any more: the next kernel finds the bytes, and its stores count."""
    run('truncate', '-s', '4M', server.path('reset-hole'))
    for seed in 1, 2:
        guest.run('guest stamp map /mnt/reset 12M %d' % seed)
        hole = Held(guest, '/mnt/reset-hole', '4M')
        hole.do('zero', 0, 4 * MIB)
        expect(len(server.mappings('A')) >= 8, 'pieces: %s' % server.mappings('A'))
        guest.reboot(reset=True)
        guest.run('grep -q " /mnt virtiofs " /proc/mounts')
        expect(not server.mappings('A'), 'what the last one had mapped: %s' % server.mappings('A'))
        guest.run('guest verify map /mnt/reset 12M %d' % seed)
    guest.run('guest stamp map /mnt/reset 12M 3')
    server.here('verify', 'io', '/reset', '12M', 3)
    server.here('part', 'store', '/reset', 0, 4096, 4)
    guest.run('guest part has /mnt/reset 0 4096 4')


def group(cases, work, image, program):
    with Server(work, 'map', {'A': '', 'B': 'dax=inode', 'P': 'window=0'}, program) as server:
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'always') as guest:
            cases.case('stores', stores, guest, server)
            cases.case('both-ways', both_ways, guest, server)
            cases.case('sparse', sparse, guest, server)
            cases.case('punch', punch, guest, server)
            cases.case('shrink', shrink, guest, server)
            cases.case('checks-dax', checks, guest, server, 'dax', '-d', '-l', '300M')
            cases.case('inode-by-size', by_size, guest, server, 'dax=inode')
            cases.case('cut-by-open', cut_by_open, guest, server)
            cases.case('checks-inode', checks, guest, server, 'inode')
            cases.case('no-option', by_size, guest, server, 'rw')
            cases.case('never', never, guest, server)
            guest.run('umount /mnt')
            guest.power_off()
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'reset',
                      reboots=True) as guest:
            cases.case('reset', reset, guest, server)
            guest.run('umount /mnt')
            guest.power_off()
        with vm.Guest(work, [server.window('B')], ['B:/mnt:dax=inode'], image, 'flag') as guest:
            cases.case('inode-by-flag', by_flag, guest, server)
            guest.run('umount /mnt')
            guest.power_off()
        with vm.Guest(work, [vm.Plain('P', server.socket('P'))], ['P:/mnt:rw'], image, 'plain') as guest:
            cases.case('checks-plain', checks, guest, server, 'plain')
            guest.run('umount /mnt')
            guest.power_off()
        cases.case('map-end', server.finish)
