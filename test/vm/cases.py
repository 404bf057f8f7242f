# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests in guests share: results as scripts/test wants them (`ok NAME`, `not ok NAME why`, and
other lines that are shown), an archive of many files, and the distribution's virtiofsd."""
import hashlib
import io
import os
import random
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vm  # noqa: E402


def expect(condition, what):
    if not condition:
        raise vm.VmError('not so: ' + what)


def checks_report(output, prefix, theirs=()):
    """The lines of `guest check` as results of ours; the number of failures. THEIRS: those that a server that is
    not ours may fail."""
    failed = 0
    for line in output.splitlines():
        kind, _, rest = line.partition(' ')
        name, _, why = rest.partition(' ')
        if kind == 'PASS':
            print('ok %s:%s' % (prefix, name), flush=True)
        elif kind == 'FAIL' and name.rstrip(':') not in theirs:
            failed += 1
            print('not ok %s:%s %s' % (prefix, name.rstrip(':'), why), flush=True)
        else:
            print(line, flush=True)
    return failed


class Cases:
    """Each with its time; one that fails ends the run, for the guest is then in nobody knows what state."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.failed = 0

    def case(self, name, function, *arguments):
        start = time.monotonic()
        try:
            result = function(*arguments)
        except Exception as error:
            print('not ok %s:%s %s' % (self.prefix, name, str(error).replace('\n', ' | ')), flush=True)
            self.failed += 1
            raise
        print('ok %s:%s' % (self.prefix, name))
        print('%s: %.1f s' % (name, time.monotonic() - start), flush=True)
        return result


def make_archive(path, count, seed=1):
    """A tar of many small files in folders, as sources are; its last is `sums`, for sha256sum -c."""
    state = random.Random(seed)
    sums = []
    with tarfile.open(path, 'w') as archive:
        for index in range(count + 1):
            name = 'tree/dir%02d/sub%d/file%05d.c' % (index // 50 % 20, index // 1000, index)
            data = state.randbytes(state.randrange(9000))
            if index == count:
                name, data = 'tree/sums', ''.join(sums).encode()
            sums.append('%s  %s\n' % (hashlib.sha256(data).hexdigest(), name))
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


class Virtiofsd:
    def __init__(self, work, folder, name='virtiofsd', options=()):
        self.socket = os.path.join(work, name + '.sock')
        self.log = open(os.path.join(work, name + '.log'), 'wb')
        self.process = subprocess.Popen(
            [vm.in_set('virtiofsd'), '--shared-dir', folder, '--socket-path',
             self.socket, '--sandbox', 'none', '--seccomp', 'none', '--xattr', *options],
            stdout=self.log, stderr=self.log)
        vm.wait_until(lambda: os.path.exists(self.socket), 10, 'virtiofsd listens')

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()
