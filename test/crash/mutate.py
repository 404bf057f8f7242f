#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Takes each flush, fence, ordering wait and checksum check out of src/, one at a time, and sees whether a
test notices (scripts/test crash --mutate).

The list is the file `mutants` beside this; how its lines look is told there. One source file is changed
in memory, compiled as BUILD compiled it, and put before the library in the test's link: its symbols win.
Neither the tree nor BUILD is written to.

A mutant is given to the checks that its line names, which pass as things are. "noticed" is one that fails,
crashes, or does not come to an end; the table says which.

A pattern of CALLS that neither a mutant nor an exception of the list covers is a failure, so that new
code does not escape; so is a line of the list that no longer fits the code.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LAYERS = ('base', 'media', 'journal', 'space', 'meta', 'dax', 'fs', 'transport', 'transport/fuse',
          'tools')

CALLS = re.compile(r'''
      \b(?:persist_flush|persist_copy|persist_set|mapping_flush|pmem_flush|paged_remember|ops->flush)\s*\(   # flushes
    | \b(?:persist_drain|pool_drain|pmem_drain|ops->drain|msync|fsync|fdatasync|io_uring_prep_fsync)\s*\(      # fences
    | \b(?:txn_data_written|journal_retire|retire_once|slot_advance|journal_write_slot
         |journal_is_quiet|journal_retired|space_release_metadata|space_sweep_locked
         |space_hold_begin|reaper_drain|settler_drain|intent_wait|orphan_add|intent_begin)\s*\( # ordering
    | \bafter_data\s*(?:=[^=]|&&)
    | \bcsum\w*\)?\s*[!=]=|[!=]=\s*[\w>.\-]*(?:\(\w+[\w>.\-]*)?csum                             # checksums
    | \b(?!validate_(?:blocks?_ok|is_zero)\b)validate_\w+\s*\(
''', re.X)

LIMIT = 60 # seconds of one check


class Wrong(Exception):
    pass


def functions(text):
    """Name -> (start, end) of each function definition, by how the code is formatted."""
    found = {}
    for body in re.finditer(r'^\{\n(?:.*\n)*?\}', text, re.M):
        head = text[:body.start()]
        names = re.findall(r'^(?:[A-Za-z].*?[ *])?\b([a-z]\w*)\([^;{}]*\)\n\Z',
                           head[max(head.rfind('\n\n'), 0):] if '\n\n' in head else head, re.M)
        if names:
            found[names[-1]] = (body.start(), body.end())
    return found


def blank_comments(text):
    """The text with comments blanked, so that places stay the same."""
    return re.sub(r'/\*.*?\*/|//[^\n]*', lambda m: re.sub(r'[^\n]', ' ', m.group()), text,
                  flags=re.S)


class Source:
    cache = {}

    def __init__(self, name):
        with open(os.path.join(ROOT, 'src', name), encoding='utf-8') as file:
            self.text = file.read()
        self.code = blank_comments(self.text)
        self.functions = functions(self.code)

    @classmethod
    def get(cls, name):
        if name not in cls.cache:
            try:
                cls.cache[name] = cls(name)
            except OSError as error:
                raise Wrong(f'{name}: {error.strerror}') from error
        return cls.cache[name]

    def find(self, function, fragment):
        """(start, end) of a fragment that the function has once; blanks and line ends are the same."""
        if function not in self.functions:
            raise Wrong('there is no such function')
        start, end = self.functions[function]
        parts = [re.escape(part) for part in fragment.split()]
        hits = list(re.finditer(r'\s+'.join(parts), self.code[start:end]))
        if len(hits) != 1:
            raise Wrong(f'`{fragment}` is there {len(hits)} times')
        return start + hits[0].start(), start + hits[0].end()


class Mutant:
    def __init__(self, line, place, fragment, replacement, checks):
        self.line, self.place, self.fragment = line, place, fragment
        self.replacement = replacement or (';' if fragment.endswith(';') else '0')
        self.checks = [check.strip() for check in checks.split(',') if check.strip()]
        self.file, self.function = place.split(':')
        self.span = Source.get(self.file).find(self.function, fragment)

    def text(self):
        source = Source.get(self.file).text
        return source[:self.span[0]] + self.replacement + source[self.span[1]:]

    def title(self):
        shown = re.sub(r'\s+', ' ', self.fragment)
        if self.replacement not in ('0', ';'):
            shown += ' -> ' + re.sub(r'\s+', ' ', self.replacement)
        return shown if len(shown) <= 70 else shown[:67] + '...'


def read_list():
    """The mutants, the spans that the list covers, its exceptions, and what is wrong with it."""
    mutants, covered, kept, wrong = [], [], [], []
    with open(os.path.join(HERE, 'mutants'), encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith('#'):
                continue
            fields = [field.strip() for field in re.split(r'\s\|(?=\s|$)', line)]
            try:
                if line.startswith('!'):
                    place, fragment, reason = fields
                    name, function = place[1:].strip().split(':')
                    if not reason:
                        raise Wrong('no reason')
                    covered.append((name, Source.get(name).find(function, fragment)))
                    kept.append(f'{place[1:].strip():<36} | {fragment:<70} | - | stays: {reason}')
                else:
                    place, fragment, replacement, checks = fields
                    mutants.append(Mutant(number, place, fragment, replacement, checks))
            except ValueError:
                wrong.append(f'mutants:{number}: not a line of the list: {line}')
            except Wrong as error:
                wrong.append(f'mutants:{number}: {fields[0]}: {error}')
    covered += [(mutant.file, mutant.span) for mutant in mutants]
    return mutants, covered, kept, wrong


def uncovered(covered):
    """Calls that the list does not know."""
    missing = []
    for layer in LAYERS:
        folder = os.path.join(ROOT, 'src', layer)
        for name in sorted(os.listdir(folder)):
            if not name.endswith('.c'):
                continue
            file = f'{layer}/{name}'
            source = Source.get(file)
            spans = [span for other, span in covered if other == file]
            for hit in CALLS.finditer(source.code):
                if any(start <= hit.start() and hit.end() - 1 <= end or
                       hit.start() <= start < hit.end() for start, end in spans):
                    continue
                inside = [function for function, (start, end) in source.functions.items()
                          if start <= hit.start() < end]
                if not inside:
                    continue  # a definition, a table
                line = source.text.count('\n', 0, hit.start()) + 1
                text = source.text.splitlines()[line - 1].strip()
                missing.append(f'src/{file}:{line}: {inside[0]}: not in the list: {text}')
    return missing


class Builder:
    """Compiles and links as BUILD does."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        with open(os.path.join(self.build, 'compile_commands.json'), encoding='utf-8') as file:
            self.compiles = {os.path.realpath(os.path.join(c['directory'], c['file'])): c['command']
                             for c in json.load(file) if c['output'].startswith('src/')}
        self.links = {}

    def run(self, command):
        done = subprocess.run(command, cwd=self.build, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise Wrong('does not build:\n' + done.stdout)
        return done.stdout

    def compile(self, mutant, folder):
        """The object of the changed file."""
        path = os.path.realpath(os.path.join(ROOT, 'src', mutant.file))
        changed, result = os.path.join(folder, 'mutant.c'), os.path.join(folder, 'mutant.o')
        with open(changed, 'w', encoding='utf-8') as file:
            file.write(mutant.text())
        command = shlex.split(re.sub(r' -M[QF] \S+| -MD', '', self.compiles[path]))
        command[command.index('-o') + 1] = result
        command[-1] = changed
        command[1:1] = ['-w', '-include', os.path.join(HERE, 'mutants.h'),
                        '-I' + os.path.dirname(path)]
        self.run([word for word in command if word != '-Werror'])
        return result

    def link(self, target, mutated, folder):
        """The program with that object in it; without one, the program of BUILD."""
        if not mutated:
            return os.path.join(self.build, target)
        if target not in self.links:
            self.links[target] = self.run(['ninja', '-t', 'commands', target]).splitlines()[-1]
        program = os.path.join(folder, os.path.basename(target))
        command = shlex.split(self.links[target])
        at = command.index('-o')
        command[at + 1:at + 2] = [program, mutated]
        if not os.path.exists(program):
            self.run(command)
        return program

    def command(self, check, mutated, folder):
        """What a check runs."""
        kind, _, name = check.partition(' ')
        if kind == 'unit':
            return [self.link(f'test/unit/test_{name}', mutated, folder)]
        if kind in ('calls', 'repair'):
            return [self.link(f'test/crash/crash_{kind}', mutated, folder)] + name.split()
        if kind == 'fsck':
            self.link('src/tools/fsck.daxfuse', mutated, folder)
            for tool in ('mkfs.daxfuse', 'fsck.daxfuse'):
                if not os.path.exists(os.path.join(folder, tool)):
                    os.symlink(os.path.join(self.build, 'src/tools', tool),
                               os.path.join(folder, tool))
            return ['bash', os.path.join(ROOT, 'test/fsck/cases.sh'), folder,
                    os.path.join(self.build, 'test/fsck'), folder] + name.split()
        return [self.link('test/crash/crash_run', mutated, folder), '--single', name, '--first',
                '--noshrink', '--workers', '1', '--programs', '24', '--seconds', '40']


def end_session(session):
    """All of its processes: Check puts each of its own into another group."""
    for name in os.listdir('/proc'):
        try:
            if name.isdigit() and os.getsid(int(name)) == session:
                os.kill(int(name), signal.SIGKILL)
        except ProcessLookupError:
            pass


def run(command, folder):
    """(None or how it failed)"""
    environment = dict(os.environ, CK_FORK='yes', CK_DEFAULT_TIMEOUT='10')
    environment.pop('CK_TAP_LOG_FILE_NAME', None)
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors='replace',
                          start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            end_session(process.pid)
            process.communicate()
            return 'does not end'
    if process.returncode == 0 and not re.search('^not ok', output, re.M):
        return None
    return describe(output, process.returncode)


def describe(output, status):
    """Assert, finding or mismatch, and the words of it."""
    found = re.search(r'Assertion `?(.{1,60})', output)
    if found:
        return 'assert: ' + found.group(1).split("' failed")[0]
    found = re.search(r'^VIOLATION: (.*(?:\n .*){0,2})', output, re.M)
    if found:
        text = re.sub(r'\s+', ' ', found.group(1))
        kind = 'finding' if 'fsck' in text else 'mount' if 'mount fails' in text else 'mismatch' \
            if 'neither' in text else 'result' if 'result' in text else 'crash'
        text = re.sub(r'^step \d+, (?:.*?point|fence|.*?) \d+: ', '', text)
        text = re.sub(r'^neither before nor after before: .*? after: ', '', text)
        return f'{kind}: {text}'
    found = re.search(r'^not ok (.*)', output, re.M) or re.search(r'.*: not so: (.*)', output)
    if found:
        return found.group(1)
    found = re.search(r':[EF]:(\w+):(\w+):\d+: (.*)', output)
    if found:
        return f'{found.group(2)}: {found.group(3)}'
    if status < 0:
        return 'crash: ' + signal.strsignal(-status)
    return f'status {status}: ' + (output.strip().splitlines() or ['nothing said'])[-1]


def try_mutant(builder, mutant, work):
    """(noticed by what or None, seconds)"""
    start = time.monotonic()
    by = None
    with tempfile.TemporaryDirectory(dir=work) as folder:
        mutated = builder.compile(mutant, folder)
        for check in mutant.checks:
            how = run(builder.command(check, mutated, folder), folder)
            if how:
                by = f'{check}: {how}'
                break
    return by, time.monotonic() - start


def baseline(builder, mutants, work):
    """Every named check must pass as things are: else it notices nothing."""
    bad = []
    for check in sorted({check for mutant in mutants for check in mutant.checks}):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            how = run(builder.command(check, None, folder), folder)
        if how:
            bad.append(f'without any change `{check}` fails: {how}')
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--build', help='a build directory that is up to date')
    parser.add_argument('--work', help='a folder for what is built')
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument('--only', help='regular expression of places and fragments')
    parser.add_argument('--list', action='store_true', help='check the list, and no more')
    options = parser.parse_args()

    mutants, covered, kept, wrong = read_list()
    wrong += uncovered(covered)
    for text in wrong:
        print(text)
    if options.list or wrong:
        print(f'{len(mutants)} mutants, {len(wrong)} complaints about the list')
        return 1 if wrong else 0
    if options.only:
        mutants = [m for m in mutants if re.search(options.only, m.place + ' ' + m.fragment)]

    builder = Builder(options.build)
    start, failures = time.monotonic(), baseline(builder, mutants, options.work)
    print(f'{"place":<36} | {"what is removed":<70} | s | noticed by', flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        waiting = [(mutant, pool.submit(try_mutant, builder, mutant, options.work))
                   for mutant in mutants]
        for mutant, future in waiting:
            try:
                by, seconds = future.result()
            except Wrong as error:
                by, seconds = None, 0
                print(f'{mutant.place}: {error}')
            if not by:
                failures.append(f'{mutant.place}: nobody notices that this is gone: {mutant.title()}')
            print(f'{mutant.place:<36} | {mutant.title():<70} | {seconds:.0f} | '
                  f'{by[:110] if by else "NOT NOTICED"}', flush=True)
    for text in ([] if options.only else kept) + failures:
        print(text)
    print(f'{len(mutants)} mutants, {len(failures)} failures, {time.monotonic() - start:.0f} s')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
