# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Part of scripts/suites/badinput.sh, whose helpers and variables it uses: the words of --vhost-user and what belongs
# to it, wrong. Nothing is served, no socket is made, and what is wrong is named.

sockets() {
    mkdir -p sockets
    cd sockets || return 1
    expect sockets:mkfs "$OUT/bin/mkfs.daxfuse" -s 64M pool || { cd ..; return; }
    sockets_words
    sockets_places
    expect sockets:none-made test ! -e sock
    expect sockets:fsck "$OUT/bin/fsck.daxfuse" -n pool
    cd ..
}

# socket NAME WANTED TEXT: a server with this socket.
socket() {
    refused "sockets:$1" 1 "$2" "$OUT/bin/daxfuse" pool --vhost-user "$3"
}

sockets_words() {
    socket unknown-word 'colour: unknown word' sock,colour
    socket unknown-value 'colour=red: unknown word' sock,colour=red
    socket no-value 'tag=: a value is missing' sock,tag=
    socket value-of-none 'ro=1' sock,ro=1
    socket long-tag 'longer than 36 bytes' sock,tag=0123456789012345678901234567890123456
    socket relative-root 'must begin with /' sock,root=folder
    socket window-odd 'window=3M: a power of two' sock,window=3M
    socket window-320M 'window=320M: a power of two' sock,window=320M
    socket window-1M 'window=1M: a power of two' sock,window=1M
    socket window-32T 'window=32T: a power of two' sock,window=32T
    socket window-word 'window=large: a size' sock,window=large
    socket window-negative 'window=-2M: a size' sock,window=-2M
    socket slots-1G 'at most 512M' sock,mem-slots,window=1G
    socket threshold 'dax-threshold=x: a size' sock,dax-threshold=x
    socket queues-0 'queues=0: a number from 1' sock,queues=0
    socket queues-many 'queues=100000: a number from 1' sock,queues=100000
    socket cache 'cache=maybe: must be one of: auto, always, never' sock,cache=maybe
    socket dax 'dax=no: must be one of: size, inode, always, never' sock,dax=no
}

sockets_places() {
    local daxfuse=$OUT/bin/daxfuse
    socket empty 'path of a socket is needed' ''
    socket no-place 'path of a socket is needed' tag=t
    socket empty-path 'path=: a value is missing' path=
    socket fd-closed 'fd=99: is no unix socket' fd=99
    socket fd-stdin 'fd=0: the number of an open socket' fd=0
    socket fd-word 'fd=x: the number of an open socket' fd=x
    socket long-path 'too long for a socket' "$(printf 'a%.0s' {1..120})"
    refused sockets:fd-file 1 'fd=7: is no unix socket' bash -c 'exec "$@" 7<pool' - "$daxfuse" pool --fd 7
    refused sockets:twice 1 'there twice' "$daxfuse" pool --vhost-user sock --vhost-user sock
    refused sockets:group 1 'no such group' \
        "$daxfuse" pool --vhost-user sock --socket-group nobodys-group
    refused sockets:folder 32 'no/such/sock' "$daxfuse" pool --vhost-user no/such/sock
    touch file
    refused sockets:file 32 'is no socket: remove it' "$daxfuse" pool --vhost-user file
    refused sockets:root-gone 32 '/no/such/folder' "$daxfuse" pool --vhost-user sock,root=/no/such/folder
    refused sockets:no-pool 1 nopool "$daxfuse" nopool --vhost-user sock
}
