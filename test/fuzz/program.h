/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest asks, as commands of 16 bytes: any bytes are a command, and each is one request, right or
 * wrong in some way. The fuzzer of the door and the hostile guest build their requests here.
 *
 * It knows what a request looks like by itself, not by the decoder that it tests. One thread.
 */
#ifndef TEST_FUZZ_PROGRAM_H
#define TEST_FUZZ_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRAM_KNOWN 16
#define PROGRAM_REQUEST_MAX ((1u << 20) + 16384)
#define PROGRAM_OPCODES 64 /* below: the opcode; from here on the caller's own */

struct program_command {
    uint8_t what;
    uint8_t node, handle; /* of what was learned; from 0xe0 on made up */
    uint8_t how;          /* enum program_how */
    uint8_t name[2];
    uint16_t extra;
    uint16_t number[4];
};
_Static_assert(sizeof(struct program_command) == 16, "as it lies in the corpus");

enum program_how {
    HOW_LATER = 1 << 0,     /* nobody waits for the answer at once */
    HOW_LENGTH = 1 << 1,    /* the header's length is another */
    HOW_CUT = 1 << 2,       /* less is sent */
    HOW_ROOM = 1 << 3,      /* there is little room for the answer */
    HOW_BREAK_IN = 1 << 4,  /* memory of what is sent ends in the middle */
    HOW_BREAK_OUT = 1 << 5, /* ... of the answer */
    HOW_PIECES = 1 << 6,    /* many descriptors */
    HOW_WORDS = 1 << 7,     /* the struct is made of numbers at random */
};

struct program {
    struct {
        uint64_t node, fh;
    } known[PROGRAM_KNOWN];
    unsigned next;
    uint64_t unique;
    uint64_t chunk; /* bytes that the window maps at once */
};

struct program_request {
    uint8_t *bytes; /* PROGRAM_REQUEST_MAX of them, the caller's */
    size_t size;
    size_t room;
    size_t piece; /* 0: all in one */
    uint32_t opcode;
    uint64_t unique, node;
    bool silent;
};

void program_init(struct program *program, uint64_t chunk);
/* Nodes and handles of before stay known now and then: stale ones. */
void program_forget(struct program *program);
uint64_t program_number(const struct program *program, uint16_t value);
const char *program_name(uint8_t which);
void program_request(struct program *program, const struct program_command *command,
                     struct program_request *request);
/* What came after the answer's header, without an error. */
void program_remember(struct program *program, uint32_t opcode, uint64_t node, const void *answer,
                      size_t size);
/* One that has a chance to do something. DICE: a number below. OWN: how many commands the caller has. */
struct program_command program_random(uint32_t (*dice)(uint32_t sides), unsigned own);

#endif
