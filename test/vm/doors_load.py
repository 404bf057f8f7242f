# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs in a guest with a window: a tree of sources, a database, a compiler; and its life: reset, killed,
and another one at the same socket."""
import os
import random
import shutil
import sqlite3
import time

import vm
from cases import expect
from daxfuse import Server, number_printed
from virtiofsd import programs, unpack

ROWS = 20  # committed before the kill


def database(guest, mode, name):
    """Begins what commits for ever, and tells each once it is done."""
    guest.run('cd /mnt && sqlite3 %s "pragma journal_mode=%s; create table t(a integer primary key, b);"'
              % (name, mode))
    return guest.begin('cd /mnt; i=0; while sqlite3 %s "pragma synchronous=full; begin; '
                       'insert into t(b) values(hex(randomblob(3000))), (hex(randomblob(3000))); '
                       'update t set b = b || 1 where a %% 5 = 0; commit"; '
                       'do i=$((i + 1)); echo DONE $i; done' % name)


def killed_database(server, work, name, told):
    """Whole, with what was committed, as the host's sqlite3 has it from the mount. The copy is for the
    log's index, which is mapped."""
    folder = os.path.join(work, 'copy')
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    for suffix in '', '-journal', '-wal':
        if os.path.exists(server.path(name + suffix)):
            shutil.copy(server.path(name + suffix), folder)
    where = [os.path.join(folder, name)]
    if name == 'delete.db':
        where.append(server.path(name))
    for path in where:
        base = sqlite3.connect(path, timeout=20)
        answer = base.execute('pragma integrity_check').fetchall()
        expect(answer == [('ok',)], '%s: %s' % (path, answer))
        rows = base.execute('select count(*) from t').fetchone()[0]
        base.close()
        expect(rows >= 2 * told and rows % 2 == 0, '%s: %d rows of %d commits' % (path, rows, told))
    print('%s: %d commits told, %d rows there' % (name, told, rows))


def kill_in_database(work, image, server, mode):
    name = mode + '.db'
    with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'sql-' + mode) as guest:
        number = database(guest, mode, name)
        told = number_printed(guest.wait_output(number, 'DONE %d\n' % ROWS), 'DONE')
        time.sleep(random.random() * 0.3)
        guest.kill()
    killed_database(server, work, name, told)


def reset(guest, server):
    """Reset without a word to its kernel, and mounted again by the next one."""
    guest.run('guest stamp map /mnt/reset 8M 1; umount /mnt')
    guest.reboot(reset=True)
    guest.run('grep -q " /mnt virtiofs " /proc/mounts')
    guest.run('guest verify map /mnt/reset 8M 1; guest stamp map /mnt/reset 8M 2')
    server.here('verify', 'io', '/reset', '8M', 2)


def second(work, image, server):
    """Another QEMU at the socket of one that has gone, as often as one likes."""
    with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'second') as guest:
        guest.run('guest verify map /mnt/reset 8M 2; guest check -d -n stores* /mnt')
        guest.run('umount /mnt')
        guest.power_off()


def group(cases, work, image, program):
    count = 10000 if os.environ.get('FULL') else 1000
    with Server(work, 'load', {'A': ''}, program) as server:
        with vm.Guest(work, [server.window('A')], ['A:/mnt:dax=always'], image, 'load-guest',
                      reboots=True) as guest:
            cases.case('unpack', unpack, guest, server.mountpoint, count)
            cases.case('programs', programs, guest, server.mountpoint)
            cases.case('reset', reset, guest, server)
            guest.run('umount /mnt')
            guest.power_off()
        cases.case('second-qemu', second, work, image, server)
        for mode in 'delete', 'wal':
            cases.case('sqlite-' + mode, kill_in_database, work, image, server, mode)
        cases.case('load-end', server.finish)
