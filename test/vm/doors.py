# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real guests with a DAX window on a pool of ours, together with the host's mount of it.

usage: doors.py WORK [GROUP...]. Prints `ok NAME` or `not ok NAME why`, as scripts/test wants it, and times.
The programs are $OUT's; with FULL set in the environment the numbers are large. It mounts below WORK: run
it as scripts/test does, in a mount namespace of its own.
"""
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import doors_crash  # noqa: E402
import doors_load  # noqa: E402
import doors_many  # noqa: E402
import doors_map  # noqa: E402
import doors_slots  # noqa: E402
import vm  # noqa: E402
from cases import Cases, expect  # noqa: E402
from daxfuse import SERVER_OPTIONS, unknown_calls  # noqa: E402

GROUPS = {'map': doors_map.group, 'many': doors_many.group, 'load': doors_load.group,
          'crash': doors_crash.group, 'slots': doors_slots.group}


class SoftCases(Cases):
    def soft(self, name, function, *arguments):
        """One that leaves the guest in order when it fails."""
        try:
            self.case(name, function, *arguments)
        except vm.VmError:
            traceback.print_exc()


def no_more_calls(known):
    calls = [line for line in unknown_calls() if line not in known]
    expect(not calls, '%d calls that the sandbox does not know, as: %s' % (len(calls), calls[:3]))


def main(work, names):
    cases = SoftCases(os.environ.get('DAXFUSE_VM_PREFIX', 'doors'))
    logs = 'log' in SERVER_OPTIONS
    known = set(unknown_calls()) if logs else set()
    program = cases.case('build', vm.build_guest, os.path.join(work, 'doors-program'))
    image = cases.case('image', vm.build_image, os.path.join(work, 'doors-image'), program)
    cases.case('accelerator', vm.accelerator, image, work)
    for name in names or GROUPS:
        before, start = cases.failed, time.monotonic()
        try:
            GROUPS[name](cases, work, image, program)
        except Exception as error:
            traceback.print_exc()
            if cases.failed == before:  # not within a case
                cases.failed += 1
                print('not ok doors:%s %s' % (name, str(error).replace('\n', ' | ')), flush=True)
        print('group %s: %.1f s' % (name, time.monotonic() - start), flush=True)
    if logs:
        cases.soft('unknown-calls', no_more_calls, known)
    return 1 if cases.failed else 0


if __name__ == '__main__':
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(GROUPS):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
