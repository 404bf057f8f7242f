#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The layer test: rules of the source tree that the compiler does not know.

    check.py [ROOT]        check a tree, print findings and one ok / not ok line a rule
    check.py --self-test   build small trees that break one rule each, and see it noticed

The layers, from the lowest: base media journal space meta fs transport tools; dax stands
beside them on base alone. A file includes nothing from a layer above its own. Some commands
are held to less than their layer may (TOOL_RULES): the checker must not trust the code that
it checks.
"""

import os
import re
import sys
import tempfile

ORDER = ["base", "media", "journal", "space", "meta", "fs", "transport", "tools"]
DAX_USERS = {"fs", "transport", "dax"}

# Files of src/tools by the beginning of their name, and what these may reach, also through
# other headers. A whole layer, or one header of it.
REPLAY = ["journal/replay.h", "journal/recovery.h"]
TOOL_RULES = {
    "mkfs": ["base", "media", "journal", "space", "meta", "tools"],
    "fsck": ["base", "media", "tools"] + REPLAY,
    "dump": ["base", "media", "tools"] + REPLAY,
}

# The debug build's lock checker prints because the process ends with that line.
MAY_PRINT = ("src/base/log", "src/base/lock_debug")
MAY_HAVE_SEAMS = ("src/base/", "src/dax/range_lock")

LINE_LIMIT = 800
LINE_EXCUSE = "Longer than 800 lines because"
SPDX = "SPDX-License-Identifier: LGPL-2.1-or-later"

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
FLUSH = re.compile(
    r"\b(pmem_(?:flush|drain|persist|msync|deep_\w+|memcpy\w*|memmove\w*|memset\w*)"
    r"|msync|_mm_(?:clwb|clflush|clflushopt|sfence|stream_\w+)"
    r"|__builtin_ia32_(?:clwb|clflush|clflushopt|sfence))\s*\(")
ASM = re.compile(r"\b(?:asm|__asm__|__asm)\b")
FLUSH_ASM = re.compile(r'"[^"\n]*\b(?:clwb|clflush|clflushopt|sfence)\b')
PRINT = re.compile(r"\b(v?f?printf|puts|fputs|putchar|perror|psignal|dprintf)\s*\(")
SEAM = re.compile(r"\bDAXFUSE_TEST_SEAMS\b")

RULES = ["includes", "lines", "spdx", "flush", "print", "seams"]


def strip_comments(text, keep_strings=False):
    """Blank out comments (and string contents), line numbers kept."""
    def blank(match):
        token = match.group(0)
        if token[0] == '"':
            return token if keep_strings else '""'
        if token[0] == "'":
            return token if keep_strings else "' '"
        return re.sub(r"[^\n]", " ", token)
    pattern = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*'
    return re.sub(pattern, blank, text, flags=re.S)


def layer_of(path):
    """'media' for src/media/pool.c, None for what is in no layer."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "src" else None


def may_include(layer, target):
    """May a file of this layer include a header of that one?"""
    if target == "dax":
        return layer in DAX_USERS
    if layer == "dax":
        return target == "base"
    if layer not in ORDER or target not in ORDER:
        return False
    return ORDER.index(target) <= ORDER.index(layer)


class Tree:
    """The sources below one root, with what each includes, and the findings."""

    def __init__(self, root):
        self.root = root
        self.findings = {rule: [] for rule in RULES}
        self.text = {}
        for top in ("src", "include", "test", "scripts", "man", "examples", "bench"):
            self._load(top)
        for name in ("meson.build", "meson_options.txt", ".ci/run"):
            self._read(name)

    def _load(self, top):
        for folder, dirs, files in os.walk(os.path.join(self.root, top)):
            dirs[:] = sorted(d for d in dirs if not d.startswith((".", "__")))
            for name in sorted(files):
                self._read(os.path.relpath(os.path.join(folder, name), self.root))

    def _read(self, path):
        full = os.path.join(self.root, path)
        if not os.path.isfile(full) or os.path.islink(full):
            return
        with open(full, "rb") as file:
            data = file.read()
        if b"\0" not in data:
            self.text[path] = data.decode("utf-8", "replace")

    def found(self, rule, path, line, what):
        """Note one finding."""
        self.findings[rule].append(f"{path}:{line}: {what}")

    def c_files(self, *tops):
        """The C files below these folders."""
        return [p for p in self.text
                if p.endswith((".c", ".h")) and p.split("/")[0] in tops]

    def includes(self, path):
        """(line, quote, target) of each include of a file."""
        result = []
        text = strip_comments(self.text[path], keep_strings=True)
        for number, line in enumerate(text.split("\n"), 1):
            match = INCLUDE.match(line)
            if match:
                result.append((number, match.group(1), match.group(2)))
        return result


def check_includes(tree):
    """No header of a layer above; project headers are named from src/ or include/."""
    layers = set(ORDER) | {"dax"}
    for path in tree.c_files("src"):
        layer = layer_of(path)
        if layer not in layers:
            tree.found("includes", path, 1, "is in no known layer")
            continue
        for line, quote, target in tree.includes(path):
            head = target.split("/")[0]
            if head in layers and "/" in target and f"src/{target}" in tree.text:
                if not may_include(layer, head):
                    tree.found("includes", path, line, f"{layer} must not include {target}")
            elif quote == '"' and head != "daxfuse":
                tree.found("includes", path, line, f'"{target}": write it as "layer/file.h"')
        check_tool(tree, path)
    for path in tree.c_files("include"):
        for line, quote, target in tree.includes(path):
            if quote == '"' and not target.startswith("daxfuse/"):
                tree.found("includes", path, line, f"an installed header must not include {target}")


def check_tool(tree, path):
    """The commands that may use less than their layer, through other headers too."""
    if layer_of(path) != "tools":
        return
    name = path[len("src/tools/"):]
    allowed = next((v for k, v in TOOL_RULES.items() if name.startswith(k)), None)
    if allowed is None:
        return
    todo, seen = [path], set()
    while todo:
        here = todo.pop()
        for line, _, target in tree.includes(here):
            full = f"src/{target}"
            if full in seen or full not in tree.text:
                continue
            seen.add(full)
            if target.split("/")[0] in allowed:
                todo.append(full)
            elif target not in allowed:
                tree.found("includes", here, line, f"{path} must not reach {target}")


def check_lines(tree):
    """No file of more than 800 lines that does not say why."""
    for path in tree.c_files("src", "include", "test"):
        count = tree.text[path].count("\n")
        head = "\n".join(tree.text[path].split("\n")[:40])
        if count > LINE_LIMIT and LINE_EXCUSE not in head:
            tree.found("lines", path, 1, f'{count} lines, and no "{LINE_EXCUSE}" at its top')


def check_spdx(tree):
    """The licence in the first line, in the second after a #! line."""
    for path, text in tree.text.items():
        name = os.path.basename(path)
        source = name.endswith((".c", ".h", ".py", ".sh")) or name in (
            "meson.build", "meson_options.txt")
        script = text.startswith("#!")
        if not source and not script:
            continue
        first = text.split("\n")[1 if script else 0:][:1]
        if not first or SPDX not in first[0]:
            tree.found("spdx", path, 1, f"no {SPDX} in its first line")


def check_pattern(tree, rule, pattern, paths, what, keep_strings=False):
    """A pattern that must not be in the code (comments, and mostly strings, apart) of these."""
    for path in paths:
        code = strip_comments(tree.text[path], keep_strings)
        for number, line in enumerate(code.split("\n"), 1):
            match = pattern.search(line)
            if match:
                tree.found(rule, path, number, what.format(match.group(0).rstrip("( ")))


def check_flush(tree):
    """Only media makes anything durable: no other file flushes or fences."""
    paths = [p for p in tree.c_files("src") if layer_of(p) != "media"]
    check_pattern(tree, "flush", FLUSH, paths, "{} outside src/media")
    # An assembler statement would hide a flush from the rule above.
    paths = [p for p in paths if ASM.search(strip_comments(tree.text[p]))]
    check_pattern(tree, "flush", FLUSH_ASM, paths, "assembler {} outside src/media", True)


def check_print(tree):
    """Library layers do not print; base/log does it for them."""
    paths = [p for p in tree.c_files("src")
             if layer_of(p) != "tools" and not p.startswith(MAY_PRINT)]
    check_pattern(tree, "print", PRINT, paths, "{} in a library layer: use base/log.h")


def check_seams(tree):
    """The seams for tests are in the locks, and nowhere else."""
    paths = [p for p in tree.c_files("src", "include") if not p.startswith(MAY_HAVE_SEAMS)]
    check_pattern(tree, "seams", SEAM, paths, "{} outside the locks")


def check(root):
    """All rules over one tree."""
    tree = Tree(root)
    for rule in (check_includes, check_lines, check_spdx, check_flush, check_print, check_seams):
        rule(tree)
    return tree.findings


# Self test: a tree that keeps every rule, and one file to break each.
C = f"/* {SPDX} */\n"
GOOD = {
    "src/base/log.h": C,
    "src/base/log.c": C + '#include "base/log.h"\nvoid f(void) { fprintf(stderr, "x"); }\n',
    "src/media/persist.c": C + '#include "base/log.h"\nvoid f(void) { pmem_drain(); }\n',
    "src/media/media.h": C,
    "src/journal/journal.h": C,
    "src/journal/replay.h": C + '#include "journal/journal.h"\n',
    "src/base/cpu.c": C + 'void f(void) { __asm__("pause"); }\n',
    "src/meta/meta.h": C + '/* calls msync() below */ const char *s = "pmem_drain()";\n',
    "src/dax/range_lock.h": C + '#include "base/log.h"\n',
    "src/fs/fs.h": C + '#include "dax/range_lock.h"\n#include "daxfuse/format.h"\n',
    "src/fs/long.c": C + "/* Longer than 800 lines because of this test. */\n" + "\n" * 900,
    "src/tools/mkfs.c": C + '#include "meta/meta.h"\n',
    "src/tools/fsck.c": C + '#include "journal/replay.h"\n#include "tools/common.h"\n',
    "src/tools/common.h": C,
    "src/tools/serve.h": C + '#include "fs/fs.h"\n',
    "include/daxfuse/format.h": C,
    "scripts/x": "#!/bin/bash\n# " + SPDX + "\n",
}
BAD = [
    ("includes", "src/media/a.c", C + '#include "journal/journal.h"\n'),
    ("includes", "src/media/a.c", C + '#include <journal/journal.h>\n'),
    ("includes", "src/meta/a.c", C + '#include "dax/range_lock.h"\n'),
    ("includes", "src/dax/a.c", C + '#include "media/media.h"\n'),
    ("includes", "src/fs/a.c", C + '#include "tools/common.h"\n'),
    ("includes", "src/fs/a.c", C + '#include "fs.h"\n'),
    ("includes", "src/fs/a.c", C + '#include "../fs/fs.h"\n'),
    ("includes", "src/other/a.c", C),
    ("includes", "src/tools/mkfs_a.c", C + '#include "fs/fs.h"\n'),
    ("includes", "src/tools/fsck_a.c", C + '#include "meta/meta.h"\n'),
    ("includes", "src/tools/fsck_a.c", C + '#include "journal/journal.h"\n'),
    ("includes", "src/tools/fsck_a.c", C + '#include "tools/serve.h"\n'),
    ("includes", "include/daxfuse/a.h", C + '#include "base/log.h"\n'),
    ("lines", "src/fs/a.c", C + "\n" * 800),
    ("spdx", "src/fs/a.c", "/* a file */\n"),
    ("spdx", "src/fs/meson.build", "x = 1\n"),
    ("spdx", "scripts/a", "#!/bin/bash\necho\n"),
    ("flush", "src/fs/a.c", C + "void f(void) { pmem_persist(p, 1); }\n"),
    ("flush", "src/meta/a.c", C + "int f(void) { return msync (p, 1, 0); }\n"),
    ("flush", "src/journal/a.c", C + "void f(void) { _mm_sfence(); }\n"),
    ("flush", "src/journal/a.c", C + 'void f(void) { asm volatile("sfence"); }\n'),
    ("print", "src/fs/a.c", C + 'void f(void) { printf("x"); }\n'),
    ("seams", "src/fs/a.c", C + "#ifdef DAXFUSE_TEST_SEAMS\n#endif\n"),
]


def plant(root, files):
    """Write a tree."""
    for path, text in files.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)


def self_test():
    """The good tree passes; each bad file breaks exactly its own rule, once."""
    failed = 0
    for number, (rule, path, text) in enumerate([(None, None, None)] + BAD):
        with tempfile.TemporaryDirectory() as root:
            plant(root, GOOD)
            if path:
                plant(root, {path: text})
            broken = {r: f for r, f in check(root).items() if f}
        want = {rule: 1} if rule else {}
        good = {r: len(f) for r, f in broken.items()} == want
        name = f"layer:self-test-{number}-{rule or 'clean'}"
        print(f"{'ok' if good else 'not ok'} {name}" + ("" if good else f" {path}: {broken}"))
        failed += not good
    return 1 if failed else 0


def main():
    """Command line."""
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    if not os.path.isdir(os.path.join(root, "src")):
        print(f"check.py: {root} has no src/", file=sys.stderr)
        return 2
    findings = check(root)
    for rule in RULES:
        for line in findings[rule]:
            print(line)
        print(f"{'not ok' if findings[rule] else 'ok'} layer:{rule}")
    return 1 if any(findings.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
