# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness and the guest's checks against a back-end that is not ours: the distribution's virtiofsd
on a tmpfs folder, without a window. A failure here is the harness's own, or the guest kernel's.

usage: virtiofsd.py WORK. Prints `ok NAME` or `not ok NAME why`, as scripts/test wants it, and times.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vm  # noqa: E402
from cases import Cases, Virtiofsd, checks_report, expect, make_archive  # noqa: E402

FILES = 1000


PROGRAM = r'''
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
static void *thread(void *arg) { return arg; }
int main(void)
{
    pthread_t id;
    char text[16];
    if (pthread_create(&id, NULL, thread, NULL) || pthread_join(id, NULL) || errno == ENOSYS) abort();
    strcpy(text, "compiled");
    puts(text);
    return 0;
}
'''


def framing(guest):
    """The line brings any bytes and both ends of a script, and keeps scripts apart."""
    expect(guest.status('exit 3') == (3, ''), 'a status')
    expect(guest.status('kill -9 $$') == (137, ''), 'a signal')
    expect(guest.run('printf "END 1 0\\nREADY\\n"') == 'END 1 0\nREADY\n', 'words of our own')
    expect(len(guest.run('head -c 300000 /dev/zero')) == 300000, 'much output')
    expect(guest.run('echo out; echo err >&2') == 'out\nerr\n', 'both streams')
    expect(guest.run('#' + 'x' * 3000 + '\necho end') == 'end\n', 'a long script')
    start = time.monotonic()
    guest.run('sleep 1000 >/dev/null 2>&1 &')
    guest.run('sleep 1000 &')  # still holds the pipe of a script that has ended
    expect(time.monotonic() - start < 20, 'the background is not waited for')
    number = guest.begin('echo first; sleep 0.5; echo second')
    guest.wait_output(number, 'first')
    expect(guest.finish(number)[1] == 'first\nsecond\n', 'output as it comes')
    guest.run('killall sleep')


def stopped(guest):
    """Stopped by the monitor nothing goes on; continued, all of it does."""
    number = guest.begin('guest stores /mnt/stores 8M 6')
    guest.wait_output(number, 'ROUND 1\n')
    guest.stop()
    expect(guest.monitor('query-status')['status'] == 'paused', 'paused')
    time.sleep(1)
    guest.cont()
    status, output = guest.finish(number)
    expect(status == 0 and 'ROUNDS' in output, output)
    expect('running' in guest.human_monitor('info status'), 'running')


def unpack(guest, folder, count=FILES):
    limit = 300 + count // 10
    make_archive(os.path.join(folder, 'tree.tar'), count)
    guest.run('cd /mnt && tar xf tree.tar && grep -v " tree/sums" tree/sums | sha256sum -c -s', limit)
    expect(guest.run('cd /mnt && find tree -type f | wc -l').strip() == str(count + 1), 'all files')
    guest.run('cd /mnt && rm -r tree && test ! -e tree', limit)


def programs(guest, folder):
    guest.run('cd /mnt && sqlite3 db "create table t(a integer primary key, b text);'
              'insert into t select value, hex(randomblob(50)) from generate_series(1, 2000);'
              'update t set b = a where a % 3 = 0;"')
    expect(guest.run('cd /mnt && sqlite3 db "pragma integrity_check; select count(*) from t"') ==
           'ok\n2000\n', 'sqlite3')
    with open(os.path.join(folder, 'hello.c'), 'w') as file:
        file.write(PROGRAM)
    expect(guest.run('cd /mnt && tcc -o hello hello.c && ./hello') == 'compiled\n', 'tcc')


def shared_with_host(guest, folder, program):
    """The guest's part and the host's of the tests with several sides, files by read and write."""
    guest.run('guest stamp map /mnt/of-guest 3M 7; sync')
    subprocess.run([program, 'verify', 'map', os.path.join(folder, 'of-guest'), '3M', '7'], check=True)
    subprocess.run([program, 'stamp', 'io', os.path.join(folder, 'of-host'), '3M', '8'], check=True)
    guest.run('guest verify io /mnt/of-host 3M 8')
    guest.run('guest tree make /mnt/many 300 9', 300)
    for what in 'check', 'remove':
        subprocess.run([program, 'tree', what, os.path.join(folder, 'many'), '300', '9'], check=True,
                       stdout=subprocess.DEVNULL)


def alone(guest):
    """The other sides of the same, all in this guest, on memory: that the program itself is right."""
    for way in 'map', 'fcntl', 'flock':
        guest.run('cd /tmp; for i in 1 2 3; do guest counter %s %s 2000 & done; wait; '
                  'test "$(od -An -tu8 -N8 %s | tr -d " ")" = 6000' % (way, way, way))
    for ways in ('map', 'map'), ('map', 'io'), ('io', 'map'):
        guest.run('cd /tmp; rm -f ring; guest ring %s send ring 20000 3 & guest ring %s receive ring 20000 3'
                  % ways)
    guest.run('cd /tmp; guest lock hold flock write l 3 >/dev/null & sleep 1; '
              'guest lock try flock read /tmp/l; test $? = 1 && guest lock wait flock read /tmp/l')
    status, output = guest.status('timeout 1 guest synced map /tmp/synced')
    expect('SYNCED 1\nSYNCED 2\n' in output, output)
    for way in 'map', 'io':
        print('memory: ' + guest.run('guest loop %s read /tmp/loop 4M 1' % way).strip())


def killed(work, image, folder):
    """A QEMU that is killed ends by itself for its back-end, and a second one gets a new back-end."""
    backend = Virtiofsd(work, folder, 'second')
    try:
        with vm.Guest(work, [vm.Plain('fs0', backend.socket)], ['fs0:/mnt:rw'], image, 'second') as guest:
            number = guest.begin('guest synced io /mnt/synced')
            told = guest.wait_output(number, 'SYNCED 20\n').split()
            guest.kill()
            expect(guest.ended(), 'the end of QEMU')
        vm.wait_until(lambda: backend.process.poll() is not None, 10, 'virtiofsd sees it')
        with open(os.path.join(folder, 'synced'), 'rb') as file:
            value = int.from_bytes(file.read(8), 'little')
        expect(value >= max(int(word) for word in told if word.isdigit()), 'what was synced')
    finally:
        backend.close()


def dies(work, image):
    """What goes wrong is told, and in time: a guest that panics, a script that hangs."""
    guest = vm.Guest(work, image=image, name='dies')
    try:
        guest.start().wait_ready()
        try:
            guest.run('sleep 1000', limit=1)
            raise AssertionError('a script that hangs is not told')
        except vm.VmError as error:
            expect('not in time' in str(error), str(error))
    finally:
        guest.close()
    guest = vm.Guest(work, image=image, name='dies')
    try:
        guest.start().wait_ready()
        try:
            guest.run('echo c >/proc/sysrq-trigger')
            raise AssertionError('a panic is not told')
        except vm.VmError as error:
            expect('QEMU ended' in str(error), str(error))
        expect('panic' in guest.console(), 'the console')
    finally:
        guest.close()


BREAKS = ('stores', 'private', 'stale', 'shrink', 'fallocate', 'direct', 'pwrite', 'gap', 'write', 'flock',
          'record', 'unlink')
WRAPPED = ('mmap', 'ftruncate', 'fallocate', 'pread', 'pwrite', 'write', 'flock', 'fcntl', 'unlink')


def can_fail(work):
    """Each check notices something of what broken.c does, and nothing when that does nothing. tmpfs is
    itself a filesystem that does not keep what only DAX promises."""
    program = vm.build_guest(os.path.join(work, 'broken'), [os.path.join(vm.HERE, 'broken.c')],
                             ['-Wl,--wrap=' + name for name in WRAPPED])
    folder = os.path.join(work, 'broken.d')
    os.mkdir(folder)

    def failing(how, *options):
        output = subprocess.run([program, 'check', *options, folder], stdout=subprocess.PIPE, text=True,
                                env={**os.environ, 'VM_BREAK': how}, check=False).stdout
        return {line.split()[1].rstrip(':') for line in output.splitlines() if line.startswith('FAIL')}

    names = set(subprocess.run([program, 'check', '-L'], stdout=subprocess.PIPE, text=True,
                               check=True).stdout.split())
    expect(failing('') == set(), 'no check fails on a tmpfs: %s' % failing(''))
    noticed = {how: failing(how) for how in BREAKS}
    expect(all(noticed.values()), 'each is noticed: %s' % noticed)
    only_dax = failing('', '-d') & {'sparse-allocates-nothing', 'stores-past-end'}
    # tmpfs cannot zero a range: punch is the same check with another flag
    blind = names.difference(*noticed.values(), only_dax, {'zero-range'})
    expect(not blind, 'each check notices something, but not: %s' % blind)


def two_devices_two_guests(work, image):
    """Two VMs at once, the one with two devices; what one makes the other has."""
    folders = [os.path.join(work, name) for name in ('one', 'two')]
    for folder in folders:
        os.mkdir(folder)
    backends = [Virtiofsd(work, folder, 'many%d' % index) for index, folder in
                enumerate([folders[0], folders[1], folders[0]])]
    devices = [vm.Plain('fs%d' % index, backend.socket) for index, backend in enumerate(backends)]
    try:
        with vm.Guest(work, devices[:2], ['fs0:/a:rw', 'fs1:/b:rw'], image, 'first') as first, \
                vm.Guest(work, devices[2:], ['fs2:/a:rw'], image, 'second') as second:
            number = first.begin('guest tree make /a/t 100 1; cp -r /a/t /b/t; echo made; sleep 2')
            first.wait_output(number, 'made')
            second.run('guest tree check /a/t 100 1 && touch /a/seen')
            expect(first.finish(number)[0] == 0, 'the first goes on')
            first.run('test -e /a/seen && guest tree check /b/t 100 1 && umount /a /b')
            second.run('umount /a')
            first.power_off()
            second.power_off()
    finally:
        for backend in backends:
            backend.close()


def reboots(work, image):
    """The agent of the next boot answers."""
    with vm.Guest(work, image=image, name='reboots', reboots=True) as guest:
        guest.run('touch /tmp/before')
        guest.reboot()
        guest.run('test ! -e /tmp/before')
        guest.power_off()


def main(work):
    cases = Cases('virtiofsd')
    folder = os.path.join(work, 'shared')
    os.makedirs(folder)
    program = cases.case('build', vm.build_guest, os.path.join(work, 'guest-program'))
    image = cases.case('image', vm.build_image, os.path.join(work, 'image'), program)
    cases.case('accelerator', vm.accelerator, image, work)
    backend = Virtiofsd(work, folder)
    guest = vm.Guest(work, [vm.Plain('fs0', backend.socket)], ['fs0:/mnt:rw'], image)
    failed = 0
    try:
        cases.case('checks-can-fail', can_fail, work)
        cases.case('start', guest.start)
        cases.case('boot', guest.wait_ready)
        cases.case('mounted', guest.run, 'grep -q " /mnt virtiofs " /proc/mounts')
        print('guest kernel: ' + guest.run('uname -r').strip())
        cases.case('framing', framing, guest)
        cases.case('alone', alone, guest)
        cases.case('unpack', unpack, guest, folder)
        cases.case('programs', programs, guest, folder)
        cases.case('shared', shared_with_host, guest, folder, program)
        cases.case('stop-cont', stopped, guest)
        start = time.monotonic()
        # It agrees on ATOMIC_O_TRUNC, and a guest goes on writing back dirty pages during such an open.
        failed = checks_report(guest.status('mkdir -p /mnt/checks; guest check /mnt/checks', 600)[1], 'checks',
                               {'truncating-open'})
        print('checks: %.1f s' % (time.monotonic() - start))
        cases.case('umount', guest.run, 'umount /mnt')
        cases.case('power-off', guest.power_off)
        expect('Call Trace' not in guest.console(), 'no trace on the console')
        cases.case('killed', killed, work, image, folder)
        cases.case('two-devices-two-guests', two_devices_two_guests, work, image)
        cases.case('reboot', reboots, work, image)
        cases.case('dies', dies, work, image)
    except Exception as error:
        guest.show()
        print(error, file=sys.stderr)
    finally:
        guest.close()
        backend.close()
    return 1 if cases.failed or failed else 0


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
