# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes an initramfs, the format newc, without cpio(1): see Documentation/driver-api/early-userspace/
buffer-format.rst of the kernel. It need not be root: every file belongs to root in the guest."""
import os
import stat


class Archive:
    """Entries in the order of their making; a folder before what is in it."""

    def __init__(self, file):
        self.file = file
        self.inode = 0

    def entry(self, name, mode, data=b'', device=(0, 0)):
        self.inode += 1
        path = name.encode() + b'\0'
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        head = b'070701' + b''.join(b'%08x' % field for field in fields)
        self.padded(head + path)
        self.padded(data)

    def padded(self, data):
        self.file.write(data)
        self.file.write(bytes(-len(data) % 4))

    def folder(self, name):
        self.entry(name, stat.S_IFDIR | 0o755)

    def link(self, name, target):
        self.entry(name, stat.S_IFLNK | 0o777, target.encode())

    def regular(self, name, data, mode=0o755):
        self.entry(name, stat.S_IFREG | mode, data)

    def node(self, name, major, minor):
        self.entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def tree(self, path):
        """All below path: folders, links and regular files."""
        for base, folders, files in os.walk(path):
            for name in sorted(folders + files):
                full = os.path.join(base, name)
                inside = os.path.relpath(full, path)
                mode = os.lstat(full).st_mode
                if stat.S_ISLNK(mode):
                    self.link(inside, os.readlink(full))
                elif stat.S_ISDIR(mode):
                    self.folder(inside)
                else:
                    with open(full, 'rb') as file:
                        self.regular(inside, file.read(), mode & 0o777)

    def end(self):
        self.entry('TRAILER!!!', 0)


def write(path, tree, files):
    """An initramfs at path of the folder tree and files = {name in the guest: (bytes, mode)}."""
    with open(path + '.new', 'wb') as out:
        archive = Archive(out)
        archive.tree(tree)
        for name in ('dev', 'proc', 'sys', 'tmp', 'mnt', 'etc', 'root'):
            archive.folder(name)
        # The kernel opens it for init before anything can mount /dev.
        archive.node('dev/console', 5, 1)
        for name, (data, mode) in files.items():
            archive.regular(name, data, mode)
        archive.end()
    os.rename(path + '.new', path)
